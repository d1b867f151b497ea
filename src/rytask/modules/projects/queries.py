"""The SQL of projects, members, statuses and labels."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from rytask.modules.projects.model import (
    Category,
    Label,
    Member,
    Project,
    ProjectRole,
    ProjectWithRole,
    Status,
)
from rytask.modules.projects.visibility import visible_to
from rytask.platform.db import Reader, Tx, Where
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import Actor

_PROJECT: LiteralString = (
    "p.id, p.name, p.key_prefix, p.description, p.icon, p.color, p.lead_id, p.archived_at,"
    " p.created_at"
)
_STATUS: LiteralString = "s.id, s.name, s.category, s.color, s.position"
_LABEL: LiteralString = "l.id, l.name, l.color"


class StatusWithRole(Status, frozen=True):
    """A status, its project, and how whoever asks stands to it."""

    project_id: ProjectId
    role: ProjectRole | None


async def projects(
    db: Reader, actor: Actor, after: UUID | None, limit: int, archived: bool
) -> list[Project]:
    """One project more than `limit` that the actor may see, in the order of their making."""
    where = Where(actor.org_id)
    if not actor.is_admin:
        where.param(actor.user_id)
    where.add(f"p.org_id = $1 AND {visible_to(actor)}")
    if not archived:
        where.add("p.archived_at IS NULL")
    if after is not None:
        where.add("p.id > {}", after)
    return await db.all(
        Project,
        f"SELECT {_PROJECT} FROM projects p WHERE {where.sql}"
        f" ORDER BY p.id LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def project_with_role(
    db: Reader, org_id: OrgId, project_id: ProjectId, user_id: UserId | None, *, lock: bool = False
) -> ProjectWithRole | None:
    """A project and the user's role in it; `lock` keeps others from changing it until we commit."""
    locking: LiteralString = " FOR NO KEY UPDATE OF p" if lock else ""
    return await db.maybe(
        ProjectWithRole,
        f"SELECT {_PROJECT}, p.workspace_id, m.role FROM projects p"
        "  LEFT JOIN project_members m"
        "    ON m.org_id = p.org_id AND m.project_id = p.id AND m.user_id = $3"
        f" WHERE p.org_id = $1 AND p.id = $2 AND p.deleted_at IS NULL{locking}",
        org_id,
        project_id,
        user_id,
    )


async def workspace(db: Reader, org_id: OrgId, wanted: UUID | None) -> UUID:
    """The workspace that is asked for, else the organization's first."""
    return await db.value(
        "SELECT w.id FROM workspaces w WHERE w.org_id = $1"
        " ORDER BY w.id = $2 DESC NULLS LAST, w.created_at, w.id LIMIT 1",
        org_id,
        wanted,
    )


async def is_active(db: Reader, org_id: OrgId, user_id: UserId) -> bool:
    """Whether somebody is a member of the organization now."""
    return await db.value(
        "SELECT EXISTS (SELECT FROM memberships o WHERE o.org_id = $1 AND o.user_id = $2"
        " AND o.deactivated_at IS NULL)",
        org_id,
        user_id,
    )


async def insert_project(
    tx: Tx,
    org_id: OrgId,
    workspace_id: UUID,
    project: Project,
    statuses: Sequence[Status],
    admin_id: UserId | None,
) -> None:
    """A project with its counter, its statuses and its first administrator."""
    await tx.execute(
        "WITH project AS ("
        "  INSERT INTO projects (org_id, workspace_id, id, name, key_prefix, description, icon,"
        "                        color, lead_id, created_at, updated_at)"
        "  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)"
        "), counter AS ("
        "  INSERT INTO project_counters (org_id, project_id) VALUES ($1, $3)"
        "), admin AS ("
        "  INSERT INTO project_members (org_id, project_id, user_id, role, created_at)"
        "  SELECT $1, $3, $11, 'ADMIN', $10 WHERE $11::uuid IS NOT NULL"
        ")"
        " INSERT INTO statuses (org_id, project_id, id, name, category, color, position)"
        " SELECT $1, $3, s.* FROM unnest($12::uuid[], $13::text[], $14::text[], $15::text[],"
        "                                $16::int[]) AS s",
        org_id,
        workspace_id,
        project.id,
        project.name,
        project.key_prefix,
        project.description,
        project.icon,
        project.color,
        project.lead_id,
        project.created_at,
        admin_id,
        [status.id for status in statuses],
        [status.name for status in statuses],
        [status.category for status in statuses],
        [status.color for status in statuses],
        [status.position for status in statuses],
    )


async def update_project(tx: Tx, org_id: OrgId, project: Project, now: datetime) -> None:
    await tx.execute(
        "UPDATE projects SET name = $3, description = $4, icon = $5, color = $6, lead_id = $7,"
        " archived_at = $8, updated_at = $9 WHERE org_id = $1 AND id = $2",
        org_id,
        project.id,
        project.name,
        project.description,
        project.icon,
        project.color,
        project.lead_id,
        project.archived_at,
        now,
    )


async def hide_project(tx: Tx, org_id: OrgId, project_id: ProjectId, now: datetime) -> None:
    await tx.execute(
        "UPDATE projects SET deleted_at = $3 WHERE org_id = $1 AND id = $2", org_id, project_id, now
    )


async def erase_project(tx: Tx, org_id: OrgId, project_id: ProjectId) -> None:
    await tx.execute(
        "DELETE FROM projects WHERE org_id = $1 AND id = $2 AND deleted_at IS NOT NULL",
        org_id,
        project_id,
    )


async def members(
    db: Reader, org_id: OrgId, project_id: ProjectId, after: UserId | None, limit: int
) -> list[Member]:
    """One member more than `limit`."""
    where = Where(org_id, project_id)
    where.add("m.org_id = $1 AND m.project_id = $2")
    if after is not None:
        where.add("m.user_id > {}", after)
    return await db.all(
        Member,
        "SELECT m.user_id, m.role, u.name FROM project_members m"
        "  JOIN users u ON u.org_id = m.org_id AND u.id = m.user_id"
        f" WHERE {where.sql} ORDER BY m.user_id LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def set_member(
    tx: Tx,
    org_id: OrgId,
    project_id: ProjectId,
    user_id: UserId,
    role: ProjectRole,
    now: datetime,
) -> bool:
    """Give somebody a role; whether that changed anything."""
    return bool(
        await tx.execute(
            "INSERT INTO project_members AS m (org_id, project_id, user_id, role, created_at)"
            " VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (org_id, project_id, user_id) DO UPDATE SET role = excluded.role"
            " WHERE m.role <> excluded.role",
            org_id,
            project_id,
            user_id,
            role,
            now,
        )
    )


async def role_of(
    db: Reader, org_id: OrgId, project_id: ProjectId, user_id: UserId
) -> ProjectRole | None:
    """Somebody's role in a project; None for who is not in it."""
    return await db.value(
        "SELECT role FROM project_members WHERE org_id = $1 AND project_id = $2 AND user_id = $3",
        org_id,
        project_id,
        user_id,
    )


async def is_member(tx: Tx, org_id: OrgId, project_id: ProjectId, user_id: UserId) -> bool:
    return await tx.value(
        "SELECT EXISTS (SELECT FROM project_members"
        " WHERE org_id = $1 AND project_id = $2 AND user_id = $3)",
        org_id,
        project_id,
        user_id,
    )


async def remove_member(tx: Tx, org_id: OrgId, project_id: ProjectId, user_id: UserId) -> bool:
    """Whether there was such a member."""
    return bool(
        await tx.execute(
            "DELETE FROM project_members WHERE org_id = $1 AND project_id = $2 AND user_id = $3",
            org_id,
            project_id,
            user_id,
        )
    )


async def remove_from_all(
    tx: Tx, org_id: OrgId, user_id: UserId, before: datetime
) -> list[ProjectId]:
    """Take somebody out of the projects that they were in by then; those projects."""
    return await tx.values(
        "DELETE FROM project_members WHERE org_id = $1 AND user_id = $2 AND created_at <= $3"
        " RETURNING project_id",
        org_id,
        user_id,
        before,
    )


async def statuses(db: Reader, org_id: OrgId, project_id: ProjectId) -> list[Status]:
    return await db.all(
        Status,
        f"SELECT {_STATUS} FROM statuses s"
        " WHERE s.org_id = $1 AND s.project_id = $2 AND s.deleted_at IS NULL"
        " ORDER BY s.position, s.id",
        org_id,
        project_id,
    )


async def status_with_role(
    tx: Tx, org_id: OrgId, status_id: UUID, user_id: UserId | None
) -> StatusWithRole | None:
    """A status, its project locked against other changes of its statuses.

    The status itself is locked too, so that no item gets it meanwhile: who gives it to an item
    holds it shared.
    """
    return await tx.maybe(
        StatusWithRole,
        f"SELECT {_STATUS}, s.project_id, m.role FROM statuses s"
        "  JOIN projects p"
        "    ON p.org_id = s.org_id AND p.id = s.project_id AND p.deleted_at IS NULL"
        "  LEFT JOIN project_members m"
        "    ON m.org_id = s.org_id AND m.project_id = s.project_id AND m.user_id = $3"
        " WHERE s.org_id = $1 AND s.id = $2 AND s.deleted_at IS NULL FOR NO KEY UPDATE OF p, s",
        org_id,
        status_id,
        user_id,
    )


async def insert_status(
    tx: Tx, org_id: OrgId, project_id: ProjectId, status: Status, position: int | None
) -> Status:
    """Add a status at a place, or at the end."""
    return await tx.one(
        Status,
        "WITH place AS ("
        "  SELECT least($7::int, coalesce(max(position) + 1, 0)) AS position"
        "    FROM statuses WHERE org_id = $1 AND project_id = $2"
        "), shifted AS ("
        "  UPDATE statuses SET position = statuses.position + 1 FROM place"
        "   WHERE org_id = $1 AND project_id = $2 AND statuses.position >= place.position"
        ")"
        " INSERT INTO statuses AS s (org_id, project_id, id, name, category, color, position)"
        f" SELECT $1, $2, $3, $4, $5, $6, place.position FROM place RETURNING {_STATUS}",
        org_id,
        project_id,
        status.id,
        status.name,
        status.category,
        status.color,
        position,
    )


async def update_status(tx: Tx, org_id: OrgId, status: Status) -> None:
    await tx.execute(
        "UPDATE statuses SET name = $3, category = $4, color = $5 WHERE org_id = $1 AND id = $2",
        org_id,
        status.id,
        status.name,
        status.category,
        status.color,
    )


async def order_statuses(
    tx: Tx, org_id: OrgId, project_id: ProjectId, ordered_ids: Sequence[UUID]
) -> None:
    await tx.execute(
        "UPDATE statuses s SET position = o.n - 1"
        "  FROM unnest($3::uuid[]) WITH ORDINALITY AS o (id, n)"
        " WHERE s.org_id = $1 AND s.project_id = $2 AND s.id = o.id",
        org_id,
        project_id,
        ordered_ids,
    )


async def hide_status(
    tx: Tx, org_id: OrgId, project_id: ProjectId, status_id: UUID, target_id: UUID, now: datetime
) -> None:
    """Hide a status, free its name, and send its items, and those on their way to it, to another.

    The name is the id from now on: the index that keeps names apart serves older versions, too.
    """
    await tx.execute(
        "UPDATE statuses SET replaced_by = $4,"
        "   name = CASE WHEN id = $3 THEN id::text ELSE name END,"
        "   deleted_at = CASE WHEN id = $3 THEN $5 ELSE deleted_at END"
        " WHERE org_id = $1 AND project_id = $2 AND (id = $3 OR replaced_by = $3)",
        org_id,
        project_id,
        status_id,
        target_id,
        now,
    )


async def erase_status(tx: Tx, org_id: OrgId, status_id: UUID) -> None:
    await tx.execute(
        "DELETE FROM statuses WHERE org_id = $1 AND id = $2 AND deleted_at IS NOT NULL",
        org_id,
        status_id,
    )


class ItemsStatus(msgspec.Struct, frozen=True):
    """The status that items of a status belong into: that one itself, or what replaces it."""

    id: UUID
    name: str
    category: Category


async def items_status(
    tx: Tx, org_id: OrgId, project_id: ProjectId, status_id: UUID
) -> ItemsStatus | None:
    """Return the status to use for this one. The project's statuses are locked until we commit."""
    await tx.execute(
        "SELECT FROM projects WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE", org_id, project_id
    )
    return await tx.maybe(
        ItemsStatus,
        "SELECT t.id, t.name, t.category FROM statuses s JOIN statuses t"
        "    ON t.org_id = $1 AND t.project_id = $2 AND t.id = coalesce(s.replaced_by, s.id)"
        " WHERE s.org_id = $1 AND s.project_id = $2 AND s.id = $3",
        org_id,
        project_id,
        status_id,
    )


async def labels(db: Reader, org_id: OrgId, workspace_id: UUID | None) -> list[Label]:
    """The labels of the workspace that is asked for, else of the organization's first."""
    return await db.all(
        Label,
        f"SELECT {_LABEL} FROM labels l"
        " WHERE l.org_id = $1 AND l.deleted_at IS NULL AND l.workspace_id ="
        " (SELECT w.id FROM workspaces w WHERE w.org_id = $1"
        "   ORDER BY w.id = $2 DESC NULLS LAST, w.created_at, w.id LIMIT 1)"
        " ORDER BY lower(l.name)",
        org_id,
        workspace_id,
    )


async def lock_labels(tx: Tx, org_id: OrgId) -> None:
    """Let nobody else rename, merge or delete labels until we commit."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('labels ' || $1::uuid, 0))", org_id
    )


async def label(tx: Tx, org_id: OrgId, label_id: UUID, *, keep: bool = False) -> Label | None:
    """A label, locked: no item can get it before we commit. `keep`: it only stays what it is."""
    locking: LiteralString = "FOR KEY SHARE" if keep else "FOR UPDATE"
    return await tx.maybe(
        Label,
        f"SELECT {_LABEL} FROM labels l"
        f" WHERE l.org_id = $1 AND l.id = $2 AND l.deleted_at IS NULL {locking}",
        org_id,
        label_id,
    )


async def insert_label(tx: Tx, org_id: OrgId, workspace_id: UUID, label: Label) -> None:
    await tx.execute(
        "INSERT INTO labels (org_id, workspace_id, id, name, color) VALUES ($1, $2, $3, $4, $5)",
        org_id,
        workspace_id,
        label.id,
        label.name,
        label.color,
    )


class Named(msgspec.Struct, frozen=True):
    id: UUID
    name: str
    is_new: bool


async def ensure_labels(
    tx: Tx, org_id: OrgId, workspace_id: UUID, ids: Sequence[UUID], names: Sequence[str]
) -> list[Named]:
    """The labels of these names, made where there are none yet, whoever else makes them now."""
    return await tx.all(
        Named,
        "INSERT INTO labels AS l (org_id, workspace_id, id, name)"
        " SELECT $1, $2, n.id, n.name FROM unnest($3::uuid[], $4::text[]) AS n (id, name)"
        "  ORDER BY lower(n.name)"
        " ON CONFLICT (org_id, workspace_id, lower(name)) DO UPDATE SET name = l.name"
        " RETURNING l.id, l.name, l.id = ANY ($3) AS is_new",
        org_id,
        workspace_id,
        ids,
        names,
    )


async def update_label(tx: Tx, org_id: OrgId, label: Label) -> None:
    await tx.execute(
        "UPDATE labels SET name = $3, color = $4 WHERE org_id = $1 AND id = $2",
        org_id,
        label.id,
        label.name,
        label.color,
    )


async def hide_label(
    tx: Tx, org_id: OrgId, label_id: UUID, into_id: UUID | None, now: datetime
) -> None:
    """Hide a label and free its name; its items, and those about to get it, get `into_id`.

    The name is the id from now on: the index that keeps names apart serves older versions, too.
    """
    await tx.execute(
        "UPDATE labels SET replaced_by = $3,"
        "   name = CASE WHEN id = $2 THEN id::text ELSE name END,"
        "   deleted_at = CASE WHEN id = $2 THEN $4 ELSE deleted_at END"
        " WHERE org_id = $1 AND (id = $2 OR deleted_at IS NOT NULL AND replaced_by = $2)",
        org_id,
        label_id,
        into_id,
        now,
    )


class DeletedLabel(msgspec.Struct, frozen=True):
    replaced_by: UUID | None


async def deleted_label(tx: Tx, org_id: OrgId, label_id: UUID) -> DeletedLabel | None:
    """Return the replacement of a deleted label that items may still carry."""
    return await tx.maybe(
        DeletedLabel,
        "SELECT replaced_by FROM labels WHERE org_id = $1 AND id = $2 AND deleted_at IS NOT NULL",
        org_id,
        label_id,
    )


async def erase_label(tx: Tx, org_id: OrgId, label_id: UUID) -> None:
    await tx.execute(
        "DELETE FROM labels WHERE org_id = $1 AND id = $2 AND deleted_at IS NOT NULL",
        org_id,
        label_id,
    )

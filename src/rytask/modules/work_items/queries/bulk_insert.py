"""Adding many items at once."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from rytask.modules.work_items.model import ItemStatus, WatchReason, WorkItem
from rytask.modules.work_items.rules import STEP
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, ProjectId, UserId


async def lock_statuses(
    tx: Tx, org_id: OrgId, project_id: ProjectId, ids: Collection[UUID]
) -> dict[UUID, ItemStatus]:
    """Statuses of a project by id; nobody changes or deletes them until we commit."""
    found = await tx.all(
        ItemStatus,
        "SELECT s.id, s.name, s.category FROM statuses s"
        " WHERE s.org_id = $1 AND s.project_id = $2 AND s.id = ANY ($3) AND s.deleted_at IS NULL"
        " ORDER BY s.id FOR SHARE",
        org_id,
        project_id,
        list(ids),
    )
    return {status.id: status for status in found}


async def lock_labels(
    tx: Tx, org_id: OrgId, workspace_id: UUID, ids: Collection[UUID]
) -> set[UUID]:
    """The labels of a workspace among these ids; nobody deletes them until we commit."""
    return set(
        await tx.values(
            "SELECT l.id FROM labels l WHERE l.org_id = $1 AND l.workspace_id = $2"
            "   AND l.id = ANY ($3) AND l.deleted_at IS NULL ORDER BY l.id FOR KEY SHARE",
            org_id,
            workspace_id,
            list(ids),
        )
    )


async def assignable(
    tx: Tx, org_id: OrgId, project_id: ProjectId, ids: Collection[UserId]
) -> set[UserId]:
    """The people among these who may get items of the project."""
    return set(
        await tx.values(
            "SELECT o.user_id FROM memberships o LEFT JOIN project_members m"
            "    ON m.org_id = $1 AND m.project_id = $2 AND m.user_id = o.user_id"
            " WHERE o.org_id = $1 AND o.user_id = ANY ($3) AND o.deactivated_at IS NULL"
            "   AND (o.role IN ('OWNER', 'ADMIN') OR m.user_id IS NOT NULL)",
            org_id,
            project_id,
            list(ids),
        )
    )


class Places(msgspec.Struct, frozen=True):
    """The last number and position before a reserved block."""

    number: int
    position: float


async def reserve_places(tx: Tx, org_id: OrgId, project_id: ProjectId, count: int) -> Places:
    """Take the next numbers of a project, and the end of its order. Committed apart."""
    return await tx.autocommit.one(
        Places,
        "UPDATE project_counters SET last_number = last_number + $3,"
        "   last_position = last_position + $3 * $4::float8"
        " WHERE org_id = $1 AND project_id = $2"
        " RETURNING last_number - $3 AS number, last_position - $3 * $4::float8 AS position",
        org_id,
        project_id,
        count,
        STEP,
    )


async def insert_items(
    tx: Tx, org_id: OrgId, items: Sequence[WorkItem], closed: Sequence[datetime | None]
) -> None:
    """Add items, parents before their sub-tasks; `closed` says when each was closed."""
    await tx.copy(
        "work_items",
        (
            *("org_id", "project_id", "id", "number", "key", "position", "title", "description"),
            *("status_id", "priority", "source", "assignee_id", "reporter_id", "parent_id"),
            *("label_ids", "estimate_value", "start_date", "end_date", "due_date", "version"),
            *("completed_at", "closed_at", "created_at", "updated_at", "child_count"),
        ),
        [
            (
                *(org_id, item.project_id, item.id, item.number, item.key, item.position),
                *(item.title, item.description, item.status_id, item.priority, item.source),
                *(item.assignee_id, item.reporter_id, item.parent_id, item.label_ids),
                *(item.estimate_value, item.start_date, item.end_date, item.due_date),
                *(item.version, item.completed_at, closed_at, item.created_at),
                *(item.updated_at, item.child_count),
            )
            for item, closed_at in zip(items, closed, strict=True)
        ],
    )


async def insert_watchers(
    tx: Tx, org_id: OrgId, watching: Iterable[tuple[UUID, Sequence[tuple[UserId, WatchReason]]]]
) -> None:
    """Let people watch items that nobody watches yet."""
    await tx.copy(
        "work_item_watchers",
        ("org_id", "item_id", "user_id", "reason"),
        [
            (org_id, item_id, user_id, reason)
            for item_id, reasons in watching
            for user_id, reason in reasons
        ],
    )


class ProjectCount(msgspec.Struct, frozen=True):
    project_id: ProjectId
    count: int


async def counts(db: Reader, org_id: OrgId) -> list[ProjectCount]:
    """Count the items of each project that has any, without those in the trash."""
    return await db.all(
        ProjectCount,
        "SELECT w.project_id, count(*) AS count FROM work_items w"
        "  JOIN projects p ON p.org_id = $1 AND p.id = w.project_id AND p.deleted_at IS NULL"
        " WHERE w.org_id = $1 AND w.deleted_at IS NULL GROUP BY w.project_id",
        org_id,
    )

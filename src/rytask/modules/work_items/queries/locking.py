"""Locks, in this order, so that nobody waits in a circle.

1. What is administered: labels of the organization (`projects.require_label`), the statuses of a
   project (its row), a bulk operation.
2. The tree of a project, or the column of a status.
3. Rows of labels, then the row of the status that an item comes into.
4. Items: the item, then its parent.
5. The project's counter.

A bulk change holds what it administers and then takes only the items that nobody else has locked:
it never waits for an item. So items may be locked by somebody who waits for a label or a status.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from rytask.modules.projects.model import Category
from rytask.modules.work_items.model import LockedItem
from rytask.modules.work_items.queries.fragments import IN_PROJECT, MY_ROLE, ROW, TODAY
from rytask.platform.db import Reader, Tx
from rytask.platform.ids import OrgId, ProjectId
from rytask.platform.work import Actor


async def lock_tree(tx: Tx, org_id: OrgId, project_id: ProjectId) -> None:
    """Let nobody else change who is whose sub-task in a project until we commit."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('tree ' || $1::uuid || $2::uuid, 0))",
        org_id,
        project_id,
    )


async def lock_tree_of(tx: Tx, org_id: OrgId, item_id: UUID) -> None:
    """The same for the project of an item."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('tree ' || org_id || project_id, 0))"
        "  FROM work_items WHERE org_id = $1 AND id = $2",
        org_id,
        item_id,
    )


async def lock_column(tx: Tx, org_id: OrgId, item_id: UUID, status_id: UUID | None) -> UUID | None:
    """Let nobody else move items within a status until we commit; which status that is.

    The status that is asked for, else the one the item is in. None: there is no such item.
    """
    return await tx.value(
        "SELECT s.id, pg_advisory_xact_lock(hashtextextended('column ' || s.id, 0)) FROM ("
        "  SELECT coalesce($3, status_id) AS id FROM work_items WHERE org_id = $1 AND id = $2"
        "  OFFSET 0) s",
        org_id,
        item_id,
        status_id,
    )


async def first_status(
    db: Reader, org_id: OrgId, item_id: UUID, categories: Sequence[Category]
) -> UUID | None:
    """The status of an item's project that comes first by category, then in the project's order."""
    return await db.value(
        "SELECT s.id FROM work_items w"
        "  JOIN statuses s ON s.org_id = $1 AND s.project_id = w.project_id"
        " WHERE w.org_id = $1 AND w.id = $2 AND s.category = ANY ($3::text[])"
        "   AND s.deleted_at IS NULL"
        " ORDER BY array_position($3::text[], s.category), s.position, s.id LIMIT 1",
        org_id,
        item_id,
        categories,
    )


async def workspace_of(db: Reader, org_id: OrgId, item_id: UUID) -> UUID | None:
    """The workspace of an item, for what must be locked before it. Says nothing of permission."""
    return await db.value(
        f"SELECT p.workspace_id FROM work_items w{IN_PROJECT} WHERE w.org_id = $1 AND w.id = $2",
        org_id,
        item_id,
    )


async def lock_item(
    tx: Tx,
    actor: Actor,
    now: datetime,
    item_id: UUID,
    *,
    status_id: UUID | None = None,
    trashed: bool = False,
) -> LockedItem | None:
    """An item, locked: nobody else can change it until we commit. `status_id`: where it may go."""
    in_trash: LiteralString = "IS NOT NULL" if trashed else "IS NULL"
    return await tx.maybe(
        LockedItem,
        f"WITH {TODAY} SELECT {ROW}, w.closed_at, p.workspace_id,"
        "  p.archived_at IS NOT NULL AS archived, m.role, (SELECT day FROM today) AS today,"
        "  t.category AS target_category, t.name AS target_name"
        f" FROM work_items w{IN_PROJECT}{MY_ROLE}$2"
        "  LEFT JOIN LATERAL (SELECT s.category, s.name FROM statuses s WHERE s.org_id = $1"
        "    AND s.project_id = w.project_id AND s.id = $5"
        "    AND s.deleted_at IS NULL FOR SHARE) t ON true"
        f" WHERE w.org_id = $1 AND w.id = $4 AND w.deleted_at {in_trash}"
        " FOR NO KEY UPDATE OF w",
        actor.org_id,
        actor.user_id,
        now,
        item_id,
        status_id,
    )

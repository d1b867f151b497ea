"""Statements that change many items, batch by batch, and the operations' progress.

A batch takes only items that nobody else has locked. Those that it had to leave are found later.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from rytask.modules.projects.model import Category
from rytask.modules.projects.visibility import visible_to
from rytask.modules.work_items.model import BulkOperation, OperationKind
from rytask.modules.work_items.rules import STEP
from rytask.platform.db import Reader, Tx, Where
from rytask.platform.ids import OrgId, ProjectId, UserId
from rytask.platform.work import Actor, Source


class BulkItem(msgspec.Struct, frozen=True):
    """The columns of an item for a bulk change."""

    id: UUID
    project_id: ProjectId
    key: str
    title: str
    position: float
    completed_at: datetime | None
    closed_at: datetime | None
    label_ids: list[UUID]


class LockedOperation(msgspec.Struct, frozen=True):
    id: UUID
    kind: OperationKind
    project_id: ProjectId | None
    subject_id: UUID
    from_category: Category | None
    actor_id: UserId | None
    source: Source
    first_seq: int
    after_position: float | None
    total: int | None
    done: int


IN_ORDER: LiteralString = " ORDER BY w.position, w.id"
"""As they stand in their status."""
YOUNGEST_FIRST: LiteralString = " ORDER BY w.number DESC"
"""Sub-tasks before what they are below, most of the time."""


def status_items(
    org_id: OrgId,
    project_id: ProjectId,
    status_id: UUID,
    *,
    closed_as: tuple[bool, bool] | None,
    after: float | None = None,
) -> Where:
    """The items of a status; of those not yet completed and closed like that, if it is given."""
    where = Where(org_id, project_id, status_id)
    where.add("w.org_id = $1 AND w.project_id = $2 AND w.status_id = $3")
    if closed_as is not None:
        where.add("(w.completed_at IS NOT NULL, w.closed_at IS NOT NULL) <> ({}, {})", *closed_as)
    if after is not None:
        where.add("w.position > {}", after)
    return where


def label_items(org_id: OrgId, label_id: UUID) -> Where:
    """The items that carry a label."""
    return Where(org_id, label_id).add("w.org_id = $1 AND w.label_ids @> ARRAY[$2::uuid]")


def project_items(org_id: OrgId, project_id: ProjectId) -> Where:
    """The items of a deleted project."""
    return Where(org_id, project_id).add(
        "w.org_id = $1 AND w.project_id = $2 AND EXISTS (SELECT FROM projects p"
        "  WHERE p.org_id = $1 AND p.id = $2 AND p.deleted_at IS NOT NULL)"
    )


async def lock_batch(tx: Tx, which: Where, limit: int, order: LiteralString = "") -> list[BulkItem]:
    """Lock some of the items that nobody else has locked."""
    return await tx.all(
        BulkItem,
        "SELECT w.id, w.project_id, w.key, w.title, w.position, w.completed_at, w.closed_at,"
        f" w.label_ids FROM work_items w WHERE {which.sql}{order}"
        f" LIMIT {which.param(limit)} FOR NO KEY UPDATE SKIP LOCKED",
        *which.args,
    )


async def any_left(tx: Tx, which: Where) -> bool:
    return await tx.value(
        f"SELECT EXISTS (SELECT FROM work_items w WHERE {which.sql})", *which.args
    )


async def count(tx: Tx, which: Where) -> int:
    return await tx.value(f"SELECT count(*) FROM work_items w WHERE {which.sql}", *which.args)


async def any_live(tx: Tx, org_id: OrgId, project_id: ProjectId, status_id: UUID) -> bool:
    """Whether a status has items that are not in the trash."""
    return await tx.value(
        "SELECT EXISTS (SELECT FROM work_items WHERE org_id = $1 AND project_id = $2"
        "   AND status_id = $3 AND deleted_at IS NULL)",
        org_id,
        project_id,
        status_id,
    )


async def any_not_editable(tx: Tx, actor: Actor, label_id: UUID) -> bool:
    """Whether items of a project that the actor may not edit carry a label."""
    return await tx.value(
        "SELECT EXISTS (SELECT FROM work_items w"
        "    JOIN projects p ON p.org_id = $1 AND p.id = w.project_id AND p.deleted_at IS NULL"
        "    LEFT JOIN project_members m"
        "      ON m.org_id = $1 AND m.project_id = p.id AND m.user_id = $3"
        "   WHERE w.org_id = $1 AND w.label_ids @> ARRAY[$2::uuid]"
        "     AND (p.archived_at IS NOT NULL OR coalesce(m.role = 'VIEWER', true)))",
        actor.org_id,
        label_id,
        actor.user_id,
    )


async def allocate_positions(tx: Tx, org_id: OrgId, project_id: ProjectId, items: int) -> float:
    """The position behind all others, with room for so many. Nobody else gets them.

    Committed apart, so that whoever adds to the project does not wait for the batch.
    """
    return await tx.autocommit.value(
        "UPDATE project_counters SET last_position = last_position + $3"
        " WHERE org_id = $1 AND project_id = $2 RETURNING last_position - $3 + $4",
        org_id,
        project_id,
        items * STEP,
        STEP,
    )


async def put_into_status(
    tx: Tx,
    org_id: OrgId,
    status_id: UUID,
    now: datetime,
    items: Sequence[tuple[UUID, float, datetime | None, datetime | None]],
) -> None:
    """Put items into a status, each at a position, completed and closed at these times."""
    await tx.execute(
        "UPDATE work_items w SET status_id = $2, position = n.position,"
        "   completed_at = n.completed_at, closed_at = n.closed_at,"
        "   version = version + 1, updated_at = $3"
        "  FROM unnest($4::uuid[], $5::float8[], $6::timestamptz[], $7::timestamptz[])"
        "    AS n (id, position, completed_at, closed_at)"
        " WHERE w.org_id = $1 AND w.id = n.id",
        org_id,
        status_id,
        now,
        *(list(column) for column in zip(*items, strict=True)),
    )


async def replace_label(
    tx: Tx,
    org_id: OrgId,
    item_ids: Sequence[UUID],
    label_id: UUID,
    into_id: UUID | None,
    now: datetime,
) -> None:
    """Take a label off items; with `into_id`, put that one on instead."""
    await tx.execute(
        "UPDATE work_items SET updated_at = $5,"
        "   label_ids = CASE WHEN $4 = ANY (label_ids) OR $4::uuid IS NULL"
        "     THEN array_remove(label_ids, $3) ELSE array_replace(label_ids, $3, $4) END"
        " WHERE org_id = $1 AND id = ANY ($2::uuid[])",
        org_id,
        item_ids,
        label_id,
        into_id,
        now,
    )


async def erase(tx: Tx, org_id: OrgId, item_ids: Sequence[UUID]) -> None:
    await tx.execute(
        "DELETE FROM work_items WHERE org_id = $1 AND id = ANY ($2::uuid[])", org_id, item_ids
    )


async def insert_operation(
    tx: Tx, operation: BulkOperation, actor: Actor, from_category: Category | None
) -> None:
    await tx.execute(
        "INSERT INTO bulk_operations (id, org_id, kind, project_id, subject_id, target_id,"
        "    from_category, actor_id, source, first_seq, started_at)"
        " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, last_value, $10 FROM events_seq",
        operation.id,
        actor.org_id,
        operation.kind,
        operation.project_id,
        operation.subject_id,
        operation.target_id,
        from_category,
        actor.user_id,
        actor.source,
        operation.started_at,
    )


async def lock_operation(tx: Tx, org_id: OrgId, operation_id: UUID) -> LockedOperation | None:
    """An operation that is not finished, locked until we commit."""
    return await tx.maybe(
        LockedOperation,
        "SELECT id, kind, project_id, subject_id, from_category, actor_id, source, first_seq,"
        "   after_position, total, done FROM bulk_operations"
        " WHERE org_id = $1 AND id = $2 AND finished_at IS NULL FOR UPDATE",
        org_id,
        operation_id,
    )


async def advance(
    tx: Tx,
    org_id: OrgId,
    operation_id: UUID,
    *,
    total: int | None,
    done: int,
    after: float | None,
    finished_at: datetime | None = None,
) -> None:
    """Remember how far an operation is. It has changed what it has changed: no less than `done`."""
    await tx.execute(
        "UPDATE bulk_operations SET done = $3::int, total = greatest($4, $3::int),"
        "   after_position = $5, finished_at = $6 WHERE org_id = $1 AND id = $2",
        org_id,
        operation_id,
        done,
        total,
        after,
        finished_at,
    )


# Labels belong to no project; what concerns a project is for those who see it.
_OPERATION: LiteralString = (
    "SELECT b.id, b.kind, b.project_id, b.subject_id, b.target_id, b.total, b.done, b.started_at,"
    "   b.finished_at, (SELECT j.last_error FROM jobs j WHERE j.org_id = b.org_id"
    "     AND j.name = 'work_items.change_in_bulk' AND j.arg = to_jsonb(b.id::text)) AS error"
    "  FROM bulk_operations b LEFT JOIN projects p ON p.org_id = b.org_id AND p.id = b.project_id"
)


def _visible_operations(actor: Actor) -> Where:
    if actor.is_admin:
        return Where(actor.org_id).add("b.org_id = $1")
    where = Where(actor.org_id, actor.user_id).add("b.org_id = $1")
    return where.add("(b.project_id IS NULL OR " + visible_to(actor) + ")")


async def operations(
    db: Reader, actor: Actor, before: UUID | None, limit: int
) -> list[BulkOperation]:
    """One operation more than `limit` that the actor may see, the newest first."""
    where = _visible_operations(actor)
    if before is not None:
        where.add("b.id < {}", before)
    return await db.all(
        BulkOperation,
        f"{_OPERATION} WHERE {where.sql} ORDER BY b.id DESC LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def operation(db: Reader, actor: Actor, operation_id: UUID) -> BulkOperation | None:
    where = _visible_operations(actor).add("b.id = {}", operation_id)
    return await db.maybe(BulkOperation, f"{_OPERATION} WHERE {where.sql}", *where.args)


async def purge(tx: Tx, older_than: datetime) -> int:
    """Forget operations that were finished before."""
    return await tx.execute("DELETE FROM bulk_operations WHERE finished_at < $1", older_than)

"""Writes of items."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec

from rytask.modules.work_items.model import (
    LockedItem,
    WatchReason,
    WorkItem,
)
from rytask.modules.work_items.rules import STEP
from rytask.platform.db import Tx, Where
from rytask.platform.ids import OrgId, ProjectId, UserId


class ItemSlot(msgspec.Struct, frozen=True):
    number: int
    position: float


async def allocate_slot(tx: Tx, org_id: OrgId, project_id: ProjectId) -> ItemSlot:
    """The next number of a project, and the end of its order. Nobody else gets them.

    Committed apart, so that those who add to a project do not wait for each other's commits: with
    a transaction that fails a number is lost, and no number comes twice.
    """
    return await tx.autocommit.one(
        ItemSlot,
        "UPDATE project_counters"
        "   SET last_number = last_number + 1, last_position = last_position + $3"
        " WHERE org_id = $1 AND project_id = $2"
        " RETURNING last_number AS number, last_position AS position",
        org_id,
        project_id,
        STEP,
    )


_INSERT: LiteralString = (
    "INSERT INTO work_items (org_id, project_id, id, number, key, position, title, description,"
    "   status_id, priority, source, assignee_id, reporter_id, parent_id, capture_id, label_ids,"
    "   estimate_value, start_date, end_date, due_date, completed_at, closed_at, created_at,"
    "   updated_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::priority, $11, $12, $13, $14, $15,"
    "   $16, $17, $18, $19, $20, $21, $22, $23, $23)"
)
_COUNT_SUBTASK: LiteralString = (
    "UPDATE work_items SET child_count = child_count + 1 WHERE org_id = $1 AND id = $14"
)
_WATCH: LiteralString = (
    "INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
    " SELECT $1, $3, v.user_id, v.reason"
    "   FROM unnest($24::uuid[], $25::text[]) AS v (user_id, reason)"
)


async def insert(
    tx: Tx,
    org_id: OrgId,
    item: WorkItem,
    closed_at: datetime | None,
    capture_id: UUID | None,
    watching: Sequence[tuple[UserId, WatchReason]],
) -> None:
    """Add an item, with those who watch it from the start."""
    parts: list[LiteralString] = []
    if item.parent_id is not None:
        parts.append(f"parent AS ({_COUNT_SUBTASK})")
    last, watchers = _INSERT, list[object]()
    if watching:
        parts.append(f"item AS ({_INSERT})")
        last, watchers = _WATCH, [list(column) for column in zip(*watching, strict=True)]
    sql: LiteralString = f"WITH {', '.join(parts)} {last}" if parts else last
    await tx.execute(
        sql,
        org_id,
        item.project_id,
        item.id,
        item.number,
        item.key,
        item.position,
        item.title,
        item.description,
        item.status_id,
        item.priority,
        item.source,
        item.assignee_id,
        item.reporter_id,
        item.parent_id,
        capture_id,
        item.label_ids,
        item.estimate_value,
        item.start_date,
        item.end_date,
        item.due_date,
        item.completed_at,
        closed_at,
        item.created_at,
        *watchers,
    )


_COLUMNS: Mapping[str, LiteralString] = {
    "title": "title = {}",
    "description": "description = {}",
    "status_id": "status_id = {}",
    "priority": "priority = {}::text::priority",
    "assignee_id": "assignee_id = {}",
    "parent_id": "parent_id = {}",
    "estimate_value": "estimate_value = {}",
    "start_date": "start_date = {}",
    "end_date": "end_date = {}",
    "due_date": "due_date = {}",
    "label_ids": "label_ids = {}",
    "position": "position = {}",
    "completed_at": "completed_at = {}",
    "closed_at": "closed_at = {}",
}


async def update(
    tx: Tx,
    item: WorkItem,
    org_id: OrgId,
    now: datetime,
    changes: Mapping[str, Any],
    *,
    to_end: bool = False,
) -> float:
    """Change columns of an item; its position. `to_end`: it goes behind all others.

    A new assignee watches it from now on, and sub-tasks of its old and new parent are counted.
    """
    values = Where(org_id, item.id, now)
    also: list[LiteralString] = []
    sets: list[LiteralString] = ["version = version + 1", "updated_at = $3"]
    for name, value in changes.items():
        sets.append(_COLUMNS[name].replace("{}", values.param(value)))
    if to_end:
        counter, step = values.param(item.project_id), values.param(STEP)
        also.append(
            f"counter AS (UPDATE project_counters SET last_position = last_position + {step}"
            f" WHERE org_id = $1 AND project_id = {counter} RETURNING last_position)"
        )
        sets.append("position = (SELECT last_position FROM counter)")
    if changes.get("assignee_id") is not None:
        also.append(
            "watching AS (INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
            f" VALUES ($1, $2, {values.param(changes['assignee_id'])}, 'ASSIGNEE')"
            " ON CONFLICT DO NOTHING)"
        )
    if "parent_id" in changes:
        more, fewer = values.param(changes["parent_id"]), values.param(item.parent_id)
        also.append(
            "parents AS (UPDATE work_items SET child_count = child_count"
            f" + CASE WHEN id = {more} THEN 1 ELSE -1 END"
            f" WHERE org_id = $1 AND id IN ({more}, {fewer}))"
        )
    ctes: LiteralString = "WITH " + ", ".join(also) if also else ""
    return await tx.value(
        f"{ctes} UPDATE work_items SET {', '.join(sets)} WHERE org_id = $1 AND id = $2"
        " RETURNING position",
        *values.args,
    )


async def set_trashed(
    tx: Tx, org_id: OrgId, item: LockedItem, now: datetime, deleted_at: datetime | None
) -> None:
    """Put an item into the trash or take it out, and count its parent's sub-tasks."""
    await tx.execute(
        "WITH parent AS ("
        "  UPDATE work_items SET child_count = child_count + $6 WHERE org_id = $1 AND id = $3)"
        " UPDATE work_items SET deleted_at = $5, updated_at = $4, version = version + 1"
        "  WHERE org_id = $1 AND id = $2",
        org_id,
        item.id,
        item.parent_id,
        now,
        deleted_at,
        -1 if deleted_at else 1,
    )


class Neighbour(msgspec.Struct, frozen=True):
    id: UUID
    position: float


async def neighbours(
    tx: Tx,
    org_id: OrgId,
    item: WorkItem,
    status_id: UUID,
    anchor_id: UUID,
    *,
    before: bool,
    count: int,
) -> list[Neighbour]:
    """An item of a status and those next to it, nearest first, without the one that moves.

    Empty when the anchor is not in the status, or is the one that moves.
    """
    side: LiteralString = "<" if before else ">"
    direction: LiteralString = " DESC" if before else ""
    return await tx.all(
        Neighbour,
        "WITH anchor AS MATERIALIZED ("
        "  SELECT id, position FROM work_items WHERE org_id = $1 AND project_id = $2"
        "    AND status_id = $3 AND id = $4 AND id <> $5 AND deleted_at IS NULL)"
        " SELECT id, position FROM anchor UNION ALL"
        # LATERAL, so that the index gives the order and only a few entries are read.
        " SELECT n.id, n.position FROM anchor a CROSS JOIN LATERAL ("
        "  SELECT w.id, w.position FROM work_items w"
        "   WHERE w.org_id = $1 AND w.project_id = $2 AND w.status_id = $3"
        f"    AND w.deleted_at IS NULL AND w.position {side}= a.position"
        f"    AND (w.position, w.id) {side} (a.position, a.id) AND w.id <> $5"
        f"  ORDER BY w.position{direction}, w.id{direction} LIMIT $6) n",
        org_id,
        item.project_id,
        status_id,
        anchor_id,
        item.id,
        count,
    )


async def reserve_end(tx: Tx, org_id: OrgId, project_id: ProjectId, count: int) -> float:
    """Take the next `count` positions at the end of a project's order; where they begin.

    Nobody else gets them, not even an item that has its position and is not committed yet.
    """
    return await tx.value(
        "UPDATE project_counters SET last_position = last_position + $3::int * $4::float8"
        " WHERE org_id = $1 AND project_id = $2"
        " RETURNING last_position - $3::int * $4::float8",
        org_id,
        project_id,
        count,
        STEP,
    )


async def set_positions(
    tx: Tx, org_id: OrgId, status_id: UUID, ids: Sequence[UUID], positions: Sequence[float]
) -> None:
    """Give items of a status new positions."""
    await tx.execute(
        "UPDATE work_items w SET position = n.position"
        "  FROM unnest($3::uuid[], $4::float8[]) AS n (id, position)"
        " WHERE w.org_id = $1 AND w.id = n.id AND w.status_id = $2",
        org_id,
        status_id,
        ids,
        positions,
    )


async def watch(tx: Tx, org_id: OrgId, item_id: UUID, user_id: UserId, reason: WatchReason) -> None:
    await tx.execute(
        "INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        org_id,
        item_id,
        user_id,
        reason,
    )


async def unwatch(tx: Tx, org_id: OrgId, item_id: UUID, user_id: UserId) -> bool:
    return bool(
        await tx.execute(
            "DELETE FROM work_item_watchers WHERE org_id = $1 AND item_id = $2 AND user_id = $3",
            org_id,
            item_id,
            user_id,
        )
    )


async def set_labels(
    tx: Tx, org_id: OrgId, item_id: UUID, now: datetime, label_ids: Sequence[UUID]
) -> None:
    await tx.execute(
        "UPDATE work_items SET label_ids = $4, updated_at = $3 WHERE org_id = $1 AND id = $2",
        org_id,
        item_id,
        now,
        label_ids,
    )

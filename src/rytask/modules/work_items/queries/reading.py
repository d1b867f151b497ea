"""Reads of items, their sub-tasks, their facts and their watchers."""

from collections.abc import Sequence
from uuid import UUID

from rytask.modules.projects.visibility import visible_to
from rytask.modules.work_items.model import Watcher, WorkItem
from rytask.modules.work_items.queries.fragments import IN_PROJECT, ITEM, TODAY
from rytask.platform.db import Reader, Where
from rytask.platform.events import RecordedFact
from rytask.platform.ids import OrgId
from rytask.platform.work import Reading


async def item(ctx: Reading, item_id: UUID) -> WorkItem | None:
    """An item that the actor may see and that is not in the trash."""
    return await ctx.db.maybe(
        WorkItem,
        f"WITH {TODAY} SELECT {ITEM} FROM work_items w{IN_PROJECT}"
        " WHERE w.org_id = $1 AND w.id = $4 AND w.deleted_at IS NULL"
        f" AND {visible_to(ctx.actor)}",
        ctx.org_id,
        ctx.actor.user_id,
        ctx.now,
        item_id,
    )


async def item_by_key(ctx: Reading, key_prefix: str, number: int) -> WorkItem | None:
    """The same by what people call it."""
    return await ctx.db.maybe(
        WorkItem,
        f"WITH {TODAY} SELECT {ITEM} FROM work_items w{IN_PROJECT}"
        " WHERE w.org_id = $1 AND p.org_id = $1 AND p.key_prefix = $4 AND w.number = $5"
        f" AND w.deleted_at IS NULL AND {visible_to(ctx.actor)}",
        ctx.org_id,
        ctx.actor.user_id,
        ctx.now,
        key_prefix,
        number,
    )


async def item_by_capture(ctx: Reading, capture_id: UUID) -> WorkItem | None:
    """The item that a capture became, in the trash or not."""
    return await ctx.db.maybe(
        WorkItem,
        f"WITH {TODAY} SELECT {ITEM} FROM work_items w WHERE w.org_id = $1 AND w.capture_id = $4",
        ctx.org_id,
        ctx.actor.user_id,
        ctx.now,
        capture_id,
    )


async def subtasks(
    ctx: Reading, parent_id: UUID, after_number: int | None, limit: int
) -> list[WorkItem]:
    """One sub-task more than `limit`, by number."""
    where = Where(ctx.org_id, ctx.actor.user_id, ctx.now, parent_id)
    where.add("w.org_id = $1 AND w.parent_id = $4 AND w.deleted_at IS NULL")
    if after_number is not None:
        where.add("w.number > {}", after_number)
    return await ctx.db.all(
        WorkItem,
        f"WITH {TODAY} SELECT {ITEM} FROM work_items w{IN_PROJECT}"
        f" WHERE {where.sql} AND {visible_to(ctx.actor)}"
        f" ORDER BY w.number LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def facts(
    db: Reader, org_id: OrgId, item_id: UUID, kinds: Sequence[str], since: int, limit: int
) -> list[RecordedFact]:
    """List an item's facts of these kinds, oldest first, from a place in the feed on."""
    return await db.all(
        RecordedFact,
        "SELECT org_id, seq, kind, project_id, subject_id, item_id, actor_id, source, payload, at"
        "  FROM events WHERE org_id = $1 AND coalesce(item_id, subject_id) = $2 AND seq >= $3"
        "   AND kind = ANY ($4::text[]) ORDER BY seq LIMIT $5",
        org_id,
        item_id,
        since,
        kinds,
        limit,
    )


async def watchers(db: Reader, org_id: OrgId, item_id: UUID) -> list[Watcher]:
    return await db.all(
        Watcher,
        "SELECT v.user_id, u.name, v.reason FROM work_item_watchers v"
        "  JOIN users u ON u.org_id = v.org_id AND u.id = v.user_id"
        " WHERE v.org_id = $1 AND v.item_id = $2 ORDER BY v.user_id",
        org_id,
        item_id,
    )

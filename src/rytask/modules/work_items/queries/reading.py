"""What is shown: items, their sub-tasks, what happened to them, who watches."""

from collections.abc import Mapping, Sequence
from typing import LiteralString
from uuid import UUID

from rytask.modules.work_items.filters import compile_filter
from rytask.modules.work_items.model import (
    Group,
    Watcher,
    WorkItem,
)
from rytask.modules.work_items.queries.fragments import IN_PROJECT, ITEM, TODAY, visible
from rytask.modules.work_items.schemas import GroupBy, ItemsQuery, Smart
from rytask.modules.work_items.sorting import Key, after, order_by
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
        f" AND {visible(ctx.actor)}",
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
        f" AND w.deleted_at IS NULL AND {visible(ctx.actor)}",
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


async def items(ctx: Reading, query: ItemsQuery, keys: Sequence[Key]) -> list[WorkItem]:
    """One item more than `limit`."""
    where, source = _source(ctx, query)
    if query.cursor is not None:
        after(query.cursor, keys, where)
    ordered: LiteralString = " ORDER BY " + order_by(keys)
    limit: LiteralString = " LIMIT " + where.param(query.limit + 1)
    if query.project_id is None and query.filter is None and query.smart in (None, "urgent"):
        # Each project's index has its items in order: the first of each, merged. One index over
        # all projects would cost every write, and serve a person who sees few of them badly.
        return await ctx.db.all(
            WorkItem,
            f"WITH {TODAY} SELECT {ITEM} FROM projects p CROSS JOIN LATERAL ("
            f"  SELECT w.* FROM work_items w WHERE w.project_id = p.id AND {where.sql}"
            f"  {ordered}{limit}) w"
            f" WHERE p.org_id = $1 AND {visible(ctx.actor)}{ordered}{limit}",
            *where.args,
        )
    return await ctx.db.all(
        WorkItem,
        f"WITH {TODAY} SELECT {ITEM} FROM work_items w WHERE {source} AND {where.sql}"
        f"{ordered}{limit}",
        *where.args,
    )


async def groups(ctx: Reading, query: ItemsQuery, by: GroupBy) -> list[Group]:
    """How many of the items that a query finds there are of each kind."""
    where, source = _source(ctx, query)
    column = _GROUPED[by]
    return await ctx.db.all(
        Group,
        f"WITH {TODAY} SELECT {column}::text AS key, count(*) AS count FROM work_items w"
        f" WHERE {source} AND {where.sql} GROUP BY {column} ORDER BY count(*) DESC, {column}",
        *where.args,
    )


_GROUPED: Mapping[GroupBy, LiteralString] = {
    "status": "w.status_id",
    "assignee": "w.assignee_id",
    "priority": "w.priority",
    "project": "w.project_id",
}
_SMART: Mapping[Smart, LiteralString] = {
    "my-issues": "w.assignee_id = $2",
    "my-work": "w.assignee_id = $2",
    "due-soon": "w.closed_at IS NULL AND w.due_date BETWEEN (SELECT day FROM today)"
    " AND (SELECT day FROM today) + 7",
    "overdue": "w.closed_at IS NULL AND w.due_date < (SELECT day FROM today)",
    "urgent": "w.closed_at IS NULL AND w.priority = 'URGENT'",
}


def _source(ctx: Reading, query: ItemsQuery) -> tuple[Where, LiteralString]:
    """What a query asks for, and the projects it is to be found in."""
    where = Where(ctx.org_id, ctx.actor.user_id, ctx.now)
    where.add("w.org_id = $1 AND w.deleted_at IS NULL")
    source: LiteralString = (
        "w.project_id IN"
        f" (SELECT p.id FROM projects p WHERE p.org_id = $1 AND {visible(ctx.actor)})"
    )
    if query.project_id is not None:
        project = where.param(query.project_id)
        where.add("w.project_id = " + project)
        source = (
            f"EXISTS (SELECT FROM projects p WHERE p.org_id = $1 AND p.id = {project}"
            f" AND {visible(ctx.actor)})"
        )
    if query.smart is not None:
        where.add(_SMART[query.smart])
    if query.filter is not None:
        where.add(compile_filter(query.filter, where, ctx.actor.user_id))
    return where, source


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
        f" WHERE {where.sql} AND {visible(ctx.actor)}"
        f" ORDER BY w.number LIMIT {where.param(limit + 1)}",
        *where.args,
    )


async def facts(
    db: Reader, org_id: OrgId, item_id: UUID, kinds: Sequence[str], since: int, limit: int
) -> list[RecordedFact]:
    """What happened to an item of these kinds, oldest first, from a place in the feed on."""
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

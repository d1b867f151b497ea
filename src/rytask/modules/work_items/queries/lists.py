"""Lists of items, and how many items there are of each kind, at a thousand items and at a million.

A list of one project is read from an index of the project that has its order. The lists of all
projects are merged: only a project whose first item is among the first of a page can contribute
to that page. With a filter, the organization is read by number, or by any index that the planner
finds better for these very values.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString

from rytask.modules.projects.visibility import visible_to
from rytask.modules.work_items.model import Group, WorkItem
from rytask.modules.work_items.queries.fragments import ITEM, TODAY
from rytask.modules.work_items.queries.selection import Selection, select
from rytask.modules.work_items.schemas import GroupBy, ItemsQuery
from rytask.modules.work_items.sorting import Key, Segment, order_by, segments
from rytask.platform.work import Actor, Reading

COUNTED = 50_000
"""Of what a filter finds, groups count so many items."""
_MANY: LiteralString = "10000"
_NAMES: list[LiteralString] = [f"part_{n}" for n in range(1000)]  # type: ignore[misc]


async def items(ctx: Reading, query: ItemsQuery, keys: Sequence[Key]) -> list[WorkItem]:
    """One item more than `limit`."""
    selection = await select(ctx, query)
    where = selection.where
    parts = segments(keys, query.cursor, where)
    limit = where.param(query.limit + 1)
    gated: list[tuple[LiteralString, LiteralString]]
    db = ctx.db if selection.filter is None else ctx.db.custom_plans
    if selection.within == "organization" and keys[0].field.name != "number":
        # No index has this order for the whole organization. A few items are found and sorted; of
        # many, the first are found sooner in the order of the list, project by project.
        matching: LiteralString = (
            f", matching AS MATERIALIZED (SELECT FROM work_items w WHERE {where.sql} LIMIT {_MANY})"
        )
        few: LiteralString = f"(SELECT count(*) FROM matching) < {_MANY}"
        gated = [(few, _in_organization(selection, part, limit)) for part in parts]
        gated.extend(("NOT " + few, _merged(ctx.actor, selection, part, limit)) for part in parts)
        sql = _concatenated(gated, keys, limit, matching)
    elif len(parts) == 1:
        sql = f"WITH {TODAY} {_part(ctx.actor, selection, parts[0], limit)}"
    else:
        gated = [("true", _part(ctx.actor, selection, part, limit)) for part in parts]
        sql = _concatenated(gated, keys, limit)
    return await db.all(WorkItem, sql, *where.args)


async def groups(ctx: Reading, query: ItemsQuery, by: GroupBy) -> list[Group]:
    """Count the items that a query finds, by kind."""
    selection = await select(ctx, query, counted=True)
    column, sql = _GROUPED[by], selection.where.sql
    found: LiteralString = f"SELECT {column} AS key FROM work_items w WHERE {sql}"
    if selection.filter is not None:
        found += " LIMIT " + selection.where.param(COUNTED)
    return await ctx.db.custom_plans.all(
        Group,
        f"WITH {TODAY} SELECT key::text, count(*) AS count FROM ({found}) w"
        " GROUP BY w.key ORDER BY count(*) DESC, w.key",
        *selection.where.args,
    )


_GROUPED: Mapping[GroupBy, LiteralString] = {
    "status": "w.status_id",
    "assignee": "w.assignee_id",
    "priority": "w.priority",
    "project": "w.project_id",
}


def _part(
    actor: Actor, selection: Selection, segment: Segment, limit: LiteralString
) -> LiteralString:
    """A segment of a list, as far as a page reaches."""
    if selection.within == "organization":
        return _in_organization(selection, segment, limit)
    if selection.within == "projects":
        return _merged(actor, selection, segment, limit)
    return (
        f"SELECT {ITEM} FROM work_items w WHERE {selection.where.sql} AND {segment.condition}"
        f" ORDER BY {selection.ordered(segment.order_in_project)} LIMIT {limit}"
    )


def _in_organization(selection: Selection, segment: Segment, limit: LiteralString) -> LiteralString:
    return (
        f"SELECT {ITEM} FROM work_items w WHERE {selection.where.sql} AND {segment.condition}"
        f" ORDER BY {selection.ordered(segment.order)} LIMIT {limit}"
    )


def _merged(
    actor: Actor, selection: Selection, segment: Segment, limit: LiteralString
) -> LiteralString:
    order, conditions = segment.order_in_project, selection.where.sql
    items: LiteralString = f"work_items w WHERE w.project_id = p.id AND {segment.condition}"
    if selection.filter is None:
        items += " AND " + conditions
    else:
        # The planner, which knows nothing of this project, must not look for the filter first.
        ordered = selection.on(segment.keys[0].field)
        items = (
            f"(SELECT w.* FROM {items} AND w.org_id = $1 AND w.deleted_at IS NULL AND {ordered}"
            f"  ORDER BY {order} OFFSET 0) w WHERE {conditions}"
        )
    return (
        f"SELECT {ITEM} FROM (SELECT p.id FROM projects p"
        f"  CROSS JOIN LATERAL (SELECT w.* FROM {items} ORDER BY {order} LIMIT 1) w"
        f"  WHERE p.org_id = $1 AND {visible_to(actor)} ORDER BY {segment.order} LIMIT {limit}) p"
        f" CROSS JOIN LATERAL (SELECT w.* FROM {items} ORDER BY {order} LIMIT {limit}) w"
        f" ORDER BY {segment.order} LIMIT {limit}"
    )


def _concatenated(
    parts: Sequence[tuple[LiteralString, LiteralString]],
    keys: Sequence[Key],
    limit: LiteralString,
    before: LiteralString = "",
) -> LiteralString:
    """Parts of a list, one behind the other, each with a condition without which it is not read.

    None is read either once those before it have filled the page.
    """
    ctes, rows, read = before, "", "0"
    for name, (gate, part) in zip(_NAMES, parts, strict=False):
        ctes += (
            f", {name} AS MATERIALIZED (SELECT * FROM ({part}) w WHERE {gate} AND {read} < {limit})"
        )
        rows += " UNION ALL SELECT * FROM " + name if rows else "SELECT * FROM " + name
        read += f" + (SELECT count(*) FROM {name})"
    return f"WITH {TODAY}{ctes} SELECT * FROM ({rows}) w ORDER BY {order_by(keys)} LIMIT {limit}"

"""A query for items as conditions whose values the planner can estimate."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, LiteralString
from uuid import UUID

import msgspec

from rytask.modules.projects.model import Category
from rytask.modules.projects.visibility import visible_to
from rytask.modules.work_items.filters import (
    OVERDUE,
    Filter,
    Resolved,
    Test,
    Today,
    Tree,
    parse_filter,
)
from rytask.modules.work_items.model import DUE_SOON_VIEW
from rytask.modules.work_items.queries.fragments import TODAY
from rytask.modules.work_items.schemas import ItemsQuery, Smart
from rytask.modules.work_items.sorting import Field
from rytask.platform.db import Where
from rytask.platform.work import Reading

_OPEN = Test("closedAt", "isNull", "w.closed_at IS NULL", ())
_SMART: Mapping[Smart, Sequence[Test]] = {
    "my-issues": [Test("assignee", "eq", "w.assignee_id = $2", ())],
    "my-work": [Test("assignee", "eq", "w.assignee_id = $2", ())],
    "due-soon": [
        _OPEN,
        Test(
            "dueDate",
            "between",
            "w.due_date BETWEEN {} AND {}",
            (Today(), Today(DUE_SOON_VIEW)),
        ),
    ],
    "overdue": [Test("overdue", "eq", OVERDUE, (Today(),))],
    "urgent": [_OPEN, Test("priority", "eq", "w.priority = 'URGENT'", ())],
}
# Dates that grow with the numbers, and now in their terms.
_DATED: Mapping[str, Callable[[datetime], Any]] = {
    "createdAt": lambda now: now,
    "updatedAt": lambda now: now,
    "startDate": datetime.date,
    "endDate": datetime.date,
}
# Fewer than these are found by their dates and sorted; the planner would read all items by number
# until it meets the first, as it does not know that numbers and dates grow together.
_NARROW = timedelta(days=32)


class Selection(msgspec.Struct, frozen=True):
    """The items that a query asks for.

    They are in one `project`; or `everywhere`, in all `projects` that the actor sees; or in the
    `organization`, which `where` restricts to those that the actor sees. `resolved` is what their
    filter stands for, None without any.
    """

    where: Where
    within: Literal["project", "projects", "organization"]
    filter: Filter | None = None
    resolved: Resolved | None = None
    narrow: bool = False

    def on(self, field: Field) -> LiteralString:
        """The conditions on one field that hold for every item."""
        if self.filter is None or self.resolved is None:
            return "true"
        return self.filter.required_sql(field.name_in_api, self.where, self.resolved)

    def ordered(self, order: LiteralString) -> LiteralString:
        """An order as it is to be written: an index on a sum there is not, so it is sorted."""
        return order.replace("w.number", "w.number + 0") if self.narrow else order


async def select(ctx: Reading, query: ItemsQuery, *, counted: bool = False) -> Selection:
    """Turn a query into conditions. What is `counted` is within a project or the organization."""
    where = Where(ctx.org_id, ctx.actor.user_id, ctx.now)
    where.add("w.org_id = $1 AND w.deleted_at IS NULL")
    if query.project_id is not None:
        project = where.param(query.project_id)
        where.add(
            f"w.project_id = {project} AND EXISTS (SELECT FROM projects p WHERE p.org_id = $1"
            f" AND p.id = {project} AND {visible_to(ctx.actor)})"
        )
    filter = _filter(ctx, query)
    plain = filter is None or (query.filter is None and query.smart == "urgent")
    if plain and not (counted and query.project_id is None):
        if filter is not None:
            where.add("w.closed_at IS NULL AND w.priority = 'URGENT'")
        return Selection(where, "project" if query.project_id is not None else "projects")
    names = await _names(ctx, query, filter)
    within: Literal["project", "organization"] = "project"
    if query.project_id is None:
        if names.inclusive and len(names.project_ids) == 1:
            where.add("w.project_id = {}", names.project_ids[0])
        else:
            within = "organization"
            if names.inclusive:
                where.add("w.project_id = ANY ({}::uuid[])", names.project_ids)
            elif names.project_ids:
                where.add("w.project_id <> ALL ({}::uuid[])", names.project_ids)
    if filter is None:
        return Selection(where, within)
    resolved = names.resolved(filter)
    where.add(filter.sql(where, resolved, "project" if query.project_id is None else None))
    return Selection(where, within, filter, resolved, _is_narrow(filter, resolved, ctx.now))


def _filter(ctx: Reading, query: ItemsQuery) -> Filter | None:
    tests: list[Test | Tree] = []
    if query.smart is not None:
        tests += _SMART[query.smart]
    if query.filter is not None:
        tests.append(parse_filter(query.filter, ctx.actor.user_id).root)
    return Filter(Tree("and", tests)) if tests else None


def _is_narrow(filter: Filter, resolved: Resolved, now: datetime) -> bool:
    if filter.required("closedAt") and filter.required("dueDate"):
        return True
    for field, until in _DATED.items():
        for test in filter.required(field):
            if test.operator in ("after", "between"):
                low, *high = (resolved.value(value) for value in test.values)
                if (high[0] if high else until(now)) - low < _NARROW:
                    return True
    return False


class _Names(msgspec.Struct, frozen=True):
    """Resolved names of a query. Projects: either those to look in, or to leave out.

    `midnights` are in the order of the question, `categories` those of `status_ids`.
    """

    today: date
    midnights: list[datetime]
    status_ids: list[UUID]
    categories: list[Category]
    inclusive: bool
    project_ids: list[UUID]

    def resolved(self, filter: Filter) -> Resolved:
        statuses: dict[Category, list[UUID]] = {category: [] for category in filter.categories}
        for id, category in zip(self.status_ids, self.categories, strict=True):
            statuses[category].append(id)
        midnights = dict(zip(filter.days, self.midnights, strict=True))
        return Resolved(self.today, midnights, statuses)


async def _names(ctx: Reading, query: ItemsQuery, filter: Filter | None) -> _Names:
    """Look up all names in one statement."""
    where = Where(ctx.org_id, ctx.actor.user_id, ctx.now)
    days = where.param([] if filter is None else filter.days)
    categories = where.param([] if filter is None else sorted(filter.categories))
    statuses: LiteralString = (
        "SELECT s.id, s.category FROM statuses s"
        f" WHERE s.org_id = $1 AND s.category = ANY ({categories}::text[])"
    )
    projects: LiteralString = "SELECT NULL::uuid AS id, true AS visible WHERE false"
    inclusive: LiteralString = "true"
    if query.project_id is not None:
        statuses += " AND s.project_id = " + where.param(query.project_id)
    else:
        named = _named_projects(filter, where)
        projects = (
            f"SELECT p.id, {visible_to(ctx.actor)} AS visible FROM projects p"
            f" WHERE p.org_id = $1{named}"
        )
        if not named:
            inclusive = "(SELECT 2 * count(*) FILTER (WHERE visible) < count(*) FROM found)"
    return await ctx.db.one(
        _Names,
        f"WITH {TODAY}, found AS MATERIALIZED ({projects}),"
        f" status AS MATERIALIZED ({statuses} ORDER BY s.id),"
        f" list AS MATERIALIZED (SELECT {inclusive} AS inclusive)"
        " SELECT today.day AS today,"
        "  ARRAY(SELECT d.day::timestamp AT TIME ZONE today.zone"
        f"   FROM unnest({days}::date[]) WITH ORDINALITY AS d (day, n) ORDER BY n) AS midnights,"
        "  ARRAY(SELECT id FROM status) AS status_ids,"
        "  ARRAY(SELECT category FROM status) AS categories, list.inclusive,"
        "  ARRAY(SELECT id FROM found WHERE visible = list.inclusive) AS project_ids"
        "  FROM today, list",
        *where.args,
    )


def _named_projects(filter: Filter | None, where: Where) -> LiteralString:
    """The projects that a filter names, by themselves or by their statuses."""
    named: LiteralString = ""
    if filter is None:
        return named
    for test in filter.required("project"):
        named += f" AND p.id = ANY ({where.param(_ids(test))}::uuid[])"
    for test in filter.required("status"):
        if test.operator in ("eq", "in"):
            named += (
                " AND p.id IN (SELECT s.project_id FROM statuses s WHERE s.org_id = $1"
                f" AND s.id = ANY ({where.param(_ids(test))}::uuid[]))"
            )
    return named


def _ids(test: Test) -> list[Any]:
    [value] = test.values
    return value if isinstance(value, list) else [value]

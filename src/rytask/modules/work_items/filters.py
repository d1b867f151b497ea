"""Filters: a small tree of conditions in JSON, turned into SQL.

`{"op": "and", "conditions": [{"field": "assignee", "operator": "eq", "value": "me"}, …]}`. The
table below is the whole language: what each operator takes, and what it means. What stands for
other values (a day in somebody's zone, a category of statuses) is resolved before the statement
is built: the planner of PostgreSQL can estimate values, but not look-ups.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, LiteralString, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

from rytask.modules.projects.model import Category
from rytask.modules.work_items.capture import Priority
from rytask.modules.work_items.dates import FIRST_YEAR, LAST_YEAR
from rytask.platform.db import Where
from rytask.platform.errors import Malformed
from rytask.platform.ids import UserId

T = TypeVar("T")
MAX_DEPTH = 5
MAX_CONDITIONS = 50
MAX_VALUES = 300
_MAX_NESTING = 4 * MAX_DEPTH  # of JSON: a group is an array in an object
_MAX_PROBLEM = 200  # characters


class _Condition(msgspec.Struct, forbid_unknown_fields=True):
    field: str
    operator: str
    value: Any = True


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    op: Literal["and", "or"]
    conditions: Annotated[list[Any], Meta(min_length=1)]


class Midnight(msgspec.Struct, frozen=True):
    """The beginning of a day where whoever asks is."""

    day: date


class Today(msgspec.Struct, frozen=True):
    """The day where whoever asks is, or one so many days later."""

    plus: int = 0


class StatusesOf(msgspec.Struct, frozen=True):
    """The statuses of some categories."""

    categories: tuple[Category, ...]


class Resolved(msgspec.Struct, frozen=True):
    """The values of these."""

    today: date
    midnights: Mapping[date, datetime]
    statuses: Mapping[Category, Sequence[UUID]]

    def value(self, value: Any) -> Any:
        """A value as PostgreSQL takes it."""
        if isinstance(value, Midnight):
            return self.midnights[value.day]
        if isinstance(value, StatusesOf):
            return [id for category in value.categories for id in self.statuses[category]]
        if isinstance(value, Today):
            return self.today + timedelta(days=value.plus)
        return value


class Test(msgspec.Struct, frozen=True):
    """A condition on one field; its SQL has a `{}` for each of the values."""

    field: str
    operator: str
    sql: LiteralString
    values: tuple[Any, ...]


class Tree(msgspec.Struct, frozen=True):
    """Tests of which all must hold, or one."""

    joint: Literal["and", "or"]
    parts: Sequence["Test | Tree"]


class Filter:
    """A filter that makes sense."""

    def __init__(self, root: Test | Tree) -> None:
        self.root = root

    def sql(self, where: Where, resolved: Resolved, implied: str | None = None) -> LiteralString:
        """The condition that it states; its values become parameters of `where`.

        Required tests of the `implied` field are left out: the planner takes what is said twice
        for twice as rare.
        """
        left_out = [id(test) for test in self.required(implied)] if implied else []
        return _sql(self.root, where, resolved, left_out)

    @property
    def days(self) -> list[date]:
        """The days whose beginning has to be resolved."""
        return [value.day for value in self._values(Midnight)]

    @property
    def categories(self) -> set[Category]:
        """The categories whose statuses have to be resolved."""
        return {one for value in self._values(StatusesOf) for one in value.categories}

    def required(self, field: str) -> list[Test]:
        """Tests of a field that every item must pass."""
        return [test for test in _required(self.root) if test.field == field]

    def required_sql(self, field: str, where: Where, resolved: Resolved) -> LiteralString:
        """The same of those tests alone."""
        return " AND ".join(["true", *(_sql(it, where, resolved) for it in self.required(field))])

    def _values(self, kind: type[T]) -> Iterator[T]:
        for test in _tests(self.root):
            yield from (value for value in test.values if isinstance(value, kind))


def parse_filter(encoded: str, me: UserId | None) -> Filter:
    """A filter as it is sent. Raises Malformed with the path of what is wrong."""
    return Filter(_Parser(me).node(_decode(encoded), "filter", 1))


def _decode(encoded: str) -> object:
    """Base64 in either alphabet, padded or not; a `+` in a query string arrives as a space."""
    text = encoded.replace(" ", "+").replace("-", "+").replace("_", "/").rstrip("=")
    try:
        tree = msgspec.json.decode(b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        raise _refused("filter", "expected Base64 of a JSON object") from None
    # Level by level, before anything descends by recursion: JSON nests deeper than a stack allows.
    level: list[object] = [tree]
    for _ in range(_MAX_NESTING):
        level = [child for node in level for child in _children(node)]
        if not level:
            return tree
    raise _refused("filter", f"groups nest at most {MAX_DEPTH} deep")


def _children(node: object) -> Iterable[object]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


class _Parser:
    def __init__(self, me: UserId | None) -> None:
        self._me = me
        self._conditions = self._values = 0

    def node(self, node: object, path: str, depth: int) -> Test | Tree:
        if depth > MAX_DEPTH:
            raise _refused(path, f"groups nest at most {MAX_DEPTH} deep")
        if not isinstance(node, dict) or "op" not in node:
            return self._test(_converted(node, _Condition, path), path)
        group = _converted(node, _Group, path)
        return Tree(
            group.op,
            [
                self.node(child, f"{path}.conditions[{n}]", depth + 1)
                for n, child in enumerate(group.conditions)
            ],
        )

    def _test(self, condition: _Condition, path: str) -> Test:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise _refused(path, f"a filter has at most {MAX_CONDITIONS} conditions")
        operators = _FIELDS.get(condition.field)
        if operators is None:
            raise _refused(f"{path}.field", f"expected one of {', '.join(_FIELDS)}")
        if condition.operator not in operators:
            raise _refused(f"{path}.operator", f"expected one of {', '.join(operators)}")
        kind, sql = operators[condition.operator]
        path += ".value"
        raw = self._with_me(condition.value) if condition.field == "assignee" else condition.value
        value: Any = _converted(raw, kind, path)
        self._values += len(value) if isinstance(value, list) else 1
        if self._values > MAX_VALUES:
            raise _refused(path, f"a filter has at most {MAX_VALUES} values")
        parts: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
        for part in parts:
            if isinstance(part, date):
                _check_year(part, path)
        if kind in (_Instant, _Instants):
            parts = _instants(sql, parts, path)
            sql = sql.replace("{start}", "{}").replace("{end}", "{}")
        elif condition.field == "statusCategory":
            parts = (StatusesOf(tuple(value) if isinstance(value, list) else parts),)
        elif condition.field == "overdue":
            sql, parts = (OVERDUE if value else _NOT_OVERDUE), (Today(),)
        return Test(condition.field, condition.operator, sql, parts)

    def _with_me(self, value: object) -> object:
        if isinstance(value, list):
            return [self._with_me(one) for one in value]
        return str(self._me) if value == "me" else value


def _tests(node: Test | Tree) -> Iterator[Test]:
    if isinstance(node, Test):
        yield node
    else:
        for part in node.parts:
            yield from _tests(part)


def _required(node: Test | Tree) -> Iterator[Test]:
    if isinstance(node, Test):
        yield node
    elif node.joint == "and" or len(node.parts) == 1:
        for part in node.parts:
            yield from _required(part)


def _sql(
    node: Test | Tree, where: Where, resolved: Resolved, left_out: Sequence[int] = ()
) -> LiteralString:
    if id(node) in left_out:
        return "true"
    if isinstance(node, Tree):
        joint: LiteralString = " AND " if node.joint == "and" else " OR "
        parts: list[LiteralString] = [_sql(part, where, resolved, left_out) for part in node.parts]
        return "(" + joint.join(parts) + ")"
    sql = node.sql
    for value in node.values:
        sql = sql.replace("{}", where.param(resolved.value(value)), 1)
    return sql


def _instants(sql: str, parts: Sequence[str], path: str) -> tuple[datetime | Midnight, ...]:
    """The bounds that the SQL of an operator asks for: a start, an end, or both."""
    bounds: list[datetime | Midnight] = []
    if "{start}" in sql:
        bounds.append(_instant(parts[0], path, end=False))
    if "{end}" in sql:
        bounds.append(_instant(parts[-1], path, end=True))
    return tuple(bounds)


def _instant(text: str, path: str, *, end: bool) -> datetime | Midnight:
    """Read the start or the end of a point in time or a whole day; the end is exclusive."""
    if len(text) > len("2026-01-01"):
        at = _converted(text, Annotated[datetime, Meta(tz=True)], path)
        _check_year(at, path)
        return at + timedelta(microseconds=1) if end else at
    day = _converted(text, date, path)
    _check_year(day, path)
    return Midnight(day + timedelta(days=1) if end else day)


def _converted(value: object, kind: Any, path: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise _refused(path + where.rstrip("`"), what[:1].lower() + what[1:]) from None


def _check_year(day: date, path: str) -> None:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise _refused(path, f"expected a day from {FIRST_YEAR} to {LAST_YEAR}")


def _refused(path: str, what: str) -> Malformed:
    problem = f"{path}: {what}"[:_MAX_PROBLEM]
    return Malformed(
        f"The filter cannot be used: {problem}.", code="filter.malformed", problems=[problem]
    )


OVERDUE: LiteralString = "(w.closed_at IS NULL AND w.due_date < {})"
_NOT_OVERDUE: LiteralString = "(w.closed_at IS NOT NULL OR w.due_date IS NULL OR w.due_date >= {})"


_Instant = Annotated[str, Meta(max_length=40)]
_Instants = tuple[_Instant, _Instant]
_Id = Annotated[str, Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
_Ids = Annotated[list[_Id], Meta(min_length=1, max_length=200)]
_Priorities = Annotated[list[Priority], Meta(min_length=1, max_length=10)]
_Categories = Annotated[list[Category], Meta(min_length=1, max_length=10)]
_Words = Annotated[str, Meta(min_length=1, max_length=500)]
_Operators = dict[str, tuple[Any, LiteralString]]


def _day_operators(column: LiteralString) -> _Operators:
    return {
        "before": (date, column + " < {}"),
        "after": (date, column + " > {}"),
        "between": (tuple[date, date], column + " BETWEEN {} AND {}"),
        "isNull": (bool, "(" + column + " IS NULL) = {}"),
    }


def _instant_operators(column: LiteralString) -> _Operators:
    return {
        "before": (_Instant, column + " < {start}"),
        "after": (_Instant, column + " >= {end}"),
        "between": (_Instants, "(" + column + " >= {start} AND " + column + " < {end})"),
    }


_FIELDS: dict[str, _Operators] = {
    "status": {
        "eq": (_Id, "w.status_id = {}"),
        "neq": (_Id, "w.status_id <> {}"),
        "in": (_Ids, "w.status_id = ANY ({}::uuid[])"),
        "nin": (_Ids, "w.status_id <> ALL ({}::uuid[])"),
    },
    "statusCategory": {
        "eq": (Category, "w.status_id = ANY ({}::uuid[])"),
        "in": (_Categories, "w.status_id = ANY ({}::uuid[])"),
    },
    "priority": {
        "eq": (Priority, "w.priority = {}::text::priority"),
        "neq": (Priority, "w.priority <> {}::text::priority"),
        "in": (_Priorities, "w.priority = ANY ({}::text[]::priority[])"),
        "gt": (Priority, "w.priority > {}::text::priority"),
        "lt": (Priority, "w.priority < {}::text::priority"),
    },
    "assignee": {
        "eq": (_Id, "w.assignee_id = {}"),
        "neq": (_Id, "w.assignee_id IS DISTINCT FROM {}"),
        "in": (_Ids, "w.assignee_id = ANY ({}::uuid[])"),
        "isNull": (bool, "(w.assignee_id IS NULL) = {}"),
    },
    "label": {
        "in": (_Ids, "w.label_ids && {}::uuid[]"),
        "nin": (_Ids, "NOT w.label_ids && {}::uuid[]"),
        "isEmpty": (bool, "(w.label_ids = ARRAY[]::uuid[]) = {}"),
    },
    "project": {
        "eq": (_Id, "w.project_id = {}"),
        "in": (_Ids, "w.project_id = ANY ({}::uuid[])"),
    },
    "parent": {
        "eq": (_Id, "w.parent_id = {}"),
        "isNull": (bool, "(w.parent_id IS NULL) = {}"),
    },
    "dueDate": {"eq": (date, "w.due_date = {}"), **_day_operators("w.due_date")},
    "startDate": _day_operators("w.start_date"),
    "endDate": _day_operators("w.end_date"),
    "overdue": {"eq": (bool, OVERDUE)},
    "text": {"contains": (_Words, "w.search @@ websearch_to_tsquery('english', {})")},
    "createdAt": _instant_operators("w.created_at"),
    "updatedAt": _instant_operators("w.updated_at"),
}

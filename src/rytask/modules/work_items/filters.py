"""Filters: a small tree of conditions in JSON, turned into SQL.

`{"op": "and", "conditions": [{"field": "assignee", "operator": "eq", "value": "me"}, …]}`. The
table below is the whole language: what each operator takes, and what it means.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, LiteralString

import msgspec
from msgspec import Meta

from rytask.modules.projects.model import Category
from rytask.modules.work_items.capture import Priority
from rytask.modules.work_items.dates import FIRST_YEAR, LAST_YEAR
from rytask.platform.db import Where
from rytask.platform.errors import Malformed
from rytask.platform.ids import UserId

MAX_DEPTH = 5
MAX_CONDITIONS = 50
MAX_VALUES = 300
_MAX_NESTING = 4 * MAX_DEPTH  # of JSON: a group is an array in an object
_MAX_PROBLEM = 200  # characters

# A sub-select that stands for itself is run at most once, and not at all without a due date.
OVERDUE: LiteralString = (
    "CASE WHEN w.due_date IS NULL OR w.closed_at IS NOT NULL THEN false"
    " ELSE w.due_date < (SELECT day FROM today) END"
)
_ZONE: LiteralString = "(SELECT zone FROM today)"


class Condition(msgspec.Struct, forbid_unknown_fields=True):
    field: str
    operator: str
    value: Any = True


class Group(msgspec.Struct, forbid_unknown_fields=True):
    op: Literal["and", "or"]
    conditions: Annotated[list[Any], Meta(min_length=1)]


def compile_filter(encoded: str, where: Where, me: UserId | None) -> LiteralString:
    """The condition that a filter states; its values become parameters of `where`.

    The statement has the organization as `$1` and a CTE `today (day, zone)`. Raises Malformed with
    the path of what is wrong.
    """
    return _Compiler(where, me).node(_decode(encoded), "filter", 1)


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


class _Compiler:
    def __init__(self, where: Where, me: UserId | None) -> None:
        self._where, self._me = where, me
        self._conditions = self._values = 0

    def node(self, node: object, path: str, depth: int) -> LiteralString:
        if depth > MAX_DEPTH:
            raise _refused(path, f"groups nest at most {MAX_DEPTH} deep")
        if not isinstance(node, dict) or "op" not in node:
            return self._condition(_converted(node, Condition, path), path)
        group = _converted(node, Group, path)
        joint: LiteralString = " AND " if group.op == "and" else " OR "
        parts: list[LiteralString] = [
            self.node(child, f"{path}.conditions[{n}]", depth + 1)
            for n, child in enumerate(group.conditions)
        ]
        return "(" + joint.join(parts) + ")"

    def _condition(self, condition: Condition, path: str) -> LiteralString:
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
        if "{start}" in sql:
            sql = sql.replace("{start}", self._instant(parts[0], path, end=False))
        if "{end}" in sql:
            sql = sql.replace("{end}", self._instant(parts[-1], path, end=True))
        if kind in (_Instant, _Instants):
            return sql
        for part in parts:
            if isinstance(part, date):
                _in_range(part, path)
            sql = sql.replace("{}", self._where.param(part), 1)
        return sql

    def _with_me(self, value: object) -> object:
        if isinstance(value, list):
            return [self._with_me(one) for one in value]
        return str(self._me) if value == "me" else value

    def _instant(self, text: str, path: str, *, end: bool) -> LiteralString:
        """When a point in time or a whole day starts or has ended.

        A day is the one where whoever asks sits. The end is no part of it.
        """
        if len(text) > len("2026-01-01"):
            at = _converted(text, Annotated[datetime, Meta(tz=True)], path)
            _in_range(at, path)
            return self._where.param(at + timedelta(microseconds=1) if end else at)
        day = _converted(text, date, path)
        _in_range(day, path)
        midnight = self._where.param(day + timedelta(days=1) if end else day)
        return "(" + midnight + "::date::timestamp AT TIME ZONE " + _ZONE + ")"


def _converted(value: object, kind: Any, path: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise _refused(path + where.rstrip("`"), what[:1].lower() + what[1:]) from None


def _in_range(day: date, path: str) -> None:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise _refused(path, f"expected a day from {FIRST_YEAR} to {LAST_YEAR}")


def _refused(path: str, what: str) -> Malformed:
    problem = f"{path}: {what}"[:_MAX_PROBLEM]
    return Malformed(
        f"The filter cannot be used: {problem}.", code="filter.malformed", problems=[problem]
    )


_Instant = Annotated[str, Meta(max_length=40)]
_Instants = tuple[_Instant, _Instant]
_Id = Annotated[str, Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
_Ids = Annotated[list[_Id], Meta(min_length=1, max_length=200)]
_Priorities = Annotated[list[Priority], Meta(min_length=1, max_length=10)]
_Categories = Annotated[list[Category], Meta(min_length=1, max_length=10)]
_Words = Annotated[str, Meta(min_length=1, max_length=500)]
_Operators = dict[str, tuple[Any, LiteralString]]


def _days(column: LiteralString) -> _Operators:
    return {
        "before": (date, column + " < {}"),
        "after": (date, column + " > {}"),
        "between": (tuple[date, date], column + " BETWEEN {} AND {}"),
        "isNull": (bool, "(" + column + " IS NULL) = {}"),
    }


def _instants(column: LiteralString) -> _Operators:
    return {
        "before": (_Instant, column + " < {start}"),
        "after": (_Instant, column + " >= {end}"),
        "between": (_Instants, "(" + column + " >= {start} AND " + column + " < {end})"),
    }


_OF_CATEGORY: LiteralString = (
    "w.status_id IN (SELECT s.id FROM statuses s WHERE s.org_id = $1 AND s.category = "
)
_FIELDS: dict[str, _Operators] = {
    "status": {
        "eq": (_Id, "w.status_id = {}"),
        "neq": (_Id, "w.status_id <> {}"),
        "in": (_Ids, "w.status_id = ANY ({}::uuid[])"),
        "nin": (_Ids, "w.status_id <> ALL ({}::uuid[])"),
    },
    "statusCategory": {
        "eq": (Category, _OF_CATEGORY + "{})"),
        "in": (_Categories, _OF_CATEGORY + "ANY ({}::text[]))"),
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
        "isEmpty": (bool, "(cardinality(w.label_ids) = 0) = {}"),
    },
    "project": {
        "eq": (_Id, "w.project_id = {}"),
        "in": (_Ids, "w.project_id = ANY ({}::uuid[])"),
    },
    "parent": {
        "eq": (_Id, "w.parent_id = {}"),
        "isNull": (bool, "(w.parent_id IS NULL) = {}"),
    },
    "dueDate": {"eq": (date, "w.due_date = {}"), **_days("w.due_date")},
    "startDate": _days("w.start_date"),
    "endDate": _days("w.end_date"),
    "overdue": {"eq": (bool, "(" + OVERDUE + ") = {}")},
    "text": {"contains": (_Words, "w.search @@ websearch_to_tsquery('english', {})")},
    "createdAt": _instants("w.created_at"),
    "updatedAt": _instants("w.updated_at"),
}

"""Orders of a list, and the segments of an order that an index gives.

Ties go by number in the direction of the last key, then by id (items of different projects): within
a project an index on (key, number) is the whole order, in both directions.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec

from rytask.modules.work_items.capture import Priority
from rytask.modules.work_items.model import WorkItem
from rytask.platform import pages
from rytask.platform.db import Where
from rytask.platform.errors import Malformed


class Field(msgspec.Struct, frozen=True):
    """A column to sort by; `cast` makes a parameter of its type.

    `values` are all that the column can have, in order, where they are few.
    """

    name: str
    column: LiteralString
    kind: Any
    cast: LiteralString = ""
    nullable: bool = False
    values: tuple[LiteralString, ...] = ()

    @property
    def name_in_api(self) -> str:
        first, *others = self.name.split("_")
        return first + "".join(word.title() for word in others)


class Key(msgspec.Struct, frozen=True):
    field: Field
    descending: bool

    @property
    def sql(self) -> LiteralString:
        return self.not_null + " NULLS LAST" if self.field.nullable else self.not_null

    @property
    def not_null(self) -> LiteralString:
        """The same where the column has a value: an index may then be read backwards."""
        return self.field.column + " DESC" if self.descending else self.field.column

    @property
    def values(self) -> Sequence[LiteralString]:
        """All values of the field, in the order of the key."""
        return self.field.values[::-1] if self.descending else self.field.values

    @property
    def beyond(self) -> LiteralString:
        return " < " if self.descending else " > "


class Segment(msgspec.Struct, frozen=True):
    """Part of a list that comes as a whole before the next part, sorted by the keys that are left.

    Its first key is never null.
    """

    condition: LiteralString
    keys: Sequence[Key]

    @property
    def order(self) -> LiteralString:
        """The order of the segment."""
        first, *others = self.keys
        return ", ".join([first.not_null, *(key.sql for key in others)])

    @property
    def order_in_project(self) -> LiteralString:
        """The same for the items of one project: no two have the same number."""
        fields = [key.field for key in self.keys]
        keys = self.keys[: fields.index(_NUMBER) + 1] if _NUMBER in fields else self.keys
        return Segment(self.condition, keys).order


_PRIORITIES: tuple[LiteralString, ...] = ("NONE", "LOW", "MEDIUM", "HIGH", "URGENT")
_NUMBER = Field("number", "w.number", int)
_ID = Field("id", "w.id", UUID)
_FIELDS = (
    _NUMBER,
    Field("priority", "w.priority", Priority, "::text::priority", values=_PRIORITIES),
    Field("due_date", "w.due_date", date | None, nullable=True),
    Field("start_date", "w.start_date", date | None, nullable=True),
    Field("end_date", "w.end_date", date | None, nullable=True),
    Field("created_at", "w.created_at", datetime),
    Field("updated_at", "w.updated_at", datetime),
)
_BY_NAME = {field.name.replace("_", ""): field for field in _FIELDS}


def parse(sort: str | None) -> list[Key]:
    """The keys of `-priority,dueDate` and of its ties; snake case will do too."""
    keys: list[Key] = []
    for part in ("number" if sort is None else sort).split(","):
        name = part.strip().removeprefix("-")
        field = _BY_NAME.get(name.replace("_", "").lower())
        if field is None or any(key.field is field for key in keys):
            raise Malformed(
                "Sort by number, priority, dueDate, startDate, endDate, createdAt or updatedAt,"
                " each once; put - before it for the other direction.",
                code="sort.malformed",
                problems=[f"sort: {name[:50]!r} is not one of the fields, or comes twice"],
            )
        keys.append(Key(field, part.strip().startswith("-")))
    ties = [_ID] if any(key.field is _NUMBER for key in keys) else [_NUMBER, _ID]
    return keys + [Key(field, keys[-1].descending) for field in ties]


def order_by(keys: Sequence[Key]) -> LiteralString:
    """The whole order."""
    return ", ".join([key.sql for key in keys])


def cursor(keys: Sequence[Key], item: WorkItem) -> str:
    """Return the cursor after this last item."""
    return pages.encode(_written(keys), *(getattr(item, key.field.name) for key in keys))


def segments(keys: Sequence[Key], cursor: str | None, where: Where) -> list[Segment]:
    """Divide a list, or what is left of it behind a cursor, into segments that an index can give.

    A page deep in a list then costs as much as the first one: an OR over all keys would be tested
    on every row before it. Raises Malformed for a cursor of another order.
    """
    if cursor is None:
        return _divided("true", keys)
    kinds: Any = tuple[(str, *(key.field.kind for key in keys))]  # type: ignore[misc]
    written, *values = pages.decode(cursor, kinds)
    if written != _written(keys):
        raise pages.bad_cursor()
    levels: list[list[Segment]] = []
    same: LiteralString = "true"
    for n, (key, value) in enumerate(zip(keys, values, strict=True)):
        rest, column = keys[n:], key.field.column
        if value is None:
            same += " AND " + column + " IS NULL"
        elif [k.field for k in rest] == [_NUMBER, _ID]:
            given = where.param(value) + ", " + where.param(values[-1])
            behind = same + " AND (w.number, w.id)" + key.beyond + "(" + given + ")"
            levels.append([Segment(behind, rest)])
            break
        elif key.field.values and _scattered(rest):
            values_left = key.values
            place = values_left.index(value)
            levels.append(_by_value(same, rest, values_left[place + 1 :]))
            same += " AND " + column + " = '" + values_left[place] + "'"
        else:
            given = where.param(value) + key.field.cast
            levels.append([Segment(same + " AND " + column + key.beyond + given, rest)])
            if key.field.nullable:
                levels[-1] += _divided(same + " AND " + column + " IS NULL", rest[1:])
            same += " AND " + column + " = " + given
    return [segment for level in reversed(levels) for segment in level]


def _divided(condition: LiteralString, keys: Sequence[Key]) -> list[Segment]:
    first, rest = keys[0], keys[1:]
    column = first.field.column
    if first.field.nullable:
        some = Segment(condition + " AND " + column + " IS NOT NULL", keys)
        return [some, *_divided(condition + " AND " + column + " IS NULL", rest)]
    if first.field.values and _scattered(keys):
        return _by_value(condition, keys, first.values)
    return [Segment(condition, keys)]


def _by_value(
    condition: LiteralString, keys: Sequence[Key], values: Sequence[LiteralString]
) -> list[Segment]:
    column = keys[0].field.column
    return [
        segment
        for value in values
        for segment in _divided(condition + " AND " + column + " = '" + value + "'", keys[1:])
    ]


def _scattered(keys: Sequence[Key]) -> bool:
    """Whether an index on the first key and the number does not have the order of these keys."""
    return keys[1].field is not _NUMBER or keys[1].descending != keys[0].descending


def _written(keys: Sequence[Key]) -> str:
    return ",".join(("-" if key.descending else "") + key.field.name for key in keys)

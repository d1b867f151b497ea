"""Orders of a list, and the place in one where a page begins."""

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
    """A column to sort by; `cast` makes a parameter of its type."""

    name: str
    column: LiteralString
    kind: Any
    cast: LiteralString = ""
    nullable: bool = False


class Key(msgspec.Struct, frozen=True):
    field: Field
    descending: bool

    @property
    def sql(self) -> LiteralString:
        direction: LiteralString = " DESC" if self.descending else ""
        # Nulls are said to be last only where there can be some: an index may then give the order.
        nulls: LiteralString = " NULLS LAST" if self.field.nullable else ""
        return self.field.column + direction + nulls


_FIELDS = {
    field.name.lower(): field
    for field in (
        Field("number", "w.number", int),
        Field("priority", "w.priority", Priority, "::text::priority"),
        Field("due_date", "w.due_date", date | None, nullable=True),
        Field("start_date", "w.start_date", date | None, nullable=True),
        Field("end_date", "w.end_date", date | None, nullable=True),
        Field("created_at", "w.created_at", datetime),
        Field("updated_at", "w.updated_at", datetime),
    )
}
_BY_NAME = {name.replace("_", ""): field for name, field in _FIELDS.items()}


def parse(sort: str | None) -> list[Key]:
    """The keys of `-priority,dueDate`; snake case will do too. Without any: by number."""
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
    return keys


def order_by(keys: Sequence[Key]) -> LiteralString:
    """The whole order: ties go by id."""
    return ", ".join([key.sql for key in keys]) + ", w.id"


def cursor(keys: Sequence[Key], item: WorkItem) -> str:
    """Where a page ends whose last item is this one."""
    return pages.encode(_written(keys), [getattr(item, key.field.name) for key in keys], item.id)


def after(cursor: str, keys: Sequence[Key], where: Where) -> None:
    """Go on behind a cursor of the same order. Raises Malformed for any other."""
    kinds: Any = tuple[tuple(key.field.kind for key in keys)]  # type: ignore[misc]
    written, values, last_id = pages.decode(cursor, tuple[str, kinds, UUID])
    if written != _written(keys):
        raise pages.bad_cursor()
    same: LiteralString = ""
    ways: list[LiteralString] = []
    for key, value in zip(keys, values, strict=True):
        column = key.field.column
        if value is None:
            same += column + " IS NULL AND "
            continue
        given = where.param(value) + key.field.cast
        beyond = column + (" < " if key.descending else " > ") + given
        if key.field.nullable:
            beyond = "(" + beyond + " OR " + column + " IS NULL)"
        elif key is keys[0]:
            # Implied by the rest, but an index can start here.
            where.add(column + (" <= " if key.descending else " >= ") + given)
        ways.append(same + beyond)
        same += column + " = " + given + " AND "
    ways.append(same + "w.id > " + where.param(last_id))
    where.add("(" + " OR ".join(ways) + ")")


def _written(keys: Sequence[Key]) -> str:
    return ",".join(("-" if key.descending else "") + key.field.name for key in keys)

"""Decisions about items that stand in an order and hang under one another."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from rytask.modules.projects.model import CLOSED, Category
from rytask.modules.work_items.events import (
    ItemCompleted,
    ItemReopened,
    ItemStatusChanged,
    StatusFact,
)

STEP = 1024.0
REACH = 8
MAX_DEPTH = 10

# Re-spread items must stand apart by this much per item: the more are moved, the more room they
# get, so that a place everybody inserts at does not have to be re-spread by ever more items.
_ROOM = STEP / 2**16


def position_between(before: float | None, after: float | None) -> float | None:
    """A position between two neighbours, None standing for the end of the column.

    None if no number fits in between: then `spread_positions` anew around there. Positions are IEEE
    doubles, the same in SQL (`double precision`), JSON and JavaScript.
    """
    if before is None:
        return 0.0 if after is None else after - STEP
    if after is None:
        return before + STEP
    middle = before + (after - before) / 2
    return middle if before < middle < after else None


def spread_positions(low: float | None, high: float | None, count: int) -> list[float] | None:
    """Evenly spaced positions for `count` items between two that stay, None being a column's end.

    None if it would be too crowded. Take the `REACH` items before and after the full place, and
    twice as many each time that is not enough: with the whole column there is always room. The
    work depends on how often that one place was used, never on the column's length.
    """
    if low is not None and high is not None:
        gap = (high - low) / (count + 1)
        if gap < count * _ROOM:
            return None
        return [low + gap * nth for nth in range(1, count + 1)]
    if high is not None:
        return [high - STEP * nth for nth in range(count, 0, -1)]
    start = 0.0 if low is None else low + STEP
    return [start + STEP * nth for nth in range(count)]


def parent_refused(
    item: UUID, parent: UUID, ancestors: Collection[UUID], height: int = 1
) -> Literal["cycle", "too_deep"] | None:
    """Return why `parent` is refused for `item`, or None.

    `ancestors` are the parent's own, `height` counts the levels of the item with its sub-tasks:
    1 without any. A tree has at most MAX_DEPTH levels.
    """
    if item == parent or item in ancestors:
        return "cycle"
    if len(ancestors) + 1 + height > MAX_DEPTH:
        return "too_deep"
    return None


def closing_times(
    category: Category, completed_at: datetime | None, closed_at: datetime | None, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the completion and closing times of an item that enters such a status.

    What is done already keeps its time.
    """
    completed, closed = closed_as(category)
    return (completed_at or now) if completed else None, (closed_at or now) if closed else None


def closed_as(category: Category) -> tuple[bool, bool]:
    """Whether items in such a status are completed, and whether they are closed."""
    return category == "COMPLETED", category in CLOSED


def is_overdue(due: date | None, closed_at: datetime | None, today: date | None) -> bool:
    """Whether an open item's day has passed."""
    return due is not None and closed_at is None and today is not None and due < today


def status_fact(
    category: Category, completed_at: datetime | None, closed_at: datetime | None
) -> type[StatusFact]:
    """The fact to record of an item that comes into such a status; the times are those before."""
    completed, closed = closed_as(category)
    if completed and completed_at is None:
        return ItemCompleted
    if not closed and closed_at is not None:
        return ItemReopened
    return ItemStatusChanged

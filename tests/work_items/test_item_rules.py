import json
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rytask.modules.work_items.rules import (
    MAX_DEPTH,
    REACH,
    parent_refused,
    position_between,
    spread_positions,
)

# A busy machine is no defect of the rules.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ITEM, PARENT, STRANGER = UUID(int=1), UUID(int=2), UUID(int=3)


class Column:
    """A column whose items know their right order, whatever their positions say."""

    def __init__(self, length: int) -> None:
        self.items = list(range(length))
        self.positions = spread_positions(None, None, length) or []
        self.moved = 0
        self.widest = 0

    def put(self, item: int, at: int) -> None:
        position = position_between(self._position(at - 1), self._position(at))
        if position is None:
            self._insert_spread(at)
        else:
            self.positions.insert(at, position)
        self.items.insert(at, item)

    def move(self, source: int, to: int) -> None:
        item = self.items.pop(source)
        self.positions.pop(source)
        self.put(item, to)

    def shown(self) -> list[int]:
        """What a browser shows, which got the positions as JSON."""
        sent = json.loads(json.dumps(self.positions))
        assert len(set(sent)) == len(sent)
        return [item for _, item in sorted(zip(sent, self.items, strict=True))]

    def _insert_spread(self, at: int) -> None:
        reach, positions = REACH, None
        first = last = at
        while positions is None:
            first, last = max(0, at - reach), min(len(self.positions), at + reach)
            positions = spread_positions(
                self._position(first - 1), self._position(last), last - first + 1
            )
            reach *= 2
        self.positions[first:last] = positions
        self.moved += last - first
        self.widest = max(self.widest, last - first)

    def _position(self, at: int) -> float | None:
        return self.positions[at] if 0 <= at < len(self.positions) else None


def test_the_first_item_of_a_column_has_a_position() -> None:
    assert position_between(None, None) == 0.0


@patiently
@given(st.floats(-1e12, 1e12))
def test_there_is_always_room_at_the_ends_of_a_column(position: float) -> None:
    below, above = position_between(None, position), position_between(position, None)
    assert below is not None
    assert above is not None
    assert below < position < above


@patiently
@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_a_position_lies_between_its_neighbours_or_there_is_none(one: float, other: float) -> None:
    low, high = sorted((one, other))
    middle = position_between(low, high)
    assert middle is None or low < middle < high


def test_two_items_that_came_to_share_a_position_leave_no_room_between_them() -> None:
    assert position_between(5.0, 5.0) is None


@patiently
@given(
    st.none() | st.floats(-1e12, 1e12),
    st.none() | st.floats(-1e12, 1e12),
    st.integers(0, 200),
)
def test_spread_items_keep_their_order_and_stay_between_those_that_do_not_move(
    low: float | None, high: float | None, count: int
) -> None:
    if low is not None and high is not None:
        low, high = sorted((low, high))
    positions = spread_positions(low, high, count)
    if positions is None:
        assert low is not None
        assert high is not None
        return
    assert len(positions) == count
    line = [low, *positions, high]
    known = [position for position in line if position is not None]
    assert all(left < right for left, right in pairwise(known)) or not count


@patiently
@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=2000))
def test_any_moves_leave_the_column_in_the_order_people_gave_it(
    moves: list[tuple[int, int]],
) -> None:
    column = Column(30)
    for source, to in moves:
        column.move(source, to)
    assert column.shown() == column.items


@pytest.mark.parametrize(
    "place",
    [
        lambda turn, length: 5_000,
        lambda turn, length: 5_000 + turn // 2,
        lambda turn, length: 1,
        lambda turn, length: length - 1,
    ],
    ids=["after one item", "on both sides of the last", "near the top", "near the bottom"],
)
def test_five_thousand_items_put_at_one_place_stay_in_order_and_move_few_others(place) -> None:
    column = Column(10_000)
    for turn in range(5_000):
        column.put(10_000 + turn, place(turn, len(column.items)))
    assert column.shown() == column.items
    assert column.moved < 10 * 5_000


def test_how_many_others_move_does_not_depend_on_the_length_of_the_column() -> None:
    moved = set()
    for length in (1_000, 100_000):
        column = Column(length)
        for turn in range(1_000):
            column.put(length + turn, 500)
        moved.add((column.moved, column.widest))
    assert len(moved) == 1
    assert moved.pop()[1] <= 64


@pytest.mark.parametrize(
    ("item", "parent", "ancestors", "height", "refused"),
    [
        (ITEM, PARENT, [], 1, None),
        (ITEM, PARENT, [STRANGER], 1, None),
        (ITEM, ITEM, [], 1, "cycle"),
        (ITEM, PARENT, [ITEM], 1, "cycle"),
        (ITEM, PARENT, [STRANGER, ITEM], 3, "cycle"),
        (ITEM, PARENT, [], MAX_DEPTH - 1, None),
        (ITEM, PARENT, [], MAX_DEPTH, "too_deep"),
        (ITEM, PARENT, [UUID(int=n) for n in range(10, 8 + MAX_DEPTH)], 1, None),
        (ITEM, PARENT, [UUID(int=n) for n in range(10, 9 + MAX_DEPTH)], 1, "too_deep"),
        (ITEM, PARENT, [UUID(int=n) for n in range(10, 8 + MAX_DEPTH)], 2, "too_deep"),
    ],
)
def test_an_item_hangs_under_another_unless_that_makes_a_ring_or_a_tower(
    item: UUID, parent: UUID, ancestors: list[UUID], height: int, refused: str | None
) -> None:
    assert parent_refused(item, parent, ancestors, height) == refused

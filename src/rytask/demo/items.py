"""The demo's items: what a team has left behind over two years."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from msgspec.structs import replace

from rytask.demo.organization import ProjectReferences
from rytask.modules.projects.model import CLOSED, Category, Status
from rytask.modules.work_items.model import ImportedItem, Priority, Source
from rytask.platform.ids import ProjectId, UserId, new_id

T = TypeVar("T")
Weighted = Mapping[T, int]

_YEARS = timedelta(days=730)
_ACTS = ("Fix", "Describe", "Speed up", "Replace", "Test", "Review", "Clean up", "Move", "Undo")
_THINGS = (
    *("the sign-in page", "the nightly backup", "invoices without a date", "the umlaut search"),
    *("the import of old orders", "a flaky check of the cart", "the alert that nobody reads"),
    *("the guide for new colleagues", "slow pages on the phone", "the rounding of discounts"),
    *("the export for the tax office", "the map of the warehouse", "mail that arrives twice"),
    *("the price of a parcel", "an empty report", "the colours of the chart"),
)
_PLACES = ("in the shop", "for new customers", "on Mondays", "after the upgrade", "at night", "")
_SENTENCES: Sequence[str] = (
    "A customer told us this morning, and could show it twice.",
    "It worked before the last release.",
    "The log says nothing about it.",
    "We agreed on it in the weekly meeting.",
    "Whoever takes this: the old code is in the archive.",
    "See the drawing on the wall beside the kitchen.",
    "It takes eleven seconds where one would do.",
    "Nobody remembers why it was made this way.",
    "Please ask the warehouse before changing anything.",
    "The numbers of last quarter depend on it.",
    "There is a workaround: press reload and wait.",
    "It only happens when the clock is changed.",
    "The supplier promised an answer by next week.",
    "A first sketch is attached to the mail of Thursday.",
)
_ESTIMATES = (0.5, 1, 2, 3, 4, 8, 16)
_PRIORITIES: Weighted[Priority] = {"NONE": 30, "LOW": 20, "MEDIUM": 30, "HIGH": 15, "URGENT": 5}
_SOURCES: Weighted[Source] = {"WEB": 65, "SLACK": 15, "API": 10, "MCP": 10}
_OPEN: Weighted[Category] = {"BACKLOG": 45, "UNSTARTED": 30, "STARTED": 25}
_CLOSED: Weighted[Category] = {"COMPLETED": 88, "CANCELLED": 12}
_LABELS_EACH = {0: 30, 1: 40, 2: 20, 3: 10}


@dataclass(frozen=True)
class Batch:
    """Items to add to a project that has some already, and a target."""

    project_id: ProjectId
    there: int
    added: int
    target: int


def imported(project: ProjectReferences, now: datetime, batch: Batch) -> list[ImportedItem]:
    """The next items of a project: its first ones are two years old, its last ones of today."""
    dice = random.Random(f"{project.id} {batch.there}")  # noqa: S311 - a demo needs no secrets
    statuses = _Statuses(project.statuses)
    batch_items: list[ImportedItem] = []
    parents: list[UUID] = []
    for number in range(batch.there, batch.there + batch.added):
        progress = (number + dice.random()) / batch.target
        one = _item(dice, project, statuses, now, progress)
        if parents and dice.random() < 0.12:
            one = replace(one, parent_id=dice.choice(parents[-20:]))
        else:
            parents.append(one.id)
        batch_items.append(one)
    return batch_items


class _Statuses:
    """The statuses of a project, as they are, by what they mean."""

    def __init__(self, statuses: Sequence[Status]) -> None:
        self._by_category: dict[Category, list[UUID]] = {}
        for status in statuses:
            self._by_category.setdefault(status.category, []).append(status.id)
        self.first = next((s.id for s in statuses if s.category == "UNSTARTED"), statuses[0].id)

    def choose(self, dice: random.Random, *, closed: bool) -> tuple[UUID, bool]:
        """An open or a closed one, if the project has any such; and whether it is closed."""
        wanted, other = (_CLOSED, _OPEN) if closed else (_OPEN, _CLOSED)
        weights: Weighted[Category] = {it: wanted[it] for it in wanted if it in self._by_category}
        if not weights:
            weights = {it: other[it] for it in other if it in self._by_category}
        category = _weighted(dice, weights)
        return dice.choice(self._by_category[category]), category in CLOSED


def _item(
    dice: random.Random,
    project: ProjectReferences,
    statuses: _Statuses,
    now: datetime,
    progress: float,
) -> ImportedItem:
    """An item of some time in the last two years; the more recent, the more likely it is open."""
    created_at = now - _YEARS * (1 - progress)
    likely = 0.85 if progress < 0.6 else 0.85 - (progress - 0.6) * 1.9
    status_id, closed = statuses.choose(dice, closed=dice.random() < likely)
    created_in = status_id if dice.random() < 0.1 else statuses.first
    moved_at = created_at
    if created_in != status_id:
        moved_at = min(created_at + timedelta(days=dice.expovariate(1 / 12)), now)
    start = _after(dice, created_at, 0, 5) if dice.random() < 0.25 else None
    due = None
    if dice.random() < 0.4:
        due = _after(dice, created_at, 1, 40) if closed else _after(dice, now, -5, 180)
    return ImportedItem(
        id=new_id(),
        title=f"{dice.choice(_ACTS)} {dice.choice(_THINGS)} {dice.choice(_PLACES)}".rstrip(),
        description=_description(dice) if dice.random() < 0.6 else None,
        created_in=created_in,
        created_at=created_at,
        status_id=status_id,
        moved_at=moved_at,
        priority=_weighted(dice, _PRIORITIES),
        source=_weighted(dice, _SOURCES),
        assignee_id=_one_of(dice, project.assignable_ids, 0.75),
        reporter_id=_one_of(dice, project.member_ids, 1),
        label_ids=_labels(dice, project.label_ids),
        estimate_value=dice.choice(_ESTIMATES) if dice.random() < 0.5 else None,
        start_date=start,
        end_date=start and start + timedelta(days=dice.randint(1, 20)),
        due_date=due,
    )


def _after(dice: random.Random, at: datetime, least: int, most: int) -> date:
    return at.date() + timedelta(days=dice.randint(least, most))


def _description(dice: random.Random) -> str:
    sentences = dice.sample(_SENTENCES, dice.randint(1, 4))
    if dice.random() < 0.3:
        sentences.append(f"The order is {dice.randint(10_000, 999_999)}.")
    return " ".join(sentences)


def _labels(dice: random.Random, ids: Sequence[UUID]) -> list[UUID]:
    """Up to three, the first ones of the list far more often than the last."""
    chosen = {
        ids[int(len(ids) * dice.random() ** 3)]
        for _ in range(_weighted(dice, _LABELS_EACH) if ids else 0)
    }
    return list(chosen)


def _one_of(dice: random.Random, ids: Sequence[UserId], share: float) -> UserId | None:
    return dice.choice(ids) if ids and dice.random() < share else None


def _weighted(dice: random.Random, weights: Weighted[T]) -> T:
    return dice.choices(list(weights), list(weights.values()))[0]

"""Facts about work items: one for each kind of change.

Every fact carries the item's key and title as they are then, so that notifying needs nothing else.
"""

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from rytask.modules.projects.model import Category
from rytask.modules.work_items.model import OperationKind
from rytask.platform.events import Audience, Fact
from rytask.platform.ids import UserId


class ItemFact(Fact, frozen=True, kw_only=True):
    """The subject is the item."""

    audience: ClassVar[Audience] = "project"
    key: str
    title: str


class Change(msgspec.Struct, frozen=True):
    """The values of a field before and after. Of a long text only an `excerpt` is kept."""

    field: str
    old: Any
    new: Any


MAX_EXCERPT = 2000


def excerpt(value: Any) -> Any:
    """A value as a fact keeps it: of a long text the beginning, and how many characters follow.

    An edit of a long text would else be written down twice as a whole, and read so by everybody
    who reads the item's activity.
    """
    if not isinstance(value, str) or len(value) <= MAX_EXCERPT:
        return value
    kept = value[: MAX_EXCERPT - 40]
    return f"{kept}… ({len(value) - len(kept):,} more characters)"


class ItemCreated(ItemFact, frozen=True, kw_only=True):
    """Comes before ItemAssigned, if the new item has an assignee."""

    kind: ClassVar[str] = "item.created"
    status_id: UUID
    reporter_id: UserId | None
    parent_id: UUID | None


class ItemChanged(ItemFact, frozen=True, kw_only=True):
    """Fields other than status, assignee, labels and place, by their public names."""

    kind: ClassVar[str] = "item.changed"
    changes: list[Change]


class ItemAssigned(ItemFact, frozen=True, kw_only=True):
    """Somebody got the item, when it was made or later; None: nobody has it now."""

    kind: ClassVar[str] = "item.assigned"
    from_id: UserId | None
    to_id: UserId | None


class StatusFact(ItemFact, frozen=True, kw_only=True):
    """An item came into another status, or its status into another category.

    In the second case both ids are the same, and the categories are named. `from_id` is None for an
    item that was created so. `operation_id` is the bulk operation that it was part of.
    """

    from_id: UUID | None
    to_id: UUID
    to_name: str
    from_category: Category | None = None
    to_category: Category | None = None
    operation_id: UUID | None = None


class ItemStatusChanged(StatusFact, frozen=True, kw_only=True):
    """Neither completed nor reopened by it."""

    kind: ClassVar[str] = "item.status_changed"


class ItemCompleted(StatusFact, frozen=True, kw_only=True):
    """Recorded in place of ItemStatusChanged, however the item was completed."""

    kind: ClassVar[str] = "item.completed"


class ItemReopened(StatusFact, frozen=True, kw_only=True):
    """Recorded in place of ItemStatusChanged, for an item that was completed or cancelled."""

    kind: ClassVar[str] = "item.reopened"


class ItemMoved(ItemFact, frozen=True, kw_only=True):
    """To another place within its status."""

    kind: ClassVar[str] = "item.moved"
    from_position: float
    to_position: float


class PositionsChanged(Fact, frozen=True, kw_only=True):
    """Items of a status moved apart to make room between them. The subject is the project."""

    kind: ClassVar[str] = "project.positions_changed"
    audience: ClassVar[Audience] = "project"
    status_id: UUID
    item_ids: list[UUID]
    positions: list[float]


class ItemLabelled(ItemFact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "item.labelled"
    added: list[UUID]
    removed: list[UUID]


class BulkOperationFinished(Fact, frozen=True, kw_only=True):
    """A bulk operation has changed its last item. The subject is the operation.

    Its facts about items have a `seq` above `first_seq`.
    """

    kind: ClassVar[str] = "bulk_operation.finished"
    audience: ClassVar[Audience] = "project"
    operation: OperationKind
    changed: int
    first_seq: int


class ItemTrashed(ItemFact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "item.trashed"


class ItemRestored(ItemFact, frozen=True, kw_only=True):
    kind: ClassVar[str] = "item.restored"


class ItemErased(ItemFact, frozen=True, kw_only=True):
    """Was in the trash for too long: the item is gone for good, its facts stay."""

    kind: ClassVar[str] = "item.erased"


class SubtaskAdded(ItemFact, frozen=True, kw_only=True):
    """The subject is the parent; `key` and `title` are the sub-task's."""

    kind: ClassVar[str] = "item.subtask_added"
    subtask_id: UUID

"""A new item, its first watchers and its facts, whichever way it comes in."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from rytask.modules.work_items import rules
from rytask.modules.work_items.events import (
    ItemAssigned,
    ItemCompleted,
    ItemCreated,
    ItemFact,
    SubtaskAdded,
)
from rytask.modules.work_items.model import (
    ItemReferences,
    ItemStatus,
    Source,
    WantedReferences,
    WatchReason,
    WorkItem,
)
from rytask.modules.work_items.queries.writing import ItemSlot
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.ids import UserId


def build_item(
    new: NewItem,
    wanted: WantedReferences,
    references: ItemReferences,
    status: ItemStatus,
    slot: ItemSlot,
    *,
    title: str,
    source: Source,
    now: datetime,
) -> tuple[WorkItem, datetime | None]:
    """Build an item from what was checked; the item, and when it was closed."""
    completed_at, closed_at = rules.closing_times(status.category, None, None, now)
    item = WorkItem(
        id=wanted.item_id,
        key=f"{references.key_prefix}-{slot.number}",
        number=slot.number,
        project_id=wanted.project_id,
        title=title,
        description=new.description,
        status_id=status.id,
        priority=new.priority or "NONE",
        source=source,
        assignee_id=wanted.assignee_id,
        reporter_id=wanted.reporter_id,
        parent_id=wanted.parent_id,
        estimate_value=new.estimate_value,
        start_date=new.start_date,
        end_date=new.end_date,
        due_date=new.due_date,
        overdue=rules.is_overdue(new.due_date, closed_at, references.today),
        position=slot.position,
        version=1,
        completed_at=completed_at,
        created_at=now,
        updated_at=now,
        label_ids=wanted.label_ids,
        child_count=0,
    )
    return item, closed_at


def watching(item: WorkItem) -> list[tuple[UserId, WatchReason]]:
    """The first watchers: whoever reported the item, and whoever got it."""
    reasons: dict[UserId, WatchReason] = {}
    if item.assignee_id is not None:
        reasons[item.assignee_id] = "ASSIGNEE"
    if item.reporter_id is not None:
        reasons[item.reporter_id] = "AUTHOR"
    return list(reasons.items())


def facts(item: WorkItem, status_name: str) -> Iterator[ItemFact]:
    """The facts of its creation, in their order; it may be completed from the start."""
    fields = fact_fields(item)
    yield ItemCreated(
        **fields,
        status_id=item.status_id,
        reporter_id=item.reporter_id,
        parent_id=item.parent_id,
    )
    if item.completed_at is not None:
        yield ItemCompleted(**fields, from_id=None, to_id=item.status_id, to_name=status_name)
    if item.assignee_id is not None:
        yield ItemAssigned(**fields, from_id=None, to_id=item.assignee_id)
    if item.parent_id is not None:
        yield subtask_added(item, item.parent_id)


def subtask_added(item: WorkItem, parent_id: UUID) -> SubtaskAdded:
    """The fact of a parent that an item is below it now."""
    return SubtaskAdded(
        subject_id=parent_id,
        project_id=item.project_id,
        key=item.key,
        title=item.title,
        subtask_id=item.id,
    )


def fact_fields(item: WorkItem) -> dict[str, Any]:
    """The fields that every fact about an item has."""
    return {
        "subject_id": item.id,
        "project_id": item.project_id,
        "key": item.key,
        "title": item.title,
    }

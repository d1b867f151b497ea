"""The first watchers and facts of a new item, whichever way it comes in."""

from collections.abc import Iterator

from rytask.modules.work_items.events import (
    ItemAssigned,
    ItemCompleted,
    ItemCreated,
    ItemFact,
    SubtaskAdded,
)
from rytask.modules.work_items.model import WatchReason, WorkItem
from rytask.platform.ids import UserId


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
    yield ItemCreated(
        subject_id=item.id,
        project_id=item.project_id,
        key=item.key,
        title=item.title,
        status_id=item.status_id,
        reporter_id=item.reporter_id,
        parent_id=item.parent_id,
    )
    if item.completed_at is not None:
        yield ItemCompleted(
            subject_id=item.id,
            project_id=item.project_id,
            key=item.key,
            title=item.title,
            from_id=None,
            to_id=item.status_id,
            to_name=status_name,
        )
    if item.assignee_id is not None:
        yield ItemAssigned(
            subject_id=item.id,
            project_id=item.project_id,
            key=item.key,
            title=item.title,
            from_id=None,
            to_id=item.assignee_id,
        )
    if item.parent_id is not None:
        yield SubtaskAdded(
            subject_id=item.parent_id,
            project_id=item.project_id,
            key=item.key,
            title=item.title,
            subtask_id=item.id,
        )

"""A work item, and what is said about it."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from rytask.modules.projects.model import Category, ProjectRole
from rytask.modules.work_items.capture import Priority, Unresolved
from rytask.platform.http import PageInfo
from rytask.platform.ids import ProjectId, UserId

Source = Literal["WEB", "SLACK", "MCP", "API"]
DUE_SOON_NOTICE = 2
"""People are notified of what is due within so many days: often enough not to be ignored."""
DUE_SOON_VIEW = 7
"""The smart view shows what is due within so many days: a week to plan."""

WatchReason = Literal["ASSIGNEE", "AUTHOR", "MENTIONED", "MANUAL"]
Action = Literal[
    "CREATED",
    "UPDATED",
    "STATUS_CHANGED",
    "ASSIGNED",
    "MOVED",
    "DELETED",
    "RESTORED",
    "SUBTASK_ADDED",
    "LABEL_ADDED",
    "LABEL_REMOVED",
]


class WorkItem(msgspec.Struct, frozen=True, rename="camel"):
    """`estimateValue` is in hours. `overdue`: past due and open, by the reader's own calendar.

    `childCount` counts sub-tasks that are not in the trash.
    """

    id: UUID
    key: str
    number: int
    project_id: ProjectId
    title: str
    description: str | None
    status_id: UUID
    priority: Priority
    source: Source
    assignee_id: UserId | None
    reporter_id: UserId | None
    parent_id: UUID | None
    estimate_value: float | None
    start_date: date | None
    end_date: date | None
    due_date: date | None
    overdue: bool
    position: float
    version: int
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    label_ids: list[UUID]
    child_count: int


class LockedItem(WorkItem, frozen=True):
    """An item that is locked until we commit, and how whoever asks stands to its project."""

    closed_at: datetime | None
    workspace_id: UUID
    archived: bool
    role: ProjectRole | None
    today: date
    target_category: Category | None
    target_name: str | None


OperationKind = Literal[
    "STATUS_CATEGORY", "STATUS_DELETION", "LABEL_MERGE", "LABEL_DELETION", "PROJECT_DELETION"
]


class BulkOperation(msgspec.Struct, frozen=True, rename="camel"):
    """A change of many items that goes on in the background, and how far it is.

    The subject is the status, the label or the project; the target is where its items go. `total`
    is null until they were counted. `error` is the last failure; the operation is tried again.
    """

    id: UUID
    kind: OperationKind
    project_id: ProjectId | None
    subject_id: UUID
    target_id: UUID | None
    total: int | None
    done: int
    started_at: datetime
    finished_at: datetime | None
    error: str | None


class Group(msgspec.Struct, frozen=True):
    """A count of items by value; `key` is None for those without one."""

    key: str | None
    count: int


class ItemPage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A page of items; with `group`, also how many there are of each kind on all pages.

    Of what a filter or a smart view finds, up to 50,000 items are counted.
    """

    data: list[WorkItem]
    page_info: PageInfo
    groups: list[Group] | None = None


class Meta(msgspec.Struct, frozen=True):
    """The unresolved words of a captured line. They stayed in the title."""

    unresolved: tuple[Unresolved, ...] = ()


class Created(msgspec.Struct, frozen=True):
    """A new item."""

    data: WorkItem
    meta: Meta = Meta()


class ImportedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it was elsewhere: created in one status, and since `moved_at` in another one.

    One that was never moved says its only status and the time of its creation twice.
    """

    id: UUID
    title: str
    description: str | None = None
    created_in: UUID
    created_at: datetime
    status_id: UUID
    moved_at: datetime
    priority: Priority = "NONE"
    source: Source = "API"
    assignee_id: UserId | None = None
    reporter_id: UserId | None = None
    parent_id: UUID | None = None
    label_ids: list[UUID] = msgspec.field(default_factory=list)
    estimate_value: float | None = None
    start_date: date | None = None
    end_date: date | None = None
    due_date: date | None = None


class Activity(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that was done to an item."""

    id: UUID
    actor_id: UserId | None
    action: Action
    field: str | None
    old_value: Any
    new_value: Any
    created_at: datetime


class Watcher(msgspec.Struct, frozen=True, rename="camel"):
    """Somebody who is notified of an item, and why."""

    user_id: UserId
    name: str
    reason: WatchReason


class ItemLabel(msgspec.Struct, frozen=True, rename="camel"):
    label_id: UUID


class ItemStatus(msgspec.Struct, frozen=True):
    """A status that items can come into, locked until we commit."""

    id: UUID
    name: str
    category: Category


class WantedReferences(msgspec.Struct, frozen=True, kw_only=True):
    """All that an item is to refer to; without a status, the one that new items get.

    `dated` asks for the day where the reporter is, or else where the organization is.
    """

    item_id: UUID
    project_id: ProjectId
    status_id: UUID | None = None
    assignee_id: UserId | None = None
    label_ids: list[UUID] = msgspec.field(default_factory=list)
    parent_id: UUID | None = None
    reporter_id: UserId | None = None
    dated: bool = False


class ItemReferences(msgspec.Struct, frozen=True):
    """All that an item refers to: its project, its status, and whether the rest may be used.

    `lineage` is the parent and its ancestors, `height` counts the levels of the item's own tree.
    """

    workspace_id: UUID
    key_prefix: str
    archived: bool
    role: ProjectRole | None
    today: date | None
    status_id: UUID | None
    status_name: str | None
    category: Category | None
    assignable: bool
    labels_exist: bool
    lineage: list[UUID]
    height: int


class Mentions(msgspec.Struct, frozen=True):
    """The names in a captured line that must be looked up; handles and labels in lower case."""

    key_prefix: str | None
    parent_key: str | None
    handles: list[str]
    labels: list[str]


class LineNames(msgspec.Struct, frozen=True):
    """The meaning of a captured line's names. Lists are in the order of the question."""

    today: date
    project_id: ProjectId | None
    workspace_id: UUID | None
    project_named: bool
    assignee_ids: list[UserId | None]
    label_ids: list[UUID | None]
    parent_id: UUID | None

"""Request bodies about work items."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType, field

from rytask.modules.projects.schemas import Cursor, Limit, ShortName
from rytask.modules.work_items.capture import Priority
from rytask.platform.http import Body, Query
from rytask.platform.ids import ProjectId, UserId

MAX_TITLE = 500
MAX_LABELS = 50

ItemRef = Annotated[
    str,
    Meta(
        pattern="^([0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"
        r"|[A-Za-z][A-Za-z0-9]{1,9}-[1-9][0-9]{0,8})$(?!\n)",
        description="An item's id, or its key: OPS-12.",
    ),
]
Title = Annotated[str, Meta(max_length=10_000, description="1 to 500 characters.")]
Line = Annotated[
    str,
    Meta(
        max_length=10_000,
        description="One line: `Fix login @sam ~2h #bug !high ^friday +OPS >OPS-4`.",
    ),
]
Text = Annotated[str, Meta(max_length=100_000)]
Hours = Annotated[float, Meta(ge=0, le=10_000, description="Hours.")]
LabelIds = Annotated[list[UUID], Meta(max_length=MAX_LABELS)]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1, description="The version you have read.")]


class NewSubtask(Body):
    """A title or a line to read is needed. What is said here goes before what the line says."""

    title: Title | None = None
    quick_add: Line | None = None
    description: Text | None = None
    status_id: UUID | None = None
    priority: Priority | None = None
    assignee_id: UserId | None = None
    label_ids: LabelIds = field(default_factory=list)
    estimate_value: Hours | None = None
    start_date: date | None = None
    end_date: date | None = None
    due_date: date | None = None


class NewItem(NewSubtask):
    """Also needed is a project, unless the line names one."""

    project_id: ProjectId | None = None
    parent_id: UUID | None = None


class ItemChanges(Body):
    """Fields that are left out stay as they are; null empties one."""

    version: Version
    title: Title | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    status_id: UUID | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    assignee_id: UserId | UnsetType | None = UNSET
    parent_id: UUID | UnsetType | None = UNSET
    estimate_value: Hours | UnsetType | None = UNSET
    start_date: date | UnsetType | None = UNSET
    end_date: date | UnsetType | None = UNSET
    due_date: date | UnsetType | None = UNSET
    label_ids: LabelIds | UnsetType = UNSET


class Move(Body):
    """Directly before one item, or directly after one; else to the end of the status."""

    version: Version
    status_id: UUID | None = None
    before_id: UUID | None = None
    after_id: UUID | None = None


Smart = Literal["my-issues", "my-work", "due-soon", "overdue", "urgent"]
GroupBy = Literal["status", "assignee", "priority", "project"]


class ItemsQuery(Query):
    project_id: ProjectId | None = None
    filter: (
        Annotated[str, Meta(max_length=20_000, description="Base64 of a JSON filter.")] | None
    ) = None
    smart: Smart | None = None
    group: GroupBy | None = None
    sort: (
        Annotated[
            str,
            Meta(
                max_length=200,
                description="priority, dueDate, startDate, endDate, createdAt, updatedAt, number:"
                " by commas, `-` for descending, as in `-priority,dueDate`.",
            ),
        ]
        | None
    ) = None
    cursor: Cursor | None = None
    limit: Limit = 50


class NewLabelOfItem(Body):
    """A label by its id, or by its name; a name that is new makes a label."""

    label_id: UUID | None = None
    name: ShortName | None = None


class NewWatcher(Body):
    """Yourself, unless you say who."""

    user_id: UserId | None = None


class WatcherQuery(Query):
    user_id: UserId | None = None


class DeleteStatus(Query):
    reassign_to: UUID | None = None


class Merge(Body):
    into_id: UUID

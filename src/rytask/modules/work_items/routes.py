"""Work items over HTTP, with what touches them when statuses and labels change."""

from uuid import UUID

from rytask.modules.projects.model import Label, Status
from rytask.modules.projects.schemas import LabelChanges, PageQuery, StatusChanges
from rytask.modules.work_items import service
from rytask.modules.work_items.model import (
    Activity,
    BulkOperation,
    Created,
    ItemLabel,
    ItemPage,
    Watcher,
    WorkItem,
)
from rytask.modules.work_items.schemas import (
    DeleteStatus,
    ItemChanges,
    ItemRef,
    ItemsQuery,
    Merge,
    Move,
    NewItem,
    NewLabelOfItem,
    NewSubtask,
    NewWatcher,
    WatcherQuery,
)
from rytask.platform.http import Data, Page, Routes
from rytask.platform.work import Reading, Writing

routes = Routes("work items")


@routes.route("GET", "/work-items", permission="work:read", operation_id="list_issues")
async def list_items(ctx: Reading, query: ItemsQuery) -> ItemPage:
    """List the work items that you may see.

    `filter` is a tree of conditions, `smart` a ready-made one; `group` adds how many there are of
    each kind.
    """
    return await service.list_items(ctx, query)


@routes.route("POST", "/work-items", permission="work:write", operation_id="create_issue")
async def create_item(ctx: Writing, data: NewItem) -> Created:
    """Create a work item from a title, or from one line of capture text.

    `meta.unresolved` names the words of the line that look like something and mean nothing here.
    They stay in the title.
    """
    return await service.create(ctx, data)


@routes.route("GET", "/work-items/{id}", permission="work:read", operation_id="get_issue")
async def get_item(ctx: Reading, id: ItemRef) -> Data[WorkItem]:
    """Get a work item by its id or its key."""
    return Data(await service.get(ctx, id))


@routes.route("PATCH", "/work-items/{id}", permission="work:write", operation_id="update_issue")
async def update_item(ctx: Writing, id: UUID, data: ItemChanges) -> Data[WorkItem]:
    """Change a work item that you have read in this `version`."""
    return Data(await service.update(ctx, id, data))


@routes.route(
    "POST",
    "/work-items/{id}/move",
    permission="work:write",
    operation_id="move_issue",
    status=200,
)
async def move_item(ctx: Writing, id: UUID, data: Move) -> Data[WorkItem]:
    """Move a work item within its status, or to another one."""
    return Data(await service.move(ctx, id, data))


@routes.route(
    "POST",
    "/work-items/{id}/complete",
    permission="work:write",
    operation_id="complete_issue",
    status=200,
)
async def complete_item(ctx: Writing, id: UUID) -> Data[WorkItem]:
    """Complete a work item: it goes to the project's first completed status."""
    return Data(await service.complete(ctx, id))


@routes.route(
    "POST",
    "/work-items/{id}/reopen",
    permission="work:write",
    operation_id="reopen_issue",
    status=200,
)
async def reopen_item(ctx: Writing, id: UUID) -> Data[WorkItem]:
    """Reopen a completed or cancelled work item: it goes to where new ones are put."""
    return Data(await service.reopen(ctx, id))


@routes.route("DELETE", "/work-items/{id}", permission="work:write", operation_id="delete_issue")
async def trash_item(ctx: Writing, id: UUID) -> None:
    """Put a work item into the trash."""
    await service.trash(ctx, id)


@routes.route(
    "POST",
    "/work-items/{id}/restore",
    permission="work:write",
    operation_id="restore_issue",
    status=200,
)
async def restore_item(ctx: Writing, id: UUID) -> Data[WorkItem]:
    """Take a work item out of the trash."""
    return Data(await service.restore(ctx, id))


@routes.route(
    "GET", "/work-items/{id}/subtasks", permission="work:read", operation_id="list_subtasks"
)
async def list_subtasks(ctx: Reading, id: UUID, query: PageQuery) -> Page[WorkItem]:
    """List the sub-tasks of a work item, by number."""
    return await service.subtasks(ctx, id, query.cursor, query.limit)


@routes.route(
    "POST", "/work-items/{id}/subtasks", permission="work:write", operation_id="add_subtask"
)
async def create_subtask(ctx: Writing, id: UUID, data: NewSubtask) -> Created:
    """Create a work item below another one."""
    return await service.create_subtask(ctx, id, data)


@routes.route(
    "GET", "/work-items/{id}/activity", permission="work:read", operation_id="list_issue_activity"
)
async def list_activity(ctx: Reading, id: UUID, query: PageQuery) -> Page[Activity]:
    """List what was done to a work item, oldest first.

    Of a text of more than 2,000 characters its beginning is kept, and how many were left out.
    """
    return await service.activity(ctx, id, query.cursor, query.limit)


@routes.route(
    "POST", "/work-items/{id}/labels", permission="work:write", operation_id="add_label_to_issue"
)
async def add_label(ctx: Writing, id: UUID, data: NewLabelOfItem) -> ItemLabel:
    """Put a label on a work item. A name that is new makes a label."""
    return await service.add_label(ctx, id, data)


@routes.route(
    "DELETE",
    "/work-items/{id}/labels/{label_id}",
    permission="work:write",
    operation_id="remove_label_from_issue",
)
async def remove_label(ctx: Writing, id: UUID, label_id: UUID) -> None:
    """Take a label off a work item."""
    await service.remove_label(ctx, id, label_id)


@routes.route(
    "GET", "/work-items/{id}/watchers", permission="work:read", operation_id="list_watchers"
)
async def list_watchers(ctx: Reading, id: UUID) -> Data[list[Watcher]]:
    """List a work item's watchers."""
    return Data(await service.watchers(ctx, id))


@routes.route(
    "POST", "/work-items/{id}/watchers", permission="work:read", operation_id="watch_issue"
)
async def watch_item(ctx: Writing, id: UUID, data: NewWatcher) -> Data[Watcher]:
    """Watch a work item, or let a colleague watch it."""
    return Data(await service.watch(ctx, id, data.user_id))


@routes.route(
    "DELETE", "/work-items/{id}/watchers", permission="work:read", operation_id="unwatch_issue"
)
async def unwatch_item(ctx: Writing, id: UUID, query: WatcherQuery) -> None:
    """Stop watching a work item."""
    await service.unwatch(ctx, id, query.user_id)


@routes.route("PATCH", "/statuses/{id}", permission="work:write", operation_id="update_status")
async def update_status(ctx: Writing, id: UUID, data: StatusChanges) -> Data[Status]:
    """Change a status. Its items are completed or reopened with its category."""
    return Data(await service.update_status(ctx, id, data))


@routes.route("DELETE", "/statuses/{id}", permission="work:write", operation_id="delete_status")
async def delete_status(ctx: Writing, id: UUID, query: DeleteStatus) -> None:
    """Delete a status. If items are in it, `reassignTo` says where they go."""
    await service.delete_status(ctx, id, query.reassign_to)


@routes.route("PATCH", "/labels/{id}", permission="work:write", operation_id="update_label")
async def update_label(ctx: Writing, id: UUID, data: LabelChanges) -> Data[Label]:
    """Rename or recolour a label."""
    return Data(await service.update_label(ctx, id, data))


@routes.route(
    "POST", "/labels/{id}/merge", permission="work:write", operation_id="merge_label", status=200
)
async def merge_label(ctx: Writing, id: UUID, data: Merge) -> Data[Label]:
    """Let another label take the place of this one on every item."""
    return Data(await service.merge_label(ctx, id, data.into_id))


@routes.route("DELETE", "/labels/{id}", permission="work:write", operation_id="delete_label")
async def delete_label(ctx: Writing, id: UUID) -> None:
    """Delete a label, and take it off its items."""
    await service.delete_label(ctx, id)


@routes.route(
    "GET", "/bulk-operations", permission="work:read", operation_id="list_bulk_operations"
)
async def list_bulk_operations(ctx: Reading, query: PageQuery) -> Page[BulkOperation]:
    """List changes of many items that go on in the background, the newest first.

    They come from changing or deleting a status, merging or deleting a label, or deleting a
    project. Finished ones are listed for a week.
    """
    return await service.list_operations(ctx, query.cursor, query.limit)


@routes.route(
    "GET", "/bulk-operations/{id}", permission="work:read", operation_id="get_bulk_operation"
)
async def get_bulk_operation(ctx: Reading, id: UUID) -> Data[BulkOperation]:
    """Get how far a change of many items is."""
    return Data(await service.get_operation(ctx, id))

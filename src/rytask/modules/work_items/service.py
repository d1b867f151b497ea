"""The use cases of work items. Slack, MCP and HTTP come in through these functions."""

from uuid import UUID

from rytask.modules.projects import service as projects
from rytask.modules.work_items import checks, creation, quick_add, sorting
from rytask.modules.work_items.activity import ACTIVITY_KINDS, activity_rows
from rytask.modules.work_items.bulk import (
    delete_label,
    delete_status,
    merge_label,
    update_label,
    update_status,
)
from rytask.modules.work_items.bulk_operations import get_operation, list_operations
from rytask.modules.work_items.importing import count_items, import_items
from rytask.modules.work_items.model import (
    Activity,
    Created,
    ItemPage,
    ItemReferences,
    ItemStatus,
    Meta,
    Source,
    WantedReferences,
    Watcher,
    WorkItem,
)
from rytask.modules.work_items.queries import lists, locking, reading, writing
from rytask.modules.work_items.queries.references import resolve_references
from rytask.modules.work_items.schemas import ItemsQuery, NewItem, NewSubtask
from rytask.modules.work_items.updates import (
    add_label,
    complete,
    move,
    remove_label,
    reopen,
    restore,
    trash,
    update,
)
from rytask.platform import pages
from rytask.platform.errors import Forbidden, Invalid
from rytask.platform.http import Page
from rytask.platform.ids import ProjectId, UserId, new_id
from rytask.platform.work import Reading, Writing

__all__ = [
    "activity",
    "add_label",
    "capture",
    "complete",
    "count_items",
    "create",
    "create_subtask",
    "delete_label",
    "delete_status",
    "get",
    "get_operation",
    "import_items",
    "list_items",
    "list_operations",
    "merge_label",
    "move",
    "remove_label",
    "reopen",
    "restore",
    "subtasks",
    "trash",
    "unwatch",
    "update",
    "update_label",
    "update_status",
    "watch",
    "watchers",
]


async def create(
    ctx: Writing,
    new: NewItem,
    *,
    source: Source | None = None,
    capture_id: UUID | None = None,
    reporter_id: UserId | None = None,
    item_id: UUID | None = None,
    confined: bool = False,
) -> Created:
    """Create an item from fields, from a captured line, or from both.

    The reporter is whoever acts, unless it is said. The same `capture_id` again gives the item
    that it became. The system may add to every project of its organization; with
    `confined` the line names nothing outside of the given one.
    """
    if capture_id is not None:
        captured = await reading.item_by_capture(ctx, capture_id)
        if captured is not None:
            return Created(captured)
    reporter_id = reporter_id or ctx.actor.user_id
    unresolved = ()
    if new.quick_add is not None:
        new, unresolved = await quick_add.read_line(
            ctx, new.quick_add, new, reporter_id, confined=confined
        )
    if new.project_id is None:
        raise checks.no_project()
    title = checks.title(new.title or "")
    checks.dates(new.start_date, new.end_date, new.due_date)
    wanted = WantedReferences(
        item_id=item_id or new_id(),
        project_id=new.project_id,
        status_id=new.status_id,
        assignee_id=new.assignee_id,
        label_ids=checks.label_ids(new.label_ids),
        parent_id=new.parent_id,
        reporter_id=reporter_id,
        dated=new.due_date is not None,
    )
    references, status = await _require_references(ctx, wanted)
    slot = await writing.allocate_slot(ctx.db, ctx.org_id, wanted.project_id)
    item, closed_at = creation.build_item(
        new,
        wanted,
        references,
        status,
        slot,
        title=title,
        source=source or _source(ctx),
        now=ctx.now,
    )
    await writing.insert(ctx.db, ctx.org_id, item, closed_at, capture_id, creation.watching(item))
    for fact in creation.facts(item, status.name):
        ctx.record(fact)
    return Created(item, Meta(unresolved))


async def _require_references(
    ctx: Writing, wanted: WantedReferences
) -> tuple[ItemReferences, ItemStatus]:
    """Lock all that a new item refers to. Raises why the actor may not add it."""
    if wanted.parent_id is not None:
        await locking.lock_tree(ctx.db, ctx.org_id, wanted.project_id)
    references = await resolve_references(ctx, wanted)
    if references is None:
        raise projects.not_found()
    projects.require_role(ctx.actor, references.role, "MEMBER")
    if references.archived:
        raise checks.archived()
    status = checks.status(references)
    checks.references(references, wanted)
    return references, status


async def capture(
    ctx: Writing,
    text: str,
    *,
    project_id: ProjectId | None,
    source: Source,
    capture_id: UUID | None = None,
    reporter_id: UserId | None = None,
) -> Created:
    """Create an item from one line. The project is the default; the line may name another one."""
    return await create(
        ctx,
        NewItem(project_id=project_id, quick_add=text),
        source=source,
        capture_id=capture_id,
        reporter_id=reporter_id,
    )


async def create_subtask(ctx: Writing, parent_id: UUID, new: NewSubtask) -> Created:
    """Create an item below another one, in the same project."""
    parent = await get(ctx, parent_id)
    fields = {name: getattr(new, name) for name in new.__struct_fields__}
    return await create(ctx, NewItem(**fields, project_id=parent.project_id, parent_id=parent_id))


async def get(ctx: Reading, item: UUID | str) -> WorkItem:
    """An item by its id, or by its key: OPS-12. What is in the trash is not found."""
    if isinstance(item, str) and len(item) < 32:
        key_prefix, _, number = item.partition("-")
        found = await reading.item_by_key(ctx, key_prefix.upper(), int(number))
    else:
        found = await reading.item(ctx, item if isinstance(item, UUID) else UUID(item))
    if found is None:
        raise checks.no_item()
    return found


async def list_items(ctx: Reading, query: ItemsQuery) -> ItemPage:
    """A page of the items that the actor may see, by number unless another order is asked for."""
    keys = sorting.parse(query.sort)
    rows = await lists.items(ctx, query, keys)
    if not rows and query.project_id is not None:
        await projects.require(ctx, query.project_id)
    page = pages.page(rows, query.limit, lambda item: sorting.cursor(keys, item))
    groups = None if query.group is None else await lists.groups(ctx, query, query.group)
    return ItemPage(page.data, page.page_info, groups)


async def subtasks(ctx: Reading, item_id: UUID, cursor: str | None, limit: int) -> Page[WorkItem]:
    """A page of an item's sub-tasks, by number."""
    after = None if cursor is None else pages.decode(cursor, tuple[int])[0]
    rows = await reading.subtasks(ctx, item_id, after, limit)
    if not rows:
        await get(ctx, item_id)
    return pages.page(rows, limit, lambda item: pages.encode(item.number))


async def activity(ctx: Reading, item_id: UUID, cursor: str | None, limit: int) -> Page[Activity]:
    """A page of what was done to an item, oldest first."""
    since, rows_seen = (0, 0) if cursor is None else pages.decode(cursor, tuple[int, int])
    await get(ctx, item_id)
    # The fact that the cursor stands in may be used up; each other one gives a row at least.
    facts = await reading.facts(ctx.db, ctx.org_id, item_id, ACTIVITY_KINDS, since, limit + 2)
    rows = [
        (fact.seq, n, row)
        for fact in facts
        for n, row in enumerate(activity_rows(fact), 1)
        if (fact.seq, n) > (since, rows_seen)
    ]
    page = pages.page(rows, limit, lambda last: pages.encode(*last[:2]))
    return Page([row for _, _, row in page.data], page.page_info)


async def watchers(ctx: Reading, item_id: UUID) -> list[Watcher]:
    """List an item's watchers."""
    await get(ctx, item_id)
    return await reading.watchers(ctx.db, ctx.org_id, item_id)


async def watch(ctx: Writing, item_id: UUID, user_id: UserId | None) -> Watcher:
    """Notify somebody of an item from now on: oneself, or another one who may see it."""
    item = await get(ctx, item_id)
    user_id = user_id or ctx.actor.me
    if user_id != ctx.actor.user_id:
        await _check_other(ctx, item, user_id)
    await writing.watch(ctx.db, ctx.org_id, item_id, user_id, "MANUAL")
    every = await reading.watchers(ctx.db, ctx.org_id, item_id)
    return next(watcher for watcher in every if watcher.user_id == user_id)


async def unwatch(ctx: Writing, item_id: UUID, user_id: UserId | None) -> None:
    """Stop notifying somebody: oneself, or another one. No change for those not watching."""
    item = await get(ctx, item_id)
    user_id = user_id or ctx.actor.me
    if user_id != ctx.actor.user_id:
        await _require_change_for_others(ctx, item)
    await writing.unwatch(ctx.db, ctx.org_id, item_id, user_id)


async def _require_change_for_others(ctx: Writing, item: WorkItem) -> None:
    """Require the right to change the item, and with it what others watch."""
    if "work:write" not in ctx.actor.permissions:
        raise Forbidden("Your role, or the scopes of this token, let you decide for yourself only.")
    await projects.require(ctx, item.project_id, "MEMBER")


async def _check_other(ctx: Writing, item: WorkItem, user_id: UserId) -> None:
    await _require_change_for_others(ctx, item)
    wanted = WantedReferences(item_id=item.id, project_id=item.project_id, assignee_id=user_id)
    references = await resolve_references(ctx, wanted)
    if references is None or not references.assignable:
        raise Invalid(
            "A watcher must be in the project, or an admin of the organization.",
            code="work_item.unknown_watcher",
        )


def _source(ctx: Writing) -> Source:
    return "API" if ctx.actor.source == "SYSTEM" else ctx.actor.source

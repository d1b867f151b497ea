"""Changing an item that there is already."""

from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from rytask.modules.projects import service as projects
from rytask.modules.work_items import checks, creation, rules
from rytask.modules.work_items.events import (
    Change,
    ItemAssigned,
    ItemChanged,
    ItemLabelled,
    ItemMoved,
    ItemRestored,
    ItemTrashed,
    excerpt,
)
from rytask.modules.work_items.model import ItemLabel, LockedItem, WantedReferences, WorkItem
from rytask.modules.work_items.positions import find_neighbours, is_between, position_for
from rytask.modules.work_items.queries import locking, writing
from rytask.modules.work_items.queries.references import resolve_references
from rytask.modules.work_items.schemas import ItemChanges, Move, NewLabelOfItem
from rytask.platform import patch
from rytask.platform.errors import Conflict, Malformed, NotFound
from rytask.platform.work import Writing


async def update(ctx: Writing, item_id: UUID, changes: ItemChanges) -> WorkItem:
    """Change fields of an item. What is the same already changes nothing, not even the version.

    A new status puts it at the end of that status. Raises StaleVersion.
    """
    if changes.parent_id is not msgspec.UNSET:
        await locking.lock_tree_of(ctx.db, ctx.org_id, item_id)
    wanted_status = None if changes.status_id is msgspec.UNSET else changes.status_id
    before = await _lock_item(ctx, item_id, wanted_status)
    checks.version(before, changes.version)
    wanted = _changed_fields(before, changes)
    if not wanted:
        return public_item(before)
    checks.dates(
        *(
            wanted.get(name, getattr(before, name))
            for name in ("start_date", "end_date", "due_date")
        )
    )
    if wanted.keys() & {"assignee_id", "label_ids", "parent_id"}:
        asked = WantedReferences(
            item_id=item_id,
            project_id=before.project_id,
            assignee_id=wanted.get("assignee_id"),
            label_ids=wanted.get("label_ids", []),
            parent_id=wanted.get("parent_id"),
        )
        references = await resolve_references(ctx, asked)
        if references is None:
            raise checks.no_item()
        checks.references(references, asked)
    if "status_id" in wanted:
        wanted |= _closing_times(ctx, before)
    return await _write(ctx, before, wanted, to_end="status_id" in wanted)


async def complete(ctx: Writing, item_id: UUID) -> WorkItem:
    """Complete an item: it goes to the end of the project's first completed status.

    Completing a completed item changes nothing, so a retry is harmless.
    """
    status_id = await locking.first_status(ctx.db, ctx.org_id, item_id, ["COMPLETED"])
    before = await _lock_item(ctx, item_id, status_id)
    if before.completed_at is not None:
        return public_item(before)
    if status_id is None:
        raise Conflict(
            "The project has no status that completes items. Add one, or change one's category.",
            code="work_item.no_completed_status",
        )
    return await _put_into(ctx, before, status_id)


async def reopen(ctx: Writing, item_id: UUID) -> WorkItem:
    """Reopen a completed or cancelled item: it goes to the end of where new items are put.

    Reopening an open item changes nothing.
    """
    status_id = await locking.first_status(
        ctx.db, ctx.org_id, item_id, ["UNSTARTED", "BACKLOG", "STARTED"]
    )
    before = await _lock_item(ctx, item_id, status_id)
    if before.closed_at is None:
        return public_item(before)
    if status_id is None:
        raise Conflict(
            "The project has no status for open items. Add one, or change one's category.",
            code="work_item.no_open_status",
        )
    return await _put_into(ctx, before, status_id)


async def move(ctx: Writing, item_id: UUID, to: Move) -> WorkItem:
    """Put an item directly after or before another one of a status, or at the end of a status.

    Costs the same however many items the status has. Raises StaleVersion.
    """
    status_id = await locking.lock_column(ctx.db, ctx.org_id, item_id, to.status_id)
    if status_id is None:
        raise checks.no_item()
    before = await _lock_item(ctx, item_id, status_id)
    checks.version(before, to.version)
    if to.status_id is None and before.status_id != status_id:
        raise checks.StaleVersion("Somebody moved this item.", current=before.version)
    if before.target_category is None:
        raise checks.unknown_status()
    wanted: dict[str, Any] = {}
    if before.status_id != status_id:
        wanted = {"status_id": status_id} | _closing_times(ctx, before)
    neighbours = await find_neighbours(ctx, before, status_id, to)
    if not wanted and (neighbours is None or is_between(before.position, *neighbours)):
        return public_item(before)
    to_end = neighbours is None or neighbours[1] is None
    if neighbours is not None and not to_end:
        wanted["position"] = await position_for(ctx, before, status_id, neighbours)
    return await _write(ctx, before, wanted, to_end=to_end)


async def trash(ctx: Writing, item_id: UUID) -> None:
    """Put an item into the trash. Its sub-tasks stay where they are, and stay its sub-tasks."""
    await locking.lock_tree_of(ctx.db, ctx.org_id, item_id)
    item = await _lock_item(ctx, item_id)
    await writing.set_trashed(ctx.db, ctx.org_id, item, ctx.now, ctx.now)
    ctx.record(ItemTrashed(**creation.fact_fields(item)))


async def restore(ctx: Writing, item_id: UUID) -> WorkItem:
    """Take an item out of the trash, to where it was. Not being in it changes nothing."""
    await locking.lock_tree_of(ctx.db, ctx.org_id, item_id)
    locked = await locking.lock_item(ctx.db, ctx.actor, ctx.now, item_id, trashed=True)
    if locked is None:
        return public_item(await _lock_item(ctx, item_id))
    item = checks.require_changeable(ctx.actor, locked)
    await writing.set_trashed(ctx.db, ctx.org_id, item, ctx.now, None)
    ctx.record(ItemRestored(**creation.fact_fields(item)))
    return replace(public_item(item), version=item.version + 1, updated_at=ctx.now)


async def add_label(ctx: Writing, item_id: UUID, new: NewLabelOfItem) -> ItemLabel:
    """Put a label on an item, making it if its name is new. Having it already changes nothing."""
    label_id = new.label_id
    if label_id is None:
        if new.name is None:
            raise Malformed(
                "Send the `labelId` of a label, or its `name`.", code="work_item.no_label"
            )
        # Labels are locked before items; whoever may not change the item made none after all.
        workspace_id = await locking.workspace_of(ctx.db, ctx.org_id, item_id)
        if workspace_id is None:
            raise checks.no_item()
        [label_id] = await projects.ensure_labels(ctx, workspace_id, [new.name.strip()])
    item = await _lock_item(ctx, item_id)
    if new.label_id is not None:
        asked = WantedReferences(item_id=item_id, project_id=item.project_id, label_ids=[label_id])
        references = await resolve_references(ctx, asked)
        if references is None or not references.labels_exist:
            raise NotFound("There is no such label.")
    if label_id not in item.label_ids:
        label_ids = checks.label_ids([*item.label_ids, label_id])
        await writing.set_labels(ctx.db, ctx.org_id, item_id, ctx.now, label_ids)
        ctx.record(ItemLabelled(**creation.fact_fields(item), added=[label_id], removed=[]))
    return ItemLabel(label_id)


async def remove_label(ctx: Writing, item_id: UUID, label_id: UUID) -> None:
    """Take a label off an item."""
    item = await _lock_item(ctx, item_id)
    if label_id not in item.label_ids:
        raise NotFound("The item does not have this label.")
    label_ids = [id for id in item.label_ids if id != label_id]
    await writing.set_labels(ctx.db, ctx.org_id, item_id, ctx.now, label_ids)
    ctx.record(ItemLabelled(**creation.fact_fields(item), added=[], removed=[label_id]))


def public_item(item: WorkItem) -> WorkItem:
    """An item without what only we need to know."""
    return WorkItem(*(getattr(item, name) for name in WorkItem.__struct_fields__))


async def _lock_item(ctx: Writing, item_id: UUID, status_id: UUID | None = None) -> LockedItem:
    return checks.require_changeable(
        ctx.actor, await locking.lock_item(ctx.db, ctx.actor, ctx.now, item_id, status_id=status_id)
    )


async def _put_into(ctx: Writing, before: LockedItem, status_id: UUID) -> WorkItem:
    wanted = {"status_id": status_id} | _closing_times(ctx, before)
    return await _write(ctx, before, wanted, to_end=True)


async def _write(
    ctx: Writing, before: LockedItem, wanted: dict[str, Any], *, to_end: bool
) -> WorkItem:
    """Write fields that have other values now, and record what happened."""
    position = await writing.update(ctx.db, before, ctx.org_id, ctx.now, wanted, to_end=to_end)
    after = _with_changes(ctx, before, {**wanted, "position": position})
    _record(ctx, before, after)
    return after


def _changed_fields(before: WorkItem, changes: ItemChanges) -> dict[str, Any]:
    """The fields that are to have another value than they have."""
    wanted: dict[str, Any] = {}
    for name in changes.__struct_fields__:
        value = getattr(changes, name)
        if name == "version" or value is msgspec.UNSET:
            continue
        if name == "title":
            value = checks.title(value)
        elif name == "label_ids":
            value = checks.label_ids(value)
        if value != getattr(before, name):
            wanted[name] = value
    return wanted


def _closing_times(ctx: Writing, before: LockedItem) -> dict[str, Any]:
    """Return the times that the new status sets."""
    if before.target_category is None:
        raise checks.unknown_status()
    completed_at, closed_at = rules.closing_times(
        before.target_category, before.completed_at, before.closed_at, ctx.now
    )
    return {"completed_at": completed_at, "closed_at": closed_at}


def _with_changes(ctx: Writing, before: LockedItem, changes: dict[str, Any]) -> WorkItem:
    closed_at = changes.pop("closed_at", before.closed_at)
    due_date = changes.get("due_date", before.due_date)
    return replace(
        public_item(before),
        **changes,
        overdue=rules.is_overdue(due_date, closed_at, before.today),
        version=before.version + 1,
        updated_at=ctx.now,
    )


_FIELDS_WITH_OWN_FACT = {"statusId", "assigneeId", "labelIds", "position"}
_DERIVED_FIELDS = {"overdue", "version", "completedAt", "updatedAt"}


def _record(ctx: Writing, before: LockedItem, after: WorkItem) -> None:
    """One fact for each kind of change."""
    fact_fields = creation.fact_fields(after)
    fields = set(patch.changed_fields(public_item(before), after)) - _DERIVED_FIELDS
    changes = [
        Change(name, excerpt(getattr(before, attribute)), excerpt(getattr(after, attribute)))
        for attribute, name in zip(
            WorkItem.__struct_fields__, WorkItem.__struct_encode_fields__, strict=True
        )
        if name in fields and name not in _FIELDS_WITH_OWN_FACT
    ]
    if changes:
        ctx.record(ItemChanged(**fact_fields, changes=changes))
    if "statusId" in fields and before.target_category is not None:
        fact = rules.status_fact(before.target_category, before.completed_at, before.closed_at)
        ctx.record(
            fact(
                **fact_fields,
                from_id=before.status_id,
                to_id=after.status_id,
                to_name=before.target_name or "",
            )
        )
    elif "position" in fields:
        ctx.record(
            ItemMoved(**fact_fields, from_position=before.position, to_position=after.position)
        )
    if "assigneeId" in fields:
        ctx.record(ItemAssigned(**fact_fields, from_id=before.assignee_id, to_id=after.assignee_id))
    if "labelIds" in fields:
        ctx.record(
            ItemLabelled(
                **fact_fields,
                added=[id for id in after.label_ids if id not in before.label_ids],
                removed=[id for id in before.label_ids if id not in after.label_ids],
            )
        )
    if "parentId" in fields and after.parent_id is not None:
        ctx.record(creation.subtask_added(after, after.parent_id))

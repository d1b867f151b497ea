"""Labels: words that the items of any project in a workspace can carry.

They belong to no project, so no role in one is asked for.
"""

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from rytask.modules.projects import queries
from rytask.modules.projects.events import LabelChanged, LabelCreated, LabelDeleted
from rytask.modules.projects.model import Label
from rytask.modules.projects.queries import DeletedLabel
from rytask.modules.projects.schemas import LabelChanges, NewLabel
from rytask.platform import patch
from rytask.platform.db import Duplicate
from rytask.platform.errors import Conflict, NotFound
from rytask.platform.ids import new_id
from rytask.platform.work import Reading, Writing


async def list_labels(ctx: Reading) -> list[Label]:
    """The labels of the caller's workspace, by name."""
    return await queries.labels(ctx.db, ctx.org_id, ctx.actor.workspace_id)


async def create_label(ctx: Writing, new: NewLabel, *, label_id: UUID | None = None) -> Label:
    """Make a label. Names are unique in the workspace, whatever their case."""
    label = Label(label_id or new_id(), new.name.strip(), new.color)
    place = await queries.workspace(ctx.db, ctx.org_id, ctx.actor.workspace_id)
    try:
        await queries.insert_label(ctx.db, ctx.org_id, place, label)
    except Duplicate as error:
        raise _name_taken(label.name) from error
    ctx.record(LabelCreated(subject_id=label.id, name=label.name))
    return label


async def ensure_labels(ctx: Writing, workspace_id: UUID, names: Sequence[str]) -> list[UUID]:
    """The ids of the labels of these names, made where there are none yet. Safe in a race."""
    found = await queries.ensure_labels(
        ctx.db, ctx.org_id, workspace_id, [new_id() for _ in names], names
    )
    for label in found:
        if label.is_new:
            ctx.record(LabelCreated(subject_id=label.id, name=label.name))
    ids = {label.name.lower(): label.id for label in found}
    return [ids[name.lower()] for name in names]


async def update_label(ctx: Writing, before: Label, changes: LabelChanges) -> Label:
    """Change a label that `require_label` gave."""
    after = replace(before, **patch.sent_fields(changes))
    fields = patch.changed_fields(before, after)
    if fields:
        try:
            await queries.update_label(ctx.db, ctx.org_id, after)
        except Duplicate as error:
            raise _name_taken(after.name) from error
        ctx.record(LabelChanged(subject_id=after.id, fields=fields))
    return after


async def require_label(ctx: Writing, label_id: UUID) -> Label:
    """A label, locked until we commit: no item gets it meanwhile, and no label goes away."""
    await queries.lock_labels(ctx.db, ctx.org_id)
    return _found(await queries.label(ctx.db, ctx.org_id, label_id))


async def require_other_label(ctx: Writing, label_id: UUID) -> Label:
    """A second label, when `require_label` gave the first; items may get it meanwhile."""
    return _found(await queries.label(ctx.db, ctx.org_id, label_id, keep=True))


async def hide_label(ctx: Writing, label: Label, merged_into: UUID | None = None) -> None:
    """Delete a label that `require_label` gave: nobody sees it, its name is free.

    The caller takes it off its items, then calls `erase_label`.
    """
    await queries.hide_label(ctx.db, ctx.org_id, label.id, merged_into, ctx.now)
    ctx.record(LabelDeleted(subject_id=label.id, name=label.name, merged_into=merged_into))


async def replacement_of_label(ctx: Writing, label_id: UUID) -> DeletedLabel | None:
    """Return a deleted label's replacement, stable until we commit. None: it was erased."""
    await queries.lock_labels(ctx.db, ctx.org_id)
    return await queries.deleted_label(ctx.db, ctx.org_id, label_id)


async def erase_label(ctx: Writing, label_id: UUID) -> None:
    """Remove a deleted label that no item carries any more."""
    await queries.erase_label(ctx.db, ctx.org_id, label_id)


def _found(label: Label | None) -> Label:
    if label is None:
        raise NotFound("There is no such label.")
    return label


def _name_taken(name: str) -> Conflict:
    return Conflict(
        f"There is a label called {name} already. Use it, or merge the two.",
        code="label.name_taken",
    )

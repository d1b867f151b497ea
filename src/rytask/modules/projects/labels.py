"""Labels: words that the items of any project in a workspace can carry.

They belong to no project, so no role in one is asked for.
"""

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from rytask.modules.projects import queries
from rytask.modules.projects.events import LabelChanged, LabelCreated, LabelDeleted
from rytask.modules.projects.model import Label
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


async def update_label(ctx: Writing, label_id: UUID, changes: LabelChanges) -> Label:
    before = await require_label(ctx, label_id)
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
    """A label, held until we commit: no item gets it meanwhile."""
    found = await queries.label(ctx.db, ctx.org_id, label_id)
    if found is None:
        raise NotFound("There is no such label.")
    return found


async def delete_label(ctx: Writing, label: Label, merged_into: UUID | None = None) -> None:
    """Delete a label that `require_label` gave. The caller takes it off its items."""
    await queries.delete_label(ctx.db, ctx.org_id, label.id)
    ctx.record(LabelDeleted(subject_id=label.id, name=label.name, merged_into=merged_into))


def _name_taken(name: str) -> Conflict:
    return Conflict(
        f"There is a label called {name} already. Use it, or merge the two.",
        code="label.name_taken",
    )

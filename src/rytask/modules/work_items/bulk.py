"""What happens to items when a status, a label or a project goes away or changes its meaning."""

from uuid import UUID

from rytask.modules.projects import service as projects
from rytask.modules.projects.model import Label, Status
from rytask.modules.projects.schemas import StatusChanges
from rytask.modules.work_items.queries import locking, writing
from rytask.platform.errors import Conflict, Invalid
from rytask.platform.ids import ProjectId
from rytask.platform.work import Writing

_BATCH = 1000


async def update_status(ctx: Writing, status_id: UUID, changes: StatusChanges) -> Status:
    """Change a status. Its items are completed, closed or reopened with its category."""
    before = await projects.require_status(ctx, status_id)
    after = await projects.update_status(ctx, before, changes)
    if after.category != before.category:
        await writing.apply_category(
            ctx.db, ctx.org_id, before.project_id, status_id, after.category, ctx.now
        )
    return after


async def delete_status(ctx: Writing, status_id: UUID, reassign_to: UUID | None) -> None:
    """Delete a status. Its items go to the end of another one, in their order.

    Items in the trash need nobody to say where: they go to the project's first other status.
    """
    status = await projects.require_status(ctx, status_id)
    others = {
        other.id: other
        for other in await projects.list_statuses(ctx, status.project_id)
        if other.id != status_id
    }
    if not others:
        raise Conflict("A project keeps its last status.", code="status.last")
    if reassign_to is not None and reassign_to not in others:
        raise Invalid(
            "`reassignTo` must be another status of the same project.", code="status.unknown"
        )
    target = others[reassign_to] if reassign_to else next(iter(others.values()))
    await locking.lock_statuses(ctx.db, [status_id, target.id])
    await writing.reassign(
        ctx.db,
        ctx.org_id,
        status.project_id,
        status_id,
        target.id,
        target.category,
        ctx.now,
        trashed_only=reassign_to is None,
    )
    await projects.delete_status(ctx, status, reassign_to)


async def merge_label(ctx: Writing, label_id: UUID, into_id: UUID) -> Label:
    """Let one label take the place of another on every item. The other one is gone."""
    label = await projects.require_label(ctx, label_id)
    if label_id == into_id:
        raise Invalid("A label cannot be merged into itself.", code="label.same")
    into = await projects.require_label(ctx, into_id)
    await writing.replace_label(ctx.db, ctx.org_id, label_id, into_id)
    await projects.delete_label(ctx, label, into_id)
    return into


async def delete_label(ctx: Writing, label_id: UUID) -> None:
    """Delete a label, and take it off its items. Their versions stay as they are."""
    label = await projects.require_label(ctx, label_id)
    await writing.replace_label(ctx.db, ctx.org_id, label_id, None)
    await projects.delete_label(ctx, label)


async def erase_project(ctx: Writing, project_id: ProjectId) -> bool:
    """Erase one batch of a deleted project; whether there is more to erase."""
    if await writing.erase(ctx.db, ctx.org_id, project_id, _BATCH):
        return True
    await projects.erase_project(ctx, project_id)
    return False

"""Changes to items when a status, a label or a project goes away or changes its meaning.

What is asked for is so from the answer on; the items follow. Few are changed at once, by the
request itself; more than that by jobs, batch by batch (`bulk_operations`). Until then reads show an
item in the status and with the labels that it will have; filters, its order and whether it is
completed go by what it still has.
"""

from uuid import UUID

from rytask.modules.projects import service as projects
from rytask.modules.projects.model import Label, Status
from rytask.modules.projects.schemas import LabelChanges, StatusChanges
from rytask.modules.work_items import bulk_operations, rules
from rytask.modules.work_items.queries import bulk as queries
from rytask.platform.errors import Conflict, Forbidden, Invalid
from rytask.platform.ids import ProjectId
from rytask.platform.work import Writing


async def update_status(ctx: Writing, status_id: UUID, changes: StatusChanges) -> Status:
    """Change a status. Its items are completed, closed or reopened with its category."""
    before = await projects.require_status(ctx, status_id)
    after = await projects.update_status(ctx, before, changes)
    if rules.closed_as(after.category) != rules.closed_as(before.category):
        await bulk_operations.start(
            ctx,
            "STATUS_CATEGORY",
            status_id,
            project_id=before.project_id,
            from_category=before.category,
        )
    return after


async def delete_status(ctx: Writing, status_id: UUID, reassign_to: UUID | None) -> None:
    """Delete a status. Its items go to the end of another one, in their order.

    Items in the trash need nobody to say where: they go to the project's first other status.
    """
    status = await projects.require_status(ctx, status_id)
    others = [
        other.id
        for other in await projects.list_statuses(ctx, status.project_id)
        if other.id != status_id
    ]
    if not others:
        raise Conflict("A project keeps its last status.", code="status.last")
    if reassign_to is not None and reassign_to not in others:
        raise Invalid(
            "`reassignTo` must be another status of the same project.", code="status.unknown"
        )
    if reassign_to is None and await queries.any_live(
        ctx.db, ctx.org_id, status.project_id, status_id
    ):
        raise Conflict(
            "Items are in this status. Say where they go with `reassignTo`.", code="status.in_use"
        )
    target_id = reassign_to or others[0]
    await projects.hide_status(ctx, status, target_id, reassign_to)
    await bulk_operations.start(
        ctx, "STATUS_DELETION", status_id, project_id=status.project_id, target_id=target_id
    )


async def update_label(ctx: Writing, label_id: UUID, changes: LabelChanges) -> Label:
    """Rename or recolour a label."""
    label = await projects.require_label(ctx, label_id)
    await _require_all_its_items(ctx, label)
    return await projects.update_label(ctx, label, changes)


async def merge_label(ctx: Writing, label_id: UUID, into_id: UUID) -> Label:
    """Let one label take the place of another on every item. The other one is gone."""
    label = await projects.require_label(ctx, label_id)
    if label_id == into_id:
        raise Invalid("A label cannot be merged into itself.", code="label.same")
    into = await projects.require_other_label(ctx, into_id)
    await _require_all_its_items(ctx, label)
    await projects.hide_label(ctx, label, into_id)
    await bulk_operations.start(ctx, "LABEL_MERGE", label_id, target_id=into_id)
    return into


async def delete_label(ctx: Writing, label_id: UUID) -> None:
    """Delete a label, and take it off its items. Their versions stay as they are."""
    label = await projects.require_label(ctx, label_id)
    await _require_all_its_items(ctx, label)
    await projects.hide_label(ctx, label)
    await bulk_operations.start(ctx, "LABEL_DELETION", label_id)


async def erase_project(ctx: Writing, project_id: ProjectId) -> None:
    """Erase a deleted project with all its items."""
    await bulk_operations.start(ctx, "PROJECT_DELETION", project_id, project_id=project_id)


async def _require_all_its_items(ctx: Writing, label: Label) -> None:
    """Labels are the workspace's: who changes one changes every item that carries it."""
    if not ctx.actor.is_admin and await queries.any_not_editable(ctx.db, ctx.actor, label.id):
        raise Forbidden(
            f"The label {label.name} is in use where you may not change items. An admin of the"
            " organization can do this, or a member of every project that uses the label, while"
            " none of them is archived.",
            code="label.used_elsewhere",
        )

"""Work on items that no request waits for."""

from uuid import UUID

from rytask.modules.work_items import bulk
from rytask.platform.ids import ProjectId
from rytask.platform.jobs import transactional
from rytask.platform.work import Writing


@transactional("work_items.erase_project", attempts=25)
async def erase_project(ctx: Writing, project_id: UUID) -> None:
    """Erase a deleted project batch by batch, each in a transaction of its own."""
    if await bulk.erase_project(ctx, ProjectId(project_id)):
        ctx.enqueue("work_items.erase_project", project_id)

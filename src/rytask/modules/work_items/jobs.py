"""Work on items that no request waits for."""

from datetime import timedelta
from uuid import UUID

from rytask.modules.work_items import bulk_operations
from rytask.modules.work_items.events import Change, ItemChanged, ItemErased
from rytask.modules.work_items.queries import bulk as queries
from rytask.modules.work_items.queries import erasing, locking
from rytask.platform.jobs import Tools, every, transactional
from rytask.platform.work import Writing

_KEPT = timedelta(days=7)


@transactional("work_items.change_in_bulk", attempts=25)
async def change_in_bulk(ctx: Writing, operation_id: UUID) -> None:
    """Go on with a bulk operation, batch by batch, each in a transaction of its own."""
    await bulk_operations.run_batch(ctx, operation_id)


@every(timedelta(hours=1), "work_items.purge_operations")
async def purge_operations(tools: Tools) -> None:
    """Forget bulk operations that were finished a week ago."""
    async with tools.work.database.transaction() as tx:
        await queries.purge(tx, tools.work.clock() - _KEPT)


@every(timedelta(hours=1), "work_items.purge_trash")
async def purge_trash(tools: Tools) -> None:
    """Ask for the trash of each organization to be emptied of what has been in it for too long."""
    days = tools.settings.retention_trash_days
    before = tools.work.clock() - timedelta(days=days)
    for org_id in await erasing.orgs_to_purge(tools.work.database.reader, before):
        async with tools.transaction(org_id) as ctx:
            ctx.enqueue("work_items.erase_trash", days)


@transactional("work_items.erase_trash", attempts=10)
async def erase_trash(ctx: Writing, days: int) -> None:
    """Erase a batch of what has been in the trash for so many days; another such job goes on."""
    before = ctx.now - timedelta(days=days)
    project_id = await erasing.next_project(ctx.db, ctx.org_id, before)
    if project_id is None:
        return
    await locking.lock_tree(ctx.db, ctx.org_id, project_id)
    items = await erasing.lock_trash(ctx.db, ctx.org_id, project_id, before)
    ids = [item.id for item in items]
    for child in await erasing.orphan(ctx.db, ctx.org_id, ids, ctx.now):
        ctx.record(
            ItemChanged(
                subject_id=child.id,
                project_id=project_id,
                key=child.key,
                title=child.title,
                changes=[Change("parentId", child.parent_id, None)],
            )
        )
    await erasing.erase(ctx.db, ctx.org_id, ids)
    for item in items:
        ctx.record(
            ItemErased(subject_id=item.id, project_id=project_id, key=item.key, title=item.title)
        )
    ctx.enqueue("work_items.erase_trash", days)

"""Work on items that no request waits for."""

from datetime import timedelta
from uuid import UUID

from rytask.modules.work_items import bulk_operations
from rytask.modules.work_items.queries import bulk as queries
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

"""What the platform throws away by itself."""

from datetime import timedelta

from rytask.platform import idempotency
from rytask.platform.jobs import Tools, every


@every(timedelta(hours=1), "platform.purge")
async def purge(tools: Tools) -> None:
    """Delete answers to keyed requests that are a day old, in batches."""
    older_than = tools.work.clock() - timedelta(seconds=idempotency.LIFETIME_SECONDS)
    deleted = 1
    while deleted:
        async with tools.work.database.transaction() as tx:
            deleted = await idempotency.purge(tx, older_than)

"""Deletion of the platform's old rows."""

from datetime import timedelta

from rytask.platform import idempotency, outbox
from rytask.platform.jobs import Tools, every
from rytask.platform.pruning import prune


@every(timedelta(hours=1), "platform.purge")
async def purge(tools: Tools) -> None:
    """Delete answers to keyed requests that are a day old, and jobs that died long ago."""
    database, now = tools.work.database, tools.work.clock()
    answered = now - timedelta(seconds=idempotency.LIFETIME_SECONDS)
    await prune(database, lambda tx: idempotency.purge(tx, answered))
    died = now - timedelta(days=tools.settings.retention_dead_job_days)
    await prune(database, lambda tx: outbox.purge_dead(tx, died))

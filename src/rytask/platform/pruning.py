"""Pruning: what is kept no longer is deleted in small transactions, so that nobody waits for it."""

from collections.abc import Awaitable, Callable
from time import monotonic

from rytask.platform.db import Database, Tx

BATCH = 1000
_AT_MOST = 30.0  # seconds: well within a job's time; the next run goes on


async def prune(database: Database, batch: Callable[[Tx], Awaitable[int]]) -> None:
    """Run a batch, which says how many rows it deleted, in transactions of its own until 0."""
    end = monotonic() + _AT_MOST
    deleted = 1
    while deleted and monotonic() < end:
        async with database.transaction() as tx:
            deleted = await batch(tx)

"""Pruning: what is kept no longer is deleted in small transactions, so that nobody waits for it.

A batch is found by its age in an index and deleted by `ctid = ANY (ARRAY(SELECT ctid …))`. With IN
the planner reads the whole table: 110 ms instead of 4 for 1,000 of 200,000 rows (2026-11).
"""

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

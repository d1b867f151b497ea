"""Stopping in the middle of a transaction, so that a test can step in at a known place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

from rytask.platform.db import Database, Tx


@asynccontextmanager
async def held(database: Database, sql: LiteralString, *args: object) -> AsyncIterator[Tx]:
    """Hold what a statement locks until the block ends, on a connection of its own."""
    async with database.transaction() as tx:
        await tx.execute(sql, *args)
        yield tx


async def waiting(database: Database, number: int) -> None:
    """Wait until so many statements wait for a lock. No other test uses this database."""
    async with asyncio.timeout(10):
        while await _waiting(database) < number:
            await asyncio.sleep(0.005)


async def _waiting(database: Database) -> int:
    return await database.reader.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

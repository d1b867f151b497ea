import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from rytask.platform import pool as pools
from rytask.platform.pool import Pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Two connections at most."""
    pool = Pool(lambda: asyncpg.connect(database_url), 2)
    yield pool
    await pool.close()


async def backend(pool: Pool) -> int:
    return await pool.fetchval("SELECT pg_backend_pid()")


async def test_one_connection_serves_one_statement_after_another(pool: Pool) -> None:
    assert len({await backend(pool) for _ in range(5)}) == 1


async def test_there_are_never_more_connections_than_allowed(pool: Pool) -> None:
    assert len(set(await asyncio.gather(*(backend(pool) for _ in range(20))))) <= 2


async def test_whoever_waits_gets_the_first_connection_that_comes_back(pool: Pool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.release(first, reusable=True)
    assert await waiting is first
    pool.release(first, reusable=True)
    pool.release(second, reusable=True)


async def test_whoever_waits_too_long_is_told_so(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_ACQUIRE_TIMEOUT", 0.01)
    taken = [await pool.acquire(), await pool.acquire()]
    with pytest.raises(TimeoutError):
        await pool.acquire()
    for connection in taken:
        pool.release(connection, reusable=True)
    assert await backend(pool)


async def test_a_turn_is_not_lost_with_a_waiter_who_is_cancelled_as_it_comes(pool: Pool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    leaving, staying = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.release(first, reusable=True)
    leaving.cancel()
    assert await staying is first
    pool.release(first, reusable=True)
    pool.release(second, reusable=True)
    assert len({*await asyncio.gather(backend(pool), backend(pool))}) == 2


async def test_a_connection_whose_statement_was_cancelled_is_not_used_again(pool: Pool) -> None:
    before = await backend(pool)
    sleeping = asyncio.create_task(pool.fetchval("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.05)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert await backend(pool) != before


async def test_a_refused_statement_costs_no_connection(pool: Pool) -> None:
    before = await backend(pool)
    with pytest.raises(asyncpg.UndefinedTableError):
        await pool.fetch("SELECT * FROM nowhere")
    assert await backend(pool) == before


async def test_a_connection_that_the_server_closed_is_replaced(pool: Pool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    await second.execute(
        "SELECT pg_terminate_backend($1)", await first.fetchval("SELECT pg_backend_pid()")
    )
    pool.release(second, reusable=True)
    pool.release(first, reusable=True)
    while not first.is_closed():
        await asyncio.sleep(0.01)
    assert len(set(await asyncio.gather(backend(pool), backend(pool)))) == 2


async def test_an_open_that_fails_leaves_room_for_the_next(database_url: str) -> None:
    answers = iter([OSError("away"), None])

    async def open_() -> asyncpg.Connection:
        if trouble := next(answers):
            raise trouble
        return await asyncpg.connect(database_url)

    pool = Pool(open_, 1)
    with pytest.raises(OSError, match="away"):
        await pool.acquire()
    assert await backend(pool)
    await pool.close()

"""Connections to PostgreSQL, kept open and lent to one task at a time.

Lending costs next to nothing while a connection is idle: asyncpg's own pool makes a task for each
return, and one more for each loan with a time limit (50 µs of a read's 300, 2026-11).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import asyncpg

_ACQUIRE_TIMEOUT = 5.0
_MAX_IDLE = 300.0


class Pool:
    """At most `size` connections, opened when first needed and closed when idle for long.

    Who waits five seconds for a connection gets TimeoutError. Connections are not reset.
    """

    def __init__(self, open_: Callable[[], Awaitable[asyncpg.Connection]], size: int) -> None:
        self._open, self._free_slots = open_, size
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        async with _Acquired(self) as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        async with _Acquired(self) as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        async with _Acquired(self) as connection:
            return await connection.fetchval(sql, *args)

    async def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        self._closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close(timeout=1) for connection, _ in idle))

    async def acquire(self) -> asyncpg.Connection:
        """Take a connection; `release` has to follow."""
        await self._acquire_slot()
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self._open()
        except BaseException:
            self._release_slot()
            raise

    def release(self, connection: asyncpg.Connection, *, reusable: bool) -> None:
        """Return a connection; one that is not `reusable` is thrown away."""
        if not reusable or self._closed:
            connection.terminate()
        elif not connection.is_closed():
            now = asyncio.get_running_loop().time()
            self._idle.append((connection, now))
            if self._idle_timer is None:
                self._idle_timer = asyncio.get_running_loop().call_later(
                    _MAX_IDLE / 2, self._close_idle
                )
        self._release_slot()

    async def _acquire_slot(self) -> None:
        """Wait until there are fewer than `size` others."""
        if self._free_slots:
            self._free_slots -= 1
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        limit = loop.call_later(_ACQUIRE_TIMEOUT, _time_out, waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release_slot()  # it was our turn, but we were cancelled in the same instant
            raise
        finally:
            limit.cancel()

    def _release_slot(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free_slots += 1

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        horizon = loop.time() - _MAX_IDLE
        for connection, since in self._idle:
            if since < horizon:
                connection.terminate()
        self._idle = [(it, since) for it, since in self._idle if not it.is_closed()]
        self._idle_timer = loop.call_later(_MAX_IDLE / 2, self._close_idle) if self._idle else None


class _Acquired:
    """A connection that is given back when the block ends, whole or not."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await self._pool.acquire()
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # Cancelled in the middle of a statement or of a rollback: its state is not known.
        reusable = error is None or (
            isinstance(error, Exception) and not self._connection.is_in_transaction()
        )
        self._pool.release(self._connection, reusable=reusable)


def _time_out(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("every connection was in use for five seconds"))

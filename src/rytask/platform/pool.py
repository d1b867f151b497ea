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

_PATIENCE = 5.0
_IDLE = 300.0


class Pool:
    """At most `size` connections, opened when first needed and closed when idle for long.

    Who waits five seconds for a connection gets TimeoutError. Connections are not reset.
    """

    def __init__(self, open_: Callable[[], Awaitable[asyncpg.Connection]], size: int) -> None:
        self._open, self._free = open_, size
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tidying: asyncio.TimerHandle | None = None
        self._closed = False

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        async with _Loan(self) as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        async with _Loan(self) as connection:
            return await connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        async with _Loan(self) as connection:
            return await connection.fetchval(sql, *args)

    async def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        self._closed = True
        if self._tidying is not None:
            self._tidying.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close(timeout=1) for connection, _ in idle))

    async def take(self) -> asyncpg.Connection:
        """Take a connection; `give_back` has to follow."""
        await self._turn()
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self._open()
        except BaseException:
            self._next()
            raise

    def give_back(self, connection: asyncpg.Connection, *, sound: bool) -> None:
        """Return a connection; one that is not `sound` is thrown away."""
        if not sound or self._closed:
            connection.terminate()
        elif not connection.is_closed():
            now = asyncio.get_running_loop().time()
            self._idle.append((connection, now))
            if self._tidying is None:
                self._tidying = asyncio.get_running_loop().call_later(_IDLE / 2, self._tidy)
        self._next()

    async def _turn(self) -> None:
        """Wait until there are fewer than `size` others."""
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        limit = loop.call_later(_PATIENCE, _give_up, turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._next()  # it was our turn, but we were cancelled in the same instant
            raise
        finally:
            limit.cancel()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        horizon = loop.time() - _IDLE
        for connection, since in self._idle:
            if since < horizon:
                connection.terminate()
        self._idle = [(it, since) for it, since in self._idle if not it.is_closed()]
        self._tidying = loop.call_later(_IDLE / 2, self._tidy) if self._idle else None


class _Loan:
    """A connection that is given back when the block ends, whole or not."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # Cancelled in the middle of a statement or of a rollback: its state is not known.
        sound = error is None or (
            isinstance(error, Exception) and not self._connection.is_in_transaction()
        )
        self._pool.give_back(self._connection, sound=sound)


def _give_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(TimeoutError("every connection was in use for five seconds"))

"""Redis on the path of a request: an answer within 20 ms, or none at all and at no cost.

Calls made in the same instant travel as one batch, one batch at a time, on one connection. For a
moment after a failed batch calls fail at once, so a request that asks several times waits once.
Three failed batches within five seconds declare Redis away for this process; from then on a call
fails without any input or output, until a probe in the background has had a prompt answer.
"""

import asyncio
import random
from collections import deque
from contextlib import suppress
from typing import Any

import hiredis
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisError, ResponseError

FAILURES, WITHIN = 3, 5.0
WARM_UP = 1.0
STALL, GRACE = 0.005, 0.002
BATCH = 500

AWAY = Gauge("rytask_redis_away", "1 while this process does without Redis")
FAILED = Counter("rytask_redis_failures_total", "Batches of calls that Redis did not answer")
_log = structlog.get_logger()
_Call = tuple[bytes, asyncio.Future[Any]]


class Away(Exception):
    """Redis did not answer in time, or is known to be away: go on without it."""


class QuickRedis:
    """Redis for requests. `patience`, `rest` (after a failure) and `probe_every` are in seconds."""

    def __init__(
        self, url: str, *, patience: float = 0.020, rest: float = 0.1, probe_every: float = 0.5
    ) -> None:
        self._connection = ConnectionPool.from_url(
            url,
            protocol=2,  # RESP2 needs no greeting: a connection is ready when it is open
            driver_info=None,
            socket_timeout=None,  # one deadline spans the batch, connecting included
            socket_connect_timeout=None,
        ).make_connection()
        self._patience, self._rest, self._probe_every = patience, rest, probe_every
        self._rests_until = 0.0
        self._waiting: list[_Call] = []
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._sender: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether calls fail at once because Redis has been failing."""
        return self._prober is not None

    async def start(self) -> None:
        """Connect ahead of the first request. A Redis that is down is known as away from now on."""
        try:
            await self._warm_up()
        except (RedisError, OSError) as error:
            await self._connection.disconnect(nowait=True)
            self._open(error)

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send a command with whatever else is asked in this instant; the reply is awaited.

        Raises Away, here or when awaited, and redis.exceptions.ResponseError when Redis refuses
        the command. Texts come back as bytes.
        """
        loop = asyncio.get_running_loop()
        if self.away or loop.time() < self._rests_until:
            raise Away("Redis is away")
        reply: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((hiredis.pack_command(command), reply))  # pyright: ignore[reportArgumentType] the stub means tuple[..., ...]
        if self._sender is None:
            self._sender = loop.create_task(self._send_all())
        return reply

    async def close(self) -> None:
        """Stop probing, refuse what still waits, and hang up."""
        tasks = [task for task in (self._sender, self._prober) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refuse(ConnectionAbortedError("the client was closed"))
        await self._connection.disconnect(nowait=True)

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                try:
                    replies = await self._exchange([call for call, _ in batch])
                except (RedisError, OSError) as error:
                    # Whoever came while the batch hung has waited long enough, too.
                    self._waiting = batch + self._waiting
                    await self._fail(error)
                except BaseException:
                    self._waiting = batch + self._waiting
                    raise
                else:
                    _deliver(batch, replies)
        finally:
            self._sender = None

    async def _exchange(self, calls: list[bytes]) -> list[Any]:
        connection, loop = self._connection, asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            due = loop.time() + self._patience
            timer = loop.call_at(due, self._expire, limit, due)
            self._timer = timer
            try:
                if connection.is_connected and await connection.can_read():
                    await connection.disconnect(nowait=True)  # the server hung up while idle
                await connection.send_packed_command(b"".join(calls))
                return [await self._reply() for _ in calls]
            finally:
                self._timer.cancel()

    def _expire(self, limit: asyncio.Timeout, due: float) -> None:
        """End the wait, unless it was us who stalled: then the answer may be there, unread."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - due < STALL:
            limit.reschedule(now)
        else:
            self._timer = loop.call_at(now + GRACE, self._expire, limit, now + GRACE)

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as refused:
            return refused

    async def _fail(self, error: Exception) -> None:
        FAILED.inc()
        now = asyncio.get_running_loop().time()
        self._failures.append(now)
        self._rests_until = now + self._rest
        if len(self._failures) == FAILURES and now - self._failures[0] <= WITHIN:
            self._open(error)
        self._refuse(error)
        await self._connection.disconnect(nowait=True)

    def _refuse(self, cause: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for _, reply in waiting:
            if not reply.done():
                away = Away("Redis did not answer")
                away.__cause__ = cause
                reply.set_exception(away)

    def _open(self, error: Exception) -> None:
        AWAY.set(1)
        _log.warning("redis.away", error=str(error) or type(error).__name__)
        self._prober = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(self._probe_every * random.uniform(0.75, 1.25))  # noqa: S311 spread
            with suppress(RedisError, OSError):
                await self._warm_up()
                break
            await self._connection.disconnect(nowait=True)
        self._failures.clear()
        self._rests_until = 0.0
        self._prober = None
        AWAY.set(0)
        _log.info("redis.back")

    async def _warm_up(self) -> None:
        """Connect with the time that TLS and names may need; then a reply must be prompt."""
        async with asyncio.timeout(WARM_UP):
            await self._connection.connect()
        (pong,) = await self._exchange([hiredis.pack_command(("PING",))])
        if isinstance(pong, ResponseError):
            raise pong


def _deliver(batch: list[_Call], replies: list[Any]) -> None:
    for (_, reply), value in zip(batch, replies, strict=True):
        if reply.done():
            continue
        if isinstance(value, ResponseError):
            reply.set_exception(value)
        else:
            reply.set_result(value)

"""Redis on the path of a request: an answer within 20 ms, or none at all and at no cost.

redis-py speaks the protocol; the batches, the deadline and the circuit breaker are ours. One
connection carries one batch at a time; the calls made meanwhile are the next batch. When a batch
fails, every waiting call is refused and the connection is closed: a late reply reaches nobody.
During the cooldown that follows, calls fail at once, so a request that asks several times waits
once. Three failed batches within five seconds open the breaker of this process; from then on a
call fails without any input or output, until a probe in the background has had a prompt answer.
"""

import asyncio
import random
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any

import hiredis
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError, ResponseError

MAX_FAILURES, FAILURE_WINDOW = 3, 5.0
CONNECT_TIMEOUT = 1.0
STALL_GRACE = 0.002

UNAVAILABLE_GAUGE = Gauge("rytask_redis_away", "1 while this process does without Redis")
FAILURES_COUNTER = Counter(
    "rytask_redis_failures_total", "Batches of calls that Redis did not answer"
)
_log = structlog.get_logger()
_Reply = asyncio.Future[Any]


class RedisUnavailable(Exception):
    """Redis did not answer in time, or its breaker is open: go on without it."""


_ERRORS = (RedisUnavailable, RedisError, OSError)


class RequestRedis:
    """Redis for requests. `timeout`, `cooldown` and `probe_interval` are in seconds.

    `unavailable` says whether calls fail at once because Redis has been failing.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.020,
        cooldown: float = 0.1,
        probe_interval: float = 0.5,
    ) -> None:
        self._connection = ConnectionPool.from_url(
            url, protocol=2, driver_info=None, socket_timeout=None
        ).make_connection()
        self._timeout, self._cooldown, self._probe_interval = timeout, cooldown, probe_interval
        self.unavailable = False
        self._cooldown_until = 0.0
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._waiting: list[tuple[bytes, _Reply]] = []
        self._batch: list[tuple[bytes, _Reply]] = []
        self._sender: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect ahead of the first request. If Redis is down, the breaker opens at once."""
        self.unavailable = True
        try:
            await self._connect()
        except _ERRORS as error:
            self._open_breaker(error)
        else:
            self.unavailable = False

    def call(self, *command: str | bytes | int | float) -> _Reply:
        """Send a command with the next batch; the reply is awaited, and texts come as bytes.

        Raises RedisUnavailable, here or when awaited, and redis.exceptions.ResponseError when
        Redis refuses the command.
        """
        if self.unavailable or monotonic() < self._cooldown_until:
            raise RedisUnavailable("Redis is away")
        return self._enqueue(command)

    async def close(self) -> None:
        """Stop probing, refuse the waiting calls, and disconnect."""
        for task in (self._prober, self._sender):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._refuse(ConnectionAbortedError("the client was closed"))
        await self._connection.disconnect(nowait=True)

    def _enqueue(self, command: tuple[str | bytes | int | float, ...]) -> _Reply:
        loop = asyncio.get_running_loop()
        packed = hiredis.pack_command(command)  # pyright: ignore[reportArgumentType] the stub means tuple[..., ...]
        reply: _Reply = loop.create_future()
        self._waiting.append((packed, reply))
        if self._sender is None:
            self._sender = loop.create_task(self._send())
        return reply

    async def _send(self) -> None:
        """Send the waiting calls, one batch after another, until none waits."""
        try:
            while self._waiting:
                self._batch, self._waiting = self._waiting, []
                await self._exchange()
        except Exception as error:  # whatever it is, nobody may wait for ever
            self._record_failure(error)
        finally:
            self._sender = None

    async def _exchange(self) -> None:
        """Send the batch and hand out its replies. One deadline spans connecting and replies.

        redis-py closes a connection when anything fails on it, a cancelled read included.
        """
        loop, connection = asyncio.get_running_loop(), self._connection
        async with asyncio.timeout(None) as limit:
            # If the process stalled, the replies may be there, unread: the grace reads them.
            deadline = loop.call_later(
                self._timeout - STALL_GRACE, lambda: limit.reschedule(loop.time() + STALL_GRACE)
            )
            try:
                await self._write(b"".join([packed for packed, _ in self._batch]))
                for _, reply in self._batch:
                    try:
                        value = await connection.read_response(disable_decoding=True)
                    except ResponseError as refusal:
                        if not reply.done():
                            reply.set_exception(refusal)
                    else:
                        if not reply.done():
                            reply.set_result(value)
            finally:
                deadline.cancel()

    async def _write(self, packed: bytes) -> None:
        """Write to the connection, or to a new one if it ended or said something while idle."""
        connection = self._connection
        if not connection.is_connected:
            await connection.send_packed_command(packed)
            return
        if await connection.can_read():
            await connection.disconnect(nowait=True)
        try:
            await connection.send_packed_command(packed)
        except (LostConnection, RuntimeError):  # uvloop's word for a transport that was reset
            await connection.send_packed_command(packed)

    def _record_failure(self, error: Exception) -> None:
        self._refuse(error)
        if self.unavailable:
            return
        FAILURES_COUNTER.inc()
        now = monotonic()
        self._failures.append(now)
        self._cooldown_until = now + self._cooldown
        if len(self._failures) == MAX_FAILURES and now - self._failures[0] <= FAILURE_WINDOW:
            self._open_breaker(error)

    def _refuse(self, cause: Exception) -> None:
        calls, self._batch, self._waiting = self._batch + self._waiting, [], []
        for _, reply in calls:
            if not reply.done():
                refusal = RedisUnavailable("Redis did not answer")
                refusal.__cause__ = cause
                reply.set_exception(refusal)

    def _open_breaker(self, error: Exception) -> None:
        self.unavailable = True
        UNAVAILABLE_GAUGE.set(1)
        cause = error.__cause__ or error
        _log.warning("redis.away", error=str(cause) or type(cause).__name__)
        self._prober = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        while self.unavailable:
            await asyncio.sleep(self._probe_interval * random.uniform(0.75, 1.25))  # noqa: S311 spread
            with suppress(*_ERRORS):
                await self._connect()
                self.unavailable = False
        self._failures.clear()
        self._cooldown_until = 0.0
        UNAVAILABLE_GAUGE.set(0)
        _log.info("redis.back")

    async def _connect(self) -> None:
        """Connect with the time that TLS and names may need; then a reply must be prompt."""
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await self._connection.connect()
        await self._enqueue(("PING",))

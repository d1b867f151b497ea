"""Redis on the path of a request: an answer within 20 ms, or none at all and at no cost.

Calls made in the same instant travel as one batch, on one connection. When a batch fails, whoever
waits is refused and the connection is dropped: a late reply reaches nobody. For a moment after that
calls fail at once, so a request that asks several times waits once. Three failed batches within
five seconds declare Redis away for this process; from then on a call fails without any input or
output, until a probe in the background has had a prompt answer.
"""

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, cast

import hiredis
import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    DefaultParser,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import InvalidResponse, RedisError, ResponseError

MAX_FAILURES, FAILURE_WINDOW = 3, 5.0
CONNECT_TIMEOUT = 1.0
LOOP_STALL, STALL_GRACE = 0.005, 0.002

UNAVAILABLE_GAUGE = Gauge("rytask_redis_away", "1 while this process does without Redis")
FAILURES_COUNTER = Counter(
    "rytask_redis_failures_total", "Batches of calls that Redis did not answer"
)
_log = structlog.get_logger()
_Reply = asyncio.Future[Any]
_Call = tuple[bytes, _Reply]
_INCOMPLETE = object()


class RedisUnavailable(Exception):
    """Redis did not answer in time, or is known to be away: go on without it."""


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
        # It never connects: it knows what the parts of a URL mean, the options of TLS included.
        self._server = ConnectionPool.from_url(url, protocol=2).make_connection()
        self._timeout, self._cooldown, self._probe_interval = timeout, cooldown, probe_interval
        self.unavailable = False
        self._cooldown_until = 0.0
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._waiting: list[_Call] = []
        self._link: _Link | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._prober: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect ahead of the first request. A Redis that is down is known as away from now on."""
        self.unavailable = True
        try:
            await self._warm_up()
        except _ERRORS as error:
            self._open_breaker(error)
        else:
            self.unavailable = False

    def call(self, *command: str | bytes | int | float) -> _Reply:
        """Send a command with whatever else is asked in this instant; the reply is awaited.

        Raises RedisUnavailable, here or when awaited, and redis.exceptions.ResponseError when Redis
        refuses the command. Texts come back as bytes.
        """
        if self.unavailable or monotonic() < self._cooldown_until:
            raise RedisUnavailable("Redis is away")
        return self._enqueue(command)

    async def close(self) -> None:
        """Stop probing, refuse what still waits, and hang up."""
        if self._prober:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)
        self._drop_link(ConnectionAbortedError("the client was closed"))
        if self._timer:
            self._timer.cancel()

    def _enqueue(self, command: tuple[str | bytes | int | float, ...]) -> _Reply:
        loop = asyncio.get_running_loop()
        call = _packed(command), loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(call)
        return call[1]

    def _flush(self) -> None:
        """Send what waits, on a new line if need be: one deadline spans connecting and replies."""
        if not self._waiting:  # it was refused meanwhile
            return
        calls, self._waiting = self._waiting, []
        due = monotonic() + self._timeout
        if self._link is None:
            self._link = _Link(self._server, self._on_lost)
        self._link.send(calls, due)
        if self._timer is None:
            self._schedule_check(due)

    def _schedule_check(self, when: float) -> None:
        self._check_due_at = when
        pause = max(when - monotonic(), 0.001)
        self._timer = asyncio.get_running_loop().call_later(pause, self._check_deadline)

    def _check_deadline(self) -> None:
        """Fail if a reply is overdue, unless it was us who stalled: it may be there, unread.

        One timer goes on from batch to batch; to set and cancel one for each would cost more.
        """
        self._timer, now = None, monotonic()
        due = self._link.due if self._link else inf
        if due == inf:
            return
        if now - self._check_due_at >= LOOP_STALL:
            self._schedule_check(now + STALL_GRACE)
        elif now < due:
            self._schedule_check(due)
        else:
            self._record_failure(TimeoutError("it took too long"))

    def _on_lost(self, link: "_Link", error: Exception) -> None:
        """Fail if a reply was due. A line that ends while idle costs nobody anything."""
        if link is self._link and link.due < inf:
            self._record_failure(error)
            return
        link.close(error)
        if link is self._link:
            self._link = None

    def _record_failure(self, error: Exception) -> None:
        self._drop_link(error)
        if self.unavailable:
            return
        FAILURES_COUNTER.inc()
        now = monotonic()
        self._failures.append(now)
        self._cooldown_until = now + self._cooldown
        if len(self._failures) == MAX_FAILURES and now - self._failures[0] <= FAILURE_WINDOW:
            self._open_breaker(error)

    def _drop_link(self, error: Exception) -> None:
        link, self._link = self._link, None
        if link:
            link.close(error)
        waiting, self._waiting = self._waiting, []
        _refuse((reply for _, reply in waiting), error)

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
                await self._warm_up()
                self.unavailable = False
        self._failures.clear()
        self._cooldown_until = 0.0
        UNAVAILABLE_GAUGE.set(0)
        _log.info("redis.back")

    async def _warm_up(self) -> None:
        """Connect with the time that TLS and names may need; then a reply must be prompt."""
        link = self._link = _Link(self._server, self._on_lost)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.wait([link.opening])
            if link.error:
                raise link.error
            await self._enqueue(("PING",))
        except _ERRORS as error:
            self._drop_link(error)
            raise


class _Link(asyncio.Protocol):
    """One connection. It alone knows who waits for its replies: they can reach nobody else."""

    def __init__(
        self, server: AbstractConnection, on_lost: "Callable[[_Link, Exception], None]"
    ) -> None:
        self._on_lost = on_lost
        self._pending: deque[tuple[_Reply, float]] = deque()
        self._unsent: list[bytes] = []
        self._write: Callable[[bytes], None] = self._unsent.append
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_INCOMPLETE,
        )
        self._transport: asyncio.Transport | None = None
        self.error: Exception | None = None
        self.opening = asyncio.get_running_loop().create_task(self._open(server))

    @property
    def due(self) -> float:
        """When the next reply must be here."""
        return self._pending[0][1] if self._pending else inf

    def send(self, calls: list[_Call], due: float) -> None:
        """Send commands, as soon as the line is open."""
        self._pending.extend([(reply, due) for _, reply in calls])
        self._write(b"".join([packed for packed, _ in calls]))

    def close(self, error: Exception) -> None:
        """Hang up, and refuse whoever waits for a reply."""
        self.error = self.error or error
        self.opening.cancel()
        if self._transport:
            self._transport.abort()
        _refuse((reply for reply, _ in self._pending), error)
        self._pending.clear()

    async def _open(self, server: AbstractConnection) -> None:
        try:
            transport = await self._connect(server)
            for command in _handshake(server):
                reply: _Reply = asyncio.get_running_loop().create_future()
                self._pending.appendleft((reply, self.due))
                transport.write(_packed(command))
                await reply
        except (RedisError, OSError) as error:
            self._on_lost(self, error)
        else:
            self._write = transport.write
            if self._unsent:
                self._write(b"".join(self._unsent))

    async def _connect(self, server: AbstractConnection) -> asyncio.WriteTransport:
        loop = asyncio.get_running_loop()
        if isinstance(server, UnixDomainSocketConnection):
            transport, _ = await loop.create_unix_connection(lambda: self, server.path)
            return transport
        assert isinstance(server, Connection)  # noqa: S101 - there are no others
        tls = server.ssl_context.get() if isinstance(server, SSLConnection) else None
        transport, _ = await loop.create_connection(lambda: self, server.host, server.port, ssl=tls)
        if server.socket_keepalive:
            wire = transport.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            options = cast(dict[int, int], server.socket_keepalive_options)
            for option, value in options.items():
                wire.setsockopt(socket.IPPROTO_TCP, option, value)
        return transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (value := self._reader.gets()) is not _INCOMPLETE:
                refused = isinstance(value, ResponseError)
                if isinstance(value, Exception) and not (refused and self._pending):
                    raise value  # it is loading its data, or does not want us
                if not self._pending:
                    raise InvalidResponse("it said what nobody had asked")
                reply, _ = self._pending.popleft()
                if reply.done():
                    continue
                if refused:
                    reply.set_exception(value)
                else:
                    reply.set_result(value)
        except RedisError as error:
            self._on_lost(self, error)

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self, exc or ConnectionResetError("Redis hung up"))


def _handshake(server: AbstractConnection) -> Iterable[tuple[str | int, ...]]:
    """What comes before any command."""
    if server.username:
        yield "AUTH", server.username, server.password or ""
    elif server.password:
        yield "AUTH", server.password
    if server.client_name:
        yield "CLIENT", "SETNAME", server.client_name
    if server.db:
        yield "SELECT", server.db


def _packed(command: tuple[str | bytes | int | float, ...]) -> bytes:
    return hiredis.pack_command(command)  # pyright: ignore[reportArgumentType] the stub means tuple[..., ...]


def _refuse(replies: Iterable[_Reply], cause: Exception) -> None:
    for reply in replies:
        if not reply.done():
            unavailable = RedisUnavailable("Redis did not answer")
            unavailable.__cause__ = cause
            reply.set_exception(unavailable)

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

FAILURES, WITHIN = 3, 5.0
WARM_UP = 1.0
STALL, GRACE = 0.005, 0.002

AWAY = Gauge("rytask_redis_away", "1 while this process does without Redis")
FAILED = Counter("rytask_redis_failures_total", "Batches of calls that Redis did not answer")
_log = structlog.get_logger()
_Reply = asyncio.Future[Any]
_Call = tuple[bytes, _Reply]
_INCOMPLETE = object()


class Away(Exception):
    """Redis did not answer in time, or is known to be away: go on without it."""


_TROUBLE = (Away, RedisError, OSError)


class QuickRedis:
    """Redis for requests. `patience`, `rest` (after a failure) and `probe_every` are in seconds.

    `away` says whether calls fail at once because Redis has been failing.
    """

    def __init__(
        self, url: str, *, patience: float = 0.020, rest: float = 0.1, probe_every: float = 0.5
    ) -> None:
        # It never connects: it knows what the parts of a URL mean, the options of TLS included.
        self._server = ConnectionPool.from_url(url, protocol=2).make_connection()
        self._patience, self._rest, self._probe_every = patience, rest, probe_every
        self.away = False
        self._rests_until = 0.0
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._waiting: list[_Call] = []
        self._line: _Line | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._prober: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect ahead of the first request. A Redis that is down is known as away from now on."""
        self.away = True
        try:
            await self._warm_up()
        except _TROUBLE as error:
            self._give_up(error)
        else:
            self.away = False

    def call(self, *command: str | bytes | int | float) -> _Reply:
        """Send a command with whatever else is asked in this instant; the reply is awaited.

        Raises Away, here or when awaited, and redis.exceptions.ResponseError when Redis refuses
        the command. Texts come back as bytes.
        """
        if self.away or monotonic() < self._rests_until:
            raise Away("Redis is away")
        return self._ask(command)

    async def close(self) -> None:
        """Stop probing, refuse what still waits, and hang up."""
        if self._prober:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)
        self._drop(ConnectionAbortedError("the client was closed"))
        if self._timer:
            self._timer.cancel()

    def _ask(self, command: tuple[str | bytes | int | float, ...]) -> _Reply:
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
        due = monotonic() + self._patience
        if self._line is None:
            self._line = _Line(self._server, self._lost)
        self._line.ask(calls, due)
        if self._timer is None:
            self._look_at(due)

    def _look_at(self, when: float) -> None:
        self._looks_at = when
        pause = max(when - monotonic(), 0.001)
        self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _look(self) -> None:
        """Fail if a reply is overdue, unless it was us who stalled: it may be there, unread.

        One timer goes on from batch to batch; to set and cancel one for each would cost more.
        """
        self._timer, now = None, monotonic()
        due = self._line.due if self._line else inf
        if due == inf:
            return
        if now - self._looks_at >= STALL:
            self._look_at(now + GRACE)
        elif now < due:
            self._look_at(due)
        else:
            self._fail(TimeoutError("it took too long"))

    def _lost(self, line: "_Line", error: Exception) -> None:
        """Fail if a reply was due. A line that ends while idle costs nobody anything."""
        if line is self._line and line.due < inf:
            self._fail(error)
            return
        line.end(error)
        if line is self._line:
            self._line = None

    def _fail(self, error: Exception) -> None:
        self._drop(error)
        if self.away:
            return
        FAILED.inc()
        now = monotonic()
        self._failures.append(now)
        self._rests_until = now + self._rest
        if len(self._failures) == FAILURES and now - self._failures[0] <= WITHIN:
            self._give_up(error)

    def _drop(self, error: Exception) -> None:
        line, self._line = self._line, None
        if line:
            line.end(error)
        waiting, self._waiting = self._waiting, []
        _refuse((reply for _, reply in waiting), error)

    def _give_up(self, error: Exception) -> None:
        self.away = True
        AWAY.set(1)
        cause = error.__cause__ or error
        _log.warning("redis.away", error=str(cause) or type(cause).__name__)
        self._prober = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        while self.away:
            await asyncio.sleep(self._probe_every * random.uniform(0.75, 1.25))  # noqa: S311 spread
            with suppress(*_TROUBLE):
                await self._warm_up()
                self.away = False
        self._failures.clear()
        self._rests_until = 0.0
        AWAY.set(0)
        _log.info("redis.back")

    async def _warm_up(self) -> None:
        """Connect with the time that TLS and names may need; then a reply must be prompt."""
        line = self._line = _Line(self._server, self._lost)
        try:
            async with asyncio.timeout(WARM_UP):
                await asyncio.wait([line.opening])
            if line.error:
                raise line.error
            await self._ask(("PING",))
        except _TROUBLE as error:
            self._drop(error)
            raise


class _Line(asyncio.Protocol):
    """One connection. It alone knows who waits for its replies: they can reach nobody else."""

    def __init__(
        self, server: AbstractConnection, lost: "Callable[[_Line, Exception], None]"
    ) -> None:
        self._lost = lost
        self._asked: deque[tuple[_Reply, float]] = deque()
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
        return self._asked[0][1] if self._asked else inf

    def ask(self, calls: list[_Call], due: float) -> None:
        """Send commands, as soon as the line is open."""
        self._asked.extend([(reply, due) for _, reply in calls])
        self._write(b"".join([packed for packed, _ in calls]))

    def end(self, error: Exception) -> None:
        """Hang up, and refuse whoever waits for a reply."""
        self.error = self.error or error
        self.opening.cancel()
        if self._transport:
            self._transport.abort()
        _refuse((reply for reply, _ in self._asked), error)
        self._asked.clear()

    async def _open(self, server: AbstractConnection) -> None:
        try:
            transport = await self._connect(server)
            for command in _greeting(server):
                reply: _Reply = asyncio.get_running_loop().create_future()
                self._asked.appendleft((reply, self.due))
                transport.write(_packed(command))
                await reply
        except (RedisError, OSError) as error:
            self._lost(self, error)
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
                if isinstance(value, Exception) and not (refused and self._asked):
                    raise value  # it is loading its data, or does not want us
                if not self._asked:
                    raise InvalidResponse("it said what nobody had asked")
                reply, _ = self._asked.popleft()
                if reply.done():
                    continue
                if refused:
                    reply.set_exception(value)
                else:
                    reply.set_result(value)
        except RedisError as error:
            self._lost(self, error)

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self, exc or ConnectionResetError("Redis hung up"))


def _greeting(server: AbstractConnection) -> Iterable[tuple[str | int, ...]]:
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
            away = Away("Redis did not answer")
            away.__cause__ = cause
            reply.set_exception(away)

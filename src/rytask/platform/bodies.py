"""Request bodies while they arrive: how long a process waits for them, and how much it keeps.

A caller who sends a head and then dawdles holds a connection, and memory for what has come. So a
body has a deadline, and only so many may be unfinished, in all and from one network. Past that
number nobody is waited for any more, but a body that came with its head is still read.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter

from rytask.platform.errors import Busy, Refused, TooLarge, TooManyUnfinished, TooSlow

log = structlog.get_logger("http")
Receive = Callable[[], Awaitable[Any]]

_refused = Counter("rytask_http_bodies_refused_total", "Bodies not waited for", ["reason"])
_MIB = 2**20
_LOG_INTERVAL = 10.0
_TICK = 0.05


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on unfinished bodies."""

    seconds: float = 10.0
    """The longest wait for a body, plus one second for each `rate` bytes of it."""
    rate: int = 32 * 1024
    seconds_when_full: float = 0.2
    requests: int = 1_000
    requests_per_network: int = 50
    bytes: int = 64 * _MIB
    bytes_per_network: int = 8 * _MIB


class _Unfinished:
    """Counts of unfinished bodies and their bytes."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = self.bytes = 0


class _Body:
    """A body that is being read: who waits for it, until when, and what is kept of it."""

    __slots__ = ("deadline", "held", "network", "overdue", "received", "shares", "task", "why")

    def __init__(
        self, network: str, shares: _Unfinished, why: Callable[[], Refused], deadline: float
    ) -> None:
        self.network, self.shares, self.why, self.deadline = network, shares, why, deadline
        self.task: asyncio.Task[Any] | None = None
        self.held = self.received = 0
        self.overdue = False


class Bodies:
    """The unfinished bodies of one process.

    One timer looks after all deadlines: one for each body would cost as much as reading it.
    """

    def __init__(self, limits: BodyLimits | None = None) -> None:
        self._limits = limits or BodyLimits()
        self._total = _Unfinished()
        self._networks: dict[str, _Unfinished] = {}
        self._reading: set[_Body] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._logged_at = 0.0

    @property
    def unfinished(self) -> int:
        """The number of awaited bodies."""
        return self._total.requests

    async def read(self, receive: Receive, network: str, limit: int) -> bytes:
        """Read a whole body of at most `limit` bytes. Raises what `chunks` raises."""
        body, whole = self._enter(network), bytearray()
        try:
            more = True
            while more:
                chunk, more = await self._next(body, receive, limit)
                whole += chunk
                if more:
                    self._keep(body, len(chunk))
        finally:
            self._leave(body)
        return bytes(whole)

    async def chunks(
        self, receive: Receive, network: str, limit: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield a body as it arrives, for a reader that does not keep it.

        Raises TooLarge, TooSlow, TooManyUnfinished or Busy, and ConnectionResetError when the
        caller goes away.
        """
        body, loop = self._enter(network), asyncio.get_running_loop()
        try:
            more = True
            while more:
                chunk, more = await self._next(body, receive, limit)
                since = loop.time()
                yield chunk
                body.deadline += loop.time() - since
        finally:
            self._leave(body)

    def _enter(self, network: str) -> _Body:
        limits, loop = self._limits, asyncio.get_running_loop()
        mine = self._networks.get(network)
        if mine is None:
            mine = self._networks[network] = _Unfinished()
        mine.requests += 1
        self._total.requests += 1
        why, seconds = _too_slow, limits.seconds
        if mine.requests > limits.requests_per_network:
            why, seconds = _too_many_unfinished, limits.seconds_when_full
        elif self._total.requests > limits.requests:
            why, seconds = _busy, limits.seconds_when_full
        body = _Body(network, mine, why, loop.time() + seconds)
        self._reading.add(body)
        if self._timer is None:
            self._timer = loop.call_later(_TICK, self._look)
        return body

    async def _next(self, body: _Body, receive: Receive, limit: int) -> tuple[bytes, bool]:
        """The next part of a body, and whether there are more."""
        body.task = asyncio.current_task()
        try:
            message = await receive()
        except asyncio.CancelledError:
            if not body.overdue or body.task is None:
                raise
            body.task.uncancel()
            # Not kept in a variable: it would keep this frame, and with it the connection.
            raise self._refusal(body.why(), body.network) from None
        finally:
            body.task = None
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        chunk: bytes = message.get("body", b"")
        body.received += len(chunk)
        if body.received > limit:
            raise too_large(limit)
        body.deadline += len(chunk) / self._limits.rate
        return chunk, message.get("more_body", False)

    def _keep(self, body: _Body, size: int) -> None:
        body.held += size
        body.shares.bytes += size
        self._total.bytes += size
        if body.shares.bytes > self._limits.bytes_per_network:
            raise self._refusal(_too_many_unfinished(), body.network)
        if self._total.bytes > self._limits.bytes:
            raise self._refusal(_busy(), body.network)

    def _leave(self, body: _Body) -> None:
        self._reading.discard(body)
        self._total.requests -= 1
        self._total.bytes -= body.held
        body.shares.requests -= 1
        body.shares.bytes -= body.held
        if not body.shares.requests:
            self._networks.pop(body.network, None)

    def _look(self) -> None:
        """Interrupt whoever waits for a body that is overdue."""
        loop = asyncio.get_running_loop()
        for body in self._reading:
            if body.task is not None and not body.overdue and body.deadline < loop.time():
                body.overdue = True
                body.task.cancel()
        self._timer = loop.call_later(_TICK, self._look) if self._reading else None

    def _refusal(self, refused: Refused, network: str) -> Refused:
        """Count a refusal, and log one now and then: an attack must not fill the log as well."""
        _refused.labels(refused.code).inc()
        now = asyncio.get_running_loop().time()
        if now - self._logged_at > _LOG_INTERVAL:
            self._logged_at = now
            log.warning(
                "http.body_refused",
                reason=refused.code,
                network=network,
                unfinished=self._total.requests,
            )
        return refused


def too_large(limit: int) -> TooLarge:
    """The refusal of a body of more than `limit` bytes."""
    return TooLarge(f"The body is larger than {limit // 1024} KiB.")


def _too_slow() -> TooSlow:
    return TooSlow("The body did not arrive in time. Send the request again, all at once.")


def _too_many_unfinished() -> TooManyUnfinished:
    return TooManyUnfinished(
        "Too many requests from your network wait for the rest of their bodies: finish those.",
        retry_after=10,
    )


def _busy() -> Busy:
    return Busy(
        "Too many requests wait for the rest of their bodies. Send yours again in a moment.",
        retry_after=10,
    )

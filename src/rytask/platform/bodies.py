"""Request bodies while they arrive: how long a process waits for them, and how much it keeps.

A caller who sends a head and then dawdles holds a connection, and memory for what has come. So a
body has a deadline, and only so many may be unfinished, in all and from one network. Past that
number nobody is waited for any more, but a body that came with its head is still read.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
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


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may leave unfinished."""

    seconds: float = 10.0
    """How long a body may keep us waiting, and one second more for each `rate` bytes of it."""
    rate: int = 32 * 1024
    seconds_when_full: float = 0.2
    requests: int = 1_000
    requests_per_network: int = 50
    bytes: int = 64 * _MIB
    bytes_per_network: int = 8 * _MIB


class _Unfinished:
    """What is awaited and kept of unfinished bodies."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = self.bytes = 0


class Bodies:
    """The unfinished bodies of one process."""

    def __init__(self, limits: BodyLimits | None = None) -> None:
        self._limits = limits or BodyLimits()
        self._total = _Unfinished()
        self._networks: dict[str, _Unfinished] = {}
        self._logged_at = 0.0

    @property
    def unfinished(self) -> int:
        """How many bodies are awaited now."""
        return self._total.requests

    async def read(self, receive: Receive, network: str, limit: int) -> bytes:
        """Read a whole body of at most `limit` bytes. Raises what `chunks` raises."""
        body = bytearray()
        async with aclosing(self._chunks(receive, network, limit, kept=True)) as chunks:
            async for chunk in chunks:
                body += chunk
        return bytes(body)

    def chunks(self, receive: Receive, network: str, limit: int) -> AsyncGenerator[bytes, None]:
        """Yield a body as it arrives, for a reader that does not keep it.

        Raises TooLarge, TooSlow, TooManyUnfinished or Busy, and ConnectionResetError when the
        caller goes away.
        """
        return self._chunks(receive, network, limit, kept=False)

    async def _chunks(
        self, receive: Receive, network: str, limit: int, *, kept: bool
    ) -> AsyncGenerator[bytes, None]:
        limits, loop = self._limits, asyncio.get_running_loop()
        mine = self._networks.setdefault(network, _Unfinished())
        mine.requests += 1
        self._total.requests += 1
        full = self._full(mine)
        left = limits.seconds_when_full if full else limits.seconds
        received = held = 0
        try:
            while True:
                started = loop.time()
                try:
                    async with asyncio.timeout(left):
                        message = await receive()
                except TimeoutError:
                    # Made here: kept in a variable, it would keep this frame, and the connection.
                    raise self._refusal((full or _too_slow)(), network) from None
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                chunk: bytes = message.get("body", b"")
                received += len(chunk)
                if received > limit:
                    raise too_large(limit)
                if not message.get("more_body", False):
                    yield chunk
                    return
                left += len(chunk) / limits.rate - (loop.time() - started)
                if kept:
                    held += len(chunk)
                    mine.bytes += len(chunk)
                    self._total.bytes += len(chunk)
                    if mine.bytes > limits.bytes_per_network:
                        raise self._refusal(_too_many_unfinished(), network)
                    if self._total.bytes > limits.bytes:
                        raise self._refusal(_busy(), network)
                yield chunk
        finally:
            self._total.requests -= 1
            self._total.bytes -= held
            mine.requests -= 1
            mine.bytes -= held
            if not mine.requests:
                self._networks.pop(network, None)

    def _full(self, mine: _Unfinished) -> Callable[[], Refused] | None:
        """Why one more body is not waited for, if it is not."""
        if mine.requests > self._limits.requests_per_network:
            return _too_many_unfinished
        return _busy if self._total.requests > self._limits.requests else None

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

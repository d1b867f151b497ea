"""A load generator: keep-alive connections that each send one request at a time.

Own code, because a bench on Python and make alone has neither wrk nor k6; it speaks just enough
HTTP/1.1 for answers with a Content-Length.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

Request = Callable[[], bytes | None]
"""Makes the next request; None when there are no more."""


@dataclass
class Seen:
    """What a load has seen. Latencies are in seconds."""

    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        return len(self.latencies)

    @property
    def good(self) -> int:
        return sum(n for status, n in self.statuses.items() if status < 400)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests stayed within, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiting: asyncio.Future[int] | None = None
        self._buffer = b""
        self._needed = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            mark = head.find(b"\r\ncontent-length:")
            length = 0
            if mark >= 0:
                stop = head.find(b"\r\n", mark + 2)
                length = int(head[mark + 17 : stop if stop > 0 else None])
            self._needed = end + 4 + length
        if len(self._buffer) >= self._needed:
            status = int(self._buffer[9:12])
            self._buffer, self._needed = self._buffer[self._needed :], -1
            if self.waiting is not None and not self.waiting.done():
                self.waiting.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(ConnectionResetError())

    async def ask(self, request: bytes) -> int:
        assert self.transport is not None
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.waiting


def request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def closed(
    port: int, make: Request, *, connections: int = 32, seconds: float = 3600.0
) -> Seen:
    """As fast as `connections` can: each sends the next request when it has its answer."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def one() -> None:
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        while loop.time() < end and (asked := make()) is not None:
            started = time.perf_counter()
            status = await connection.ask(asked)
            seen.latencies.append(time.perf_counter() - started)
            seen.statuses[status] = seen.statuses.get(status, 0) + 1
        if connection.transport is not None:
            connection.transport.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    seen.seconds = time.perf_counter() - started
    return seen


async def paced(port: int, make: Request, *, rate: float, seconds: float) -> Seen:
    """So many a second, whatever the answers take: a latency counts from when it was due."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    free: list[_Connection] = []
    started = loop.time()

    async def one(due: float) -> None:
        await asyncio.sleep(due - loop.time())
        connection = free.pop() if free else None
        if connection is None:
            _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        asked = make()
        assert asked is not None
        status = await connection.ask(asked)
        seen.latencies.append(loop.time() - due)
        seen.statuses[status] = seen.statuses.get(status, 0) + 1
        free.append(connection)

    await asyncio.gather(*(one(started + n / rate) for n in range(int(rate * seconds))))
    seen.seconds = loop.time() - started
    for connection in free:
        if connection.transport is not None:
            connection.transport.close()
    return seen

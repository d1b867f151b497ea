"""What stands between two programs: a line that fails on request, and a balancer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal, Self

Mode = Literal["well", "slow", "hanging", "off"]
HOST = "127.0.0.1"
_LATENCY = 0.2  # there and back
_PATIENCE = 10.0


class Line:
    """A TCP proxy that passes everything, late (`slow`), not yet (`hanging`), or not (`off`)."""

    def __init__(self, upstream: int) -> None:
        self.port = 0
        self.mode: Mode = "well"
        self.upstream = upstream
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Listen on a free port for the length of the block."""
        await self.become("well")
        try:
            yield self
        finally:
            await self.become("off")

    async def become(self, mode: Mode) -> None:
        """Change how it works. What was held back while hanging goes on with any other mode."""
        self.mode = mode
        if mode == "off":
            self._flowing.set()
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._open):
                writer.transport.abort()
        else:
            if self._server is None:
                self._server = await asyncio.start_server(self._carry, HOST, self.port)
                self.port = self._server.sockets[0].getsockname()[1]
            if mode == "hanging":
                self._flowing.clear()
            else:
                self._flowing.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._flowing.wait()
            with suppress(OSError):
                far = await asyncio.open_connection(HOST, self.upstream)
                await _carry_both_ways((reader, writer), far, self._pass)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass(self, sent: bytes, to: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if self.mode == "slow":
            asyncio.get_running_loop().call_later(_LATENCY / 2, to.write, sent)
        else:
            to.write(sent)
            await to.drain()


class Balancer:
    """A TCP balancer: each connection goes to the next upstream that takes it."""

    def __init__(self, upstreams: list[int]) -> None:
        self.port = 0
        self._upstreams = upstreams
        self._next = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, upstreams: list[int]) -> AsyncIterator[Self]:
        """Listen on a free port for the length of the block."""
        balancer = cls(upstreams)
        server = await asyncio.start_server(balancer._carry, HOST, 0)
        balancer.port = server.sockets[0].getsockname()[1]
        try:
            yield balancer
        finally:
            server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                far = await self._connect()
            await _carry_both_ways((reader, writer), far, _pass)
        except TimeoutError:
            pass
        finally:
            writer.close()

    async def _connect(self) -> "_End":
        while True:
            for _ in self._upstreams:
                self._next = (self._next + 1) % len(self._upstreams)
                with suppress(OSError):
                    return await asyncio.open_connection(HOST, self._upstreams[self._next])
            await asyncio.sleep(0.05)


_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Pass = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


async def _pass(sent: bytes, to: asyncio.StreamWriter) -> None:
    to.write(sent)
    await to.drain()


async def _carry_both_ways(near: _End, far: _End, carry: _Pass) -> None:
    """Carry what either end sends until one of them hangs up."""

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while sent := await reader.read(65536):
                await carry(sent, writer)

    ways = [
        asyncio.create_task(one_way(near[0], far[1])),
        asyncio.create_task(one_way(far[0], near[1])),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        far[1].close()

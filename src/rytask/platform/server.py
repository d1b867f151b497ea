"""Granian around an ASGI application: how many connections it holds, and how it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import msgspec
import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from rytask.platform.errors import CannotRun

log = structlog.get_logger("http")


class Draining(Protocol):
    """An application that can come to its end."""

    @property
    def in_flight(self) -> int: ...
    def drain(self) -> None: ...
    def cut(self) -> None: ...
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on connections, and on a stopping server's wait for requests."""

    connections: int = 8192
    head_seconds: float = 10.0
    """For the head of a request, and between two requests of a connection."""
    head_bytes: int = 32 * 1024
    drain_seconds: float = 8.0
    """Less than the ten seconds after which `rytask up` and Docker kill."""


@asynccontextmanager
async def listening(
    application: Draining, *, host: str, port: int, limits: ServerLimits | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve for the length of the block, then drain.

    The task that is yielded ends if the server cannot go on. Draining accepts no more connections,
    ends streams, and waits for requests in flight; those that take too long are cut.
    """
    limits = limits or ServerLimits()
    server = Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=2048,
        # Who is accepted can be refused; who is not waits in the dark, and everybody behind him.
        backpressure=limits.connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(limits.head_seconds * 1000),
            max_buffer_size=max(limits.head_bytes, 8192),
        ),
    )
    serving = asyncio.create_task(_serve(server, host, port))
    try:
        yield serving
    finally:
        application.drain()
        server.stop()
        await _drained(application, serving, limits.drain_seconds)


async def _serve(server: Server, host: str, port: int) -> None:
    try:
        await server.serve()
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise CannotRun(f"port {port} of {host} cannot be served: {why}") from None


async def _drained(application: Draining, serving: asyncio.Task[None], seconds: float) -> None:
    if await _ended(application, serving, seconds):
        return
    log.warning("http.requests_cut", requests=application.in_flight)
    application.cut()
    if not await _ended(application, serving, 1):
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def _ended(application: Draining, serving: asyncio.Task[None], within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await asyncio.shield(serving)
            while application.in_flight:
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    return True

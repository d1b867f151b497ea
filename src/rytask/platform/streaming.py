"""Answers without an end of their own: our streams, and the event streams of mounted applications.

They are no work in flight, which a stopping process would wait for. They end with their parts, when
the caller goes, within a second after the caller is no longer let in, and when the process stops.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import msgspec
import structlog

from rytask.platform.bodies import Receive
from rytask.platform.errors import Refused
from rytask.platform.http import Headers, Mount, Request, Stream

log = structlog.get_logger("http")
Send = Callable[[dict[str, Any]], Awaitable[None]]
StillValid = Callable[[], Awaitable[bool]]
"""Whether the caller would still be let in."""

_LAST_PART = {"type": "http.response.body", "body": b"", "more_body": False}


class Mounted(msgspec.Struct, frozen=True):
    """A request that a mounted application answers, and callbacks for its progress."""

    mount: Mount
    request: Request
    scope: Mapping[str, Any]
    headers: Headers
    """Sent with its answer, unless that has others of the same names."""
    on_start: Callable[[int], None]
    on_stream: Callable[[], None]


class OpenStreams:
    """The open streams of a process. Every `interval` seconds each caller is checked again."""

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._open: dict[asyncio.Timeout, StillValid] = {}
        self._checking: asyncio.Task[None] | None = None
        self._stopped = False

    def __len__(self) -> int:
        return len(self._open)

    def stop(self) -> None:
        """End all streams, and each that is opened from here on."""
        self._stopped = True
        for end in list(self._open):
            _end(end)

    @asynccontextmanager
    async def ended_early(self) -> AsyncIterator[asyncio.Timeout]:
        """Run a block that may be ended from outside; it looks like one that came to its end."""
        end = asyncio.timeout(None)
        try:
            async with end:
                try:
                    yield end
                finally:
                    self._open.pop(end, None)
                    if not self._open and self._checking is not None:
                        self._checking.cancel()
                        self._checking = None
        except TimeoutError:
            if not end.expired():
                raise

    def register(self, end: asyncio.Timeout, still_valid: StillValid) -> None:
        """Count a block as an open stream from here on."""
        self._open[end] = still_valid
        if self._checking is None:
            self._checking = asyncio.create_task(self._check())
        if self._stopped:
            _end(end)

    async def send(
        self, stream: Stream, receive: Receive, send: Send, still_valid: StillValid
    ) -> None:
        """Send the parts of a stream whose start was sent, and close it."""
        async with self.ended_early() as end, aclosing(stream.parts) as parts:
            self.register(end, still_valid)
            gone = asyncio.create_task(_end_with_the_caller(receive, end))
            try:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except Exception:
                log.exception("stream.failed")
                raise ConnectionResetError from None  # who gets no end knows that parts are missing
            finally:
                gone.cancel()
        await _close(send)

    async def pass_on(
        self, mounted: Mounted, receive: Receive, send: Send, still_valid: StillValid
    ) -> None:
        """Let a mounted application answer. Raises Refused if it cannot have its body."""
        mount, request, started = mounted.mount, mounted.request, False
        scope = {
            **mounted.scope,
            "root_path": mounted.scope.get("root_path", "") + mount.path,
            "state": {**mounted.scope.get("state", {}), "actor": request.actor},
        }
        async with (
            self.ended_early() as end,
            aclosing(request.chunks(mount.max_body)) as chunks,
        ):

            async def forward(message: dict[str, Any]) -> None:
                nonlocal started
                if message["type"] == "http.response.start":
                    started = True
                    mounted.on_start(message["status"])
                    theirs = list(message.get("headers", ()))
                    if request.method == "GET" and _is_event_stream(theirs):
                        self.register(end, still_valid)
                        mounted.on_stream()
                    message = {**message, "headers": merged(mounted.headers, theirs)}
                await send(message)

            try:
                await mount.application(scope, _messages(chunks, receive), forward)
            except Exception as error:
                if not started:
                    raise
                if not isinstance(error, Refused):
                    log.exception("mounted.failed", path=mount.path)
                raise ConnectionResetError from None
            return
        await _close(send)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            for end, still_valid in list(self._open.items()):
                try:
                    valid = await still_valid()
                except Exception:
                    log.exception("stream.caller_not_checked")
                    valid = False
                if not valid and end in self._open:
                    _end(end)


def merged(ours: Headers, theirs: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Our headers with theirs, which win."""
    replaced = {name.lower() for name, _ in theirs}
    return [header for header in ours if header[0] not in replaced] + list(theirs)


def _is_event_stream(headers: Headers) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in headers
    )


def _messages(chunks: AsyncIterator[bytes], receive: Receive) -> Receive:
    """A body that arrives within its limits, as the messages of ASGI; then what comes after it."""
    arriving = True

    async def next_message() -> dict[str, Any]:
        nonlocal arriving
        if not arriving:
            return await receive()
        try:
            chunk = await anext(chunks)
        except StopAsyncIteration:
            arriving = False
            return {"type": "http.request", "body": b"", "more_body": False}
        except ConnectionResetError:
            arriving = False
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": True}

    return next_message


async def _close(send: Send) -> None:
    with suppress(TimeoutError):  # of a caller who does not read
        async with asyncio.timeout(1):
            await send(_LAST_PART)


def _end(end: asyncio.Timeout) -> None:
    if not end.expired():
        end.reschedule(asyncio.get_running_loop().time())


async def _end_with_the_caller(receive: Receive, end: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    _end(end)

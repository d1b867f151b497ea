"""Our application behind Granian, asked over raw sockets by callers who do not behave."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Self

import pytest

from rytask.platform import server
from rytask.platform.asgi import Application
from rytask.platform.auth import Bearers
from rytask.platform.bodies import Bodies, BodyLimits
from rytask.platform.crypto import Sealer
from rytask.platform.db import Database
from rytask.platform.errors import CannotRun, Unauthenticated
from rytask.platform.executor import Executor, Limits
from rytask.platform.http import Data, Request, Routes, Stream, mount
from rytask.platform.idempotency import Replays
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.rate_limit import Limiter
from rytask.platform.redis_client import RequestRedis
from rytask.platform.server import ServerLimits
from rytask.platform.work import Actor, Reading, Work, Writing

routes = Routes("test", prefix="")
BODIES = BodyLimits(seconds=0.5, seconds_when_full=0.1, requests_per_network=3, requests=5)
LIMITS = ServerLimits(head_seconds=0.5, drain_seconds=0.3)


@dataclass
class Stage:
    """What the routes of a test share with it."""

    database: Database
    tokens: set[str] = field(default_factory=lambda: {"good"})
    parts: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@routes.route("GET", "/health", public=True, operation_id="get_health", throttle="none")
async def get_health() -> Data[str]:
    """Be there."""
    return Data("ok")


@routes.route(
    "POST", "/forms", public=True, operation_id="send_form", throttle="none", max_body=1000
)
async def send_form(request: Request) -> Data[int]:
    """Take a form of strangers."""
    return Data(len(await request.body(1000)))


@routes.route("POST", "/notes", permission="work:write", operation_id="create_note")
async def create_note(ctx: Writing, stage: Stage) -> Data[str]:
    """Change something, and wait before the commit."""
    await ctx.db.execute(
        "INSERT INTO workspaces (id, org_id, name, slug) VALUES ($1, $2, 'n', 'n')",
        new_id(),
        ctx.org_id,
    )
    stage.begun.set()
    await stage.go_on.wait()
    return Data("done")


@routes.route("GET", "/stream", permission="work:read", operation_id="get_stream")
async def get_stream(ctx: Reading, stage: Stage) -> Stream:
    """Stream what the test puts into the queue."""

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                part = await stage.parts.get()
                if part == b"break":
                    raise ZeroDivisionError
                if part == b"end":
                    return
                yield part + str(await ctx.db.value("SELECT 1")).encode()
        finally:
            stage.ended.set()

    return Stream(parts(), media=b"text/event-stream")


class Guest:
    """A mounted application."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name, self.stage = name, stage

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        actor = scope["state"]["actor"]
        below = scope["path"].removeprefix(scope["root_path"])
        media = b"text/event-stream" if below == "/events" else b"text/plain"
        headers = [(b"content-type", media), (b"Cache-Control", b"max-age=5")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        said = f"{self.name} {below} {actor and actor.role} {len(body)}\n".encode()
        await send({"type": "http.response.body", "body": said, "more_body": True})
        if below in ("/events", "/slow"):
            self.stage.begun.set()
            try:
                await self.stage.go_on.wait()
            finally:
                self.stage.ended.set()
        await send({"type": "http.response.body", "body": b"over", "more_body": False})


class Tokens(Bearers):
    """Lets in who bears one of the stage's tokens."""

    def __init__(self, actor: Actor, stage: Stage) -> None:
        self._actor, self._stage = actor, stage

    async def authenticate(self, token: str, network: str = "") -> Actor:
        if token not in self._stage.tokens:
            raise Unauthenticated("no")
        return self._actor


class Caller:
    """One connection, spoken to byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, text: str) -> Self:
        self._writer.write(text.replace("\n", "\r\n").encode())
        await self._writer.drain()
        return self

    async def until(self, text: bytes) -> bytes:
        async with asyncio.timeout(5):
            return await self._reader.readuntil(text)

    async def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        async with asyncio.timeout(5):
            return await self._reader.read()

    async def is_cut_off(self) -> bool:
        with suppress(ConnectionResetError):
            return await self.rest() == b""
        return True

    def hang_up(self) -> None:
        self._writer.close()


@dataclass
class Running:
    """A server and its application."""

    application: Application
    stage: Stage
    org_id: OrgId
    port: int
    callers: list[Caller] = field(default_factory=list)

    async def call(self, text: str) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self.callers.append(caller)
        return await caller.send(text)

    async def ask(self, line: str, headers: str = "", body: str = "") -> bytes:
        """One request, well-behaved, on a connection of its own."""
        length = f"Content-Length: {len(body)}\n" if body else ""
        caller = await self.call(
            f"{line} HTTP/1.1\nHost: x\nConnection: close\n{length}{headers}\n{body}"
        )
        return await caller.rest()

    async def unfinished(self, address: str = "9.9.9.9") -> Caller:
        """Leave a form unfinished, and wait until the server waits for it."""
        before = self.application._bodies.unfinished
        caller = await self.call(
            f"POST /forms HTTP/1.1\nHost: x\nX-Forwarded-For: {address}\nContent-Length: 9\n\na"
        )
        await eventually(lambda: self.application._bodies.unfinished > before)
        return caller


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    database_url: str,
    redis_url: str,
    *,
    bodies: BodyLimits = BODIES,
    limits: ServerLimits = LIMITS,
    pool: int = 5,
) -> AsyncIterator[Running]:
    database, redis = await Database.connect(database_url, size=pool), RequestRedis(redis_url)
    await redis.start()
    org_id = OrgId(new_id())
    async with database.transaction() as tx:
        await tx.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Org', $2)", org_id, str(org_id)
        )
    stage = Stage(database)
    actor = Actor(
        org_id=org_id,
        user_id=UserId(new_id()),
        role="MEMBER",
        permissions=frozenset({"work:read", "work:write"}),
    )
    executor = Executor(
        routes.routes,
        work=Work(
            database,
            subscribers={},
            attempts=lambda _: 1,
            notify_workers=lambda: None,
        ),
        limiter=Limiter(redis),
        replays=Replays(redis, Sealer.derived("a secret of the tests", "replays")),
        limits={"default": Limits(10_000, 60)},
        permissions=actor.permissions,
        provide={Stage: stage},
    )
    application = Application(
        routes.routes,
        executor,
        Tokens(actor, stage),
        mounts=[
            mount("/guest", Guest("guest", stage), permission="work:read", max_body=1000),
            mount("/guest/house", Guest("house", stage), public=True, throttle="none"),
        ],
        bodies=Bodies(bodies),
        trusted_proxies=[ip_network("127.0.0.0/8")],
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Running(application, stage, org_id, port)
    try:
        async with server.listening(application, host="127.0.0.1", port=port, limits=limits):
            while True:
                with suppress(OSError):
                    (await here.call("")).hang_up()
                    break
                await asyncio.sleep(0.01)
            yield here
    finally:
        for caller in here.callers:
            caller.hang_up()
        await redis.close()
        await database.close()


@pytest.fixture
async def here(database_url: str, redis_url: str) -> AsyncIterator[Running]:
    async with running(database_url, redis_url) as here:
        yield here


SIGNED_IN = "Authorization: Bearer good\n"


async def test_a_body_that_does_not_come_is_a_408_and_the_connection_is_closed(
    here: Running,
) -> None:
    answer = await (await here.unfinished()).rest()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close\r\n" in answer
    assert b'"code":"request.too_slow"' in answer


async def test_a_chunked_body_that_does_not_end_is_a_408(here: Running) -> None:
    caller = await here.call("POST /forms HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1\na\n")
    assert (await caller.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_head_that_does_not_come_ends_with_the_connection(here: Running) -> None:
    assert await (await here.call("GET /health HTTP/1.1\nHost: x\nA: ")).is_cut_off()


async def test_a_head_has_a_size(here: Running) -> None:
    answer = await here.ask("GET /health", f"A: {'a' * 200_000}\n")
    assert not answer.startswith(b"HTTP/1.1 200")


async def test_many_unfinished_bodies_of_one_address_harm_nobody_else(here: Running) -> None:
    waited_for = [await here.unfinished() for _ in range(3)]
    refused = [
        await here.call(
            "POST /forms HTTP/1.1\nHost: x\nX-Forwarded-For: 9.9.9.9\nContent-Length: 9\n\na"
        )
        for _ in range(20)
    ]
    for caller in refused:
        answer = await caller.rest()
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b'"code":"request.too_many_unfinished"' in answer
        assert b"connection: close\r\n" in answer
    assert (await here.ask("GET /health")).startswith(b"HTTP/1.1 200 ")
    same, other = "X-Forwarded-For: 9.9.9.9\n", "X-Forwarded-For: 8.8.8.8\n"
    for headers in (same, other):
        assert b'{"data":9}' in await here.ask("POST /forms", headers, "abcdefghi")
    for caller in waited_for:
        assert (await caller.rest()).startswith(b"HTTP/1.1 408 ")


async def test_many_unfinished_bodies_of_many_addresses_leave_room_for_whole_ones(
    here: Running,
) -> None:
    for number in range(5):
        await here.unfinished(f"9.9.9.{number}")
    answer = await (await here.unfinished("8.8.8.8")).rest()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"service.busy"' in answer
    assert b"retry-after: 10\r\n" in answer
    assert b'{"data":9}' in await here.ask("POST /forms", body="abcdefghi")


async def test_who_is_unfinished_when_the_server_stops_is_told_so(
    database_url: str, redis_url: str
) -> None:
    slow = BodyLimits(seconds=60)
    async with running(database_url, redis_url, bodies=slow) as here:
        form, head = await here.unfinished(), await here.call("GET /health HTTP/1.1\nA: ")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 2
    answer = await form.rest()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"service.stopping"' in answer
    assert await head.is_cut_off()


async def workspaces(here: Running) -> int:
    return await here.stage.database.reader.value(
        "SELECT count(*) FROM workspaces WHERE org_id = $1", here.org_id
    )


async def test_a_write_that_outlasts_the_drain_is_cut_and_rolled_back(
    database_url: str, redis_url: str
) -> None:
    async with running(database_url, redis_url) as here:
        caller = await here.call(f"POST /notes HTTP/1.1\nHost: x\nContent-Length: 0\n{SIGNED_IN}\n")
        await here.stage.begun.wait()
        draining = asyncio.create_task(caller.rest())
    assert (await draining).startswith(b"HTTP/1.1 503 ")
    async with running(database_url, redis_url) as there:
        there.org_id = here.org_id
        assert await workspaces(there) == 0


async def test_a_write_that_ends_within_the_drain_is_answered(
    database_url: str, redis_url: str
) -> None:
    async with running(database_url, redis_url, limits=ServerLimits(drain_seconds=5)) as here:
        caller = await here.call(f"POST /notes HTTP/1.1\nHost: x\nContent-Length: 0\n{SIGNED_IN}\n")
        await here.stage.begun.wait()
        asyncio.get_running_loop().call_later(0.2, here.stage.go_on.set)
    assert (await caller.rest()).startswith(b"HTTP/1.1 201 ")


async def opened(here: Running, path: str = "/stream") -> Caller:
    caller = await here.call(f"GET {path} HTTP/1.1\nHost: x\n{SIGNED_IN}\n")
    here.stage.parts.put_nowait(b"first")
    await caller.until(b"first")
    return caller


async def test_a_stream_is_sent_as_it_comes_and_ends_with_its_parts(here: Running) -> None:
    caller = await here.call(f"GET /stream HTTP/1.1\nHost: x\n{SIGNED_IN}\n")
    here.stage.parts.put_nowait(b"first")
    head = await caller.until(b"\r\n\r\n")
    assert b"content-type: text/event-stream\r\n" in head
    assert b"content-length" not in head
    assert b"x-request-id" in head
    assert await caller.until(b"first1\r\n") == b"6\r\nfirst1\r\n"
    here.stage.parts.put_nowait(b"second")
    assert await caller.until(b"second1\r\n") == b"7\r\nsecond1\r\n"
    here.stage.parts.put_nowait(b"end")
    assert await caller.until(b"\r\n\r\n") == b"0\r\n\r\n"


async def test_open_streams_hold_no_connection_and_are_no_work_in_flight(
    database_url: str, redis_url: str
) -> None:
    async with running(database_url, redis_url, pool=1) as here:
        for _ in range(5):
            caller = await here.call(f"GET /stream HTTP/1.1\nHost: x\n{SIGNED_IN}\n")
            await caller.until(b"\r\n\r\n")
            here.stage.parts.put_nowait(b"part")
        await eventually(here.stage.parts.empty)
        assert here.application.in_flight == 0
        assert len(here.application._streams) == 5
        async with asyncio.timeout(1):
            assert await workspaces(here) == 0


async def test_a_stream_ends_when_the_caller_hangs_up(here: Running) -> None:
    (await opened(here)).hang_up()
    async with asyncio.timeout(5):
        await here.stage.ended.wait()
    await eventually(lambda: len(here.application._streams) == 0)


@pytest.mark.parametrize("path", ["/stream", "/guest/events"])
async def test_a_stream_ends_within_a_second_of_its_token(here: Running, path: str) -> None:
    caller = await here.call(f"GET {path} HTTP/1.1\nHost: x\n{SIGNED_IN}\n")
    here.stage.parts.put_nowait(b"first")
    await caller.until(b"first1\r\n" if path == "/stream" else b"0\n\r\n")
    await asyncio.sleep(0.7)
    assert not here.stage.ended.is_set()
    here.stage.tokens.clear()
    async with asyncio.timeout(1):
        assert await caller.until(b"0\r\n\r\n") == b"0\r\n\r\n"
    assert here.stage.ended.is_set()


@pytest.mark.parametrize("path", ["/stream", "/guest/events"])
async def test_a_stream_ends_at_once_when_the_server_stops(
    database_url: str, redis_url: str, path: str
) -> None:
    async with running(database_url, redis_url, limits=ServerLimits(drain_seconds=30)) as here:
        caller = await here.call(f"GET {path} HTTP/1.1\nHost: x\n{SIGNED_IN}\n")
        here.stage.parts.put_nowait(b"first")
        await caller.until(b"first1\r\n" if path == "/stream" else b"0\n\r\n")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 2
    assert (await caller.rest()).endswith(b"0\r\n\r\n")


async def test_a_stream_that_breaks_has_no_end(here: Running) -> None:
    caller = await opened(here)
    here.stage.parts.put_nowait(b"break")
    assert b"0\r\n\r\n" not in await caller.rest()


async def test_head_of_a_stream_opens_none(here: Running) -> None:
    answer = await here.ask("HEAD /stream", SIGNED_IN)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(here.application._streams) == 0


async def test_the_longest_prefix_is_served_by_its_application(here: Running) -> None:
    for path, said in (
        ("/guest/a/b", b"guest /a/b MEMBER 0"),
        ("/guest", b"guest  MEMBER 0"),
        ("/guest/house/a", b"house /a MEMBER 0"),
        ("/guest/housed", b"guest /housed MEMBER 0"),
    ):
        assert said in await here.ask(f"GET {path}", SIGNED_IN)
    assert b"house / None 0" in await here.ask("GET /guest/house/")
    assert (await here.ask("GET /guests", SIGNED_IN)).startswith(b"HTTP/1.1 404 ")


async def test_a_mounted_application_is_behind_our_bearer_check(here: Running) -> None:
    assert (await here.ask("GET /guest/a")).startswith(b"HTTP/1.1 401 ")
    answer = await here.ask("POST /guest/a", SIGNED_IN, "abc")
    assert b"guest /a MEMBER 3" in answer
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert re.findall(rb"cache-control: (.*?)\r\n", head) == [b"max-age=5"]
    for name in (b"x-request-id", b"x-content-type-options", b"ratelimit"):
        assert b"\r\n%s: " % name in head


async def test_the_body_of_a_mounted_application_has_limits_too(here: Running) -> None:
    assert (await here.ask("POST /guest/a", SIGNED_IN, "a" * 1001)).startswith(b"HTTP/1.1 413 ")
    caller = await here.call(f"POST /guest/a HTTP/1.1\nHost: x\n{SIGNED_IN}Content-Length: 9\n\na")
    assert (await caller.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_mounted_application_at_work_is_waited_for(
    database_url: str, redis_url: str
) -> None:
    async with running(database_url, redis_url, limits=ServerLimits(drain_seconds=5)) as here:
        caller = await here.call(f"GET /guest/slow HTTP/1.1\nHost: x\n{SIGNED_IN}\n")
        await here.stage.begun.wait()
        assert here.application.in_flight == 1
        asyncio.get_running_loop().call_later(0.2, here.stage.go_on.set)
    assert b"over" in await caller.rest()


async def test_a_port_that_cannot_be_had_is_one_sentence(here: Running) -> None:
    with pytest.raises(CannotRun, match=r"^port 80 of 203\.0\.113\.1 cannot be served: "):
        async with server.listening(here.application, host="203.0.113.1", port=80) as serving:
            await serving

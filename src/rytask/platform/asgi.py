"""The ASGI application: what happens to every request, in one order.

Find the route, authenticate, check the permission, count against the rate limit, decode, open the
unit of work, run, encode, commit, answer. See docs/adr/0003-http.md for why this is ours.
"""

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
import structlog

from rytask.platform import decoding, problems, telemetry
from rytask.platform.auth import Bearers
from rytask.platform.bodies import Bodies, Receive
from rytask.platform.db import RETRYABLE
from rytask.platform.environment import Network
from rytask.platform.errors import (
    Forbidden,
    Refused,
    Stopping,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from rytask.platform.http import Answer, Headers, Request, Route, Routes, Stream, Throttle
from rytask.platform.idempotency import (
    Overtaken,
    Replay,
    Replays,
    Scope,
    fingerprint,
    parse_key,
)
from rytask.platform.rate_limit import Limiter
from rytask.platform.routing import Endpoint, Router
from rytask.platform.streaming import Mounted, OpenStreams, Send, StillValid, merged
from rytask.platform.work import Actor, Work

log = structlog.get_logger("http")


class Limits(msgspec.Struct, frozen=True):
    """Requests allowed per window of so many seconds."""

    requests: int
    window: int


class Application:
    """The routes of these modules, served."""

    def __init__(
        self,
        modules: Iterable[Routes],
        *,
        work: Work,
        bearers: Bearers,
        limiter: Limiter,
        replays: Replays,
        limits: Mapping[Throttle, Limits],
        provide: Mapping[type, object],
        mounts: Iterable[Route] = (),
        bodies: Bodies | None = None,
        trusted_proxies: Iterable[Network] = (),
        cors_origins: frozenset[str] = frozenset(),
    ) -> None:
        self.routes = [route for module in modules for route in module.routes]
        self._work, self._bearers, self._limiter = work, bearers, limiter
        self._replays, self._limits, self._cors = replays, dict(limits), cors_origins
        self._proxies = list(trusted_proxies)
        self._router = Router(self.routes, provide, mounts)
        self._bodies, self._streams = bodies or Bodies(), OpenStreams()
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._cutting = False

    @property
    def in_flight(self) -> int:
        """How many requests are being answered. Open streams do not count."""
        return len(self._in_flight)

    def drain(self) -> None:
        """End the streams; requests in flight come to their own end."""
        self._streams.stop()

    def cut(self) -> None:
        """End the requests in flight, too. Their transactions are rolled back."""
        self._cutting = True
        for task in self._in_flight:
            task.cancel()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await _decline(scope, receive, send)
        request = Request(scope, receive, self._bodies)
        headers: Headers = [(b"x-request-id", request.id.encode()), *_ALWAYS]
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a server runs each request in one
        self._in_flight.add(task)
        try:
            answer = await self._answered(request, headers, scope, receive, send, task)
            if answer is None:
                return  # by a mounted application, and sent
            self._count(request, answer.status)
            head = request.method == "HEAD"
            await _send(answer, headers, send, head=head)
            if isinstance(answer, Stream) and not head:
                self._in_flight.discard(task)
                await self._streams.send(answer, receive, send, self._is_let_in(request))
        except ConnectionResetError:
            return
        finally:
            self._in_flight.discard(task)

    async def _answered(
        self,
        request: Request,
        headers: Headers,
        scope: Mapping[str, Any],
        receive: Receive,
        send: Send,
        task: "asyncio.Task[None]",
    ) -> Answer | None:
        """Whatever goes wrong is an answer, too."""
        try:
            self._cors_headers(request, headers)
            if request.method == "OPTIONS" and b"access-control-request-method" in request.headers:
                return Answer(status=204, headers=_PREFLIGHT)
            request.ip = self._address(scope, request)
            endpoint, values = self._router.find(request)
            request.route = endpoint.route
            if not endpoint.route.mounted:
                return await self._answer(endpoint, values, request, headers)
            await self._admit(endpoint.route, request, headers)
            mounted = Mounted(
                endpoint.route,
                request,
                scope,
                headers,
                on_start=partial(self._count, request),
                on_stream=partial(self._in_flight.discard, task),
            )
            return await self._streams.pass_on(mounted, receive, send, self._is_let_in(request))
        except asyncio.CancelledError:
            if not self._cutting:
                raise
            task.uncancel()
            return problems.refusal(Stopping(), request)
        except ConnectionResetError:
            raise
        except Exception as error:
            return _refusal(error, request)

    def _count(self, request: Request, status: int) -> None:
        if (route := request.route) is not None:
            seconds = time.perf_counter() - request.started
            telemetry.count_answer(route.path, route.method, status, seconds)

    def _is_let_in(self, request: Request) -> StillValid:
        """A question for open streams: would the caller be let in again, as the same actor?"""

        async def is_let_in() -> bool:
            if request.actor is None:
                return True
            try:
                token = _bearer(request.headers.get(b"authorization"))
                return await self._bearers.authenticate(token) == request.actor
            except Unauthenticated:
                return False
            except (TooMany, Unavailable):
                return True

        return is_let_in

    def _address(self, scope: Mapping[str, Any], request: Request) -> str:
        """The caller's address: behind trusted proxies, the nearest one that is not a proxy."""
        client = scope.get("client")
        address: str = client[0] if client else ""
        forwarded = request.headers.get(b"x-forwarded-for")
        if not self._proxies or forwarded is None:
            return address
        hops = [_without_port(hop.strip()) for hop in forwarded.decode("latin-1").split(",")]
        while hops and self._is_proxy(address):
            address = hops.pop()
        return address

    def _is_proxy(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._proxies)

    async def _answer(
        self, endpoint: Endpoint, values: list[str], request: Request, headers: Headers
    ) -> Answer:
        route = endpoint.route
        actor = await self._admit(route, request, headers)
        arguments = decoding.path(endpoint, values) if values else {}
        if endpoint.query is not None:
            arguments["query"] = decoding.query(request.query, endpoint.query)
        if endpoint.body is not None:
            arguments["data"] = decoding.body(
                endpoint.body, request, await request.body(route.max_body)
            )
        if "request" in route.parameters:
            arguments["request"] = request
        arguments.update(endpoint.provided)
        if "ctx" not in route.parameters:
            return self._encode(route, await route.run(**arguments), request)
        assert actor is not None  # noqa: S101 - a ctx without a permission is refused at start
        if not route.writes:
            return self._encode(
                route, await route.run(self._work.reading(actor), **arguments), request
            )
        return await self._write(route, actor, arguments, request)

    async def _admit(self, route: Route, request: Request, headers: Headers) -> Actor | None:
        """Authenticate, check the permission and count: in this order of what the caller learns."""
        authorization = request.headers.get(b"authorization")
        refused: Refused | None = None
        if authorization is not None or route.permission is not None:
            try:
                request.actor = await self._bearers.authenticate(_bearer(authorization))
            except Unauthenticated as error:
                if route.permission is not None:
                    refused = error
        actor = request.actor
        if route.throttle != "none":
            limits = self._limits[route.throttle]
            verdict = await self._limiter.check(
                f"{route.throttle}:{actor.user_id if actor else request.network}",
                limits.requests,
                limits.window,
            )
            headers += verdict.headers(route.throttle)
            if not verdict.allowed:
                raise TooMany(
                    f"Too many requests: {limits.requests} in {limits.window} seconds are allowed.",
                    retry_after=verdict.retry_after,
                )
        if refused is not None:
            raise refused
        if route.permission is not None and (
            actor is None or route.permission not in actor.permissions
        ):
            raise Forbidden("Your role, or the scopes of this token, do not allow this.")
        return actor

    async def _write(
        self, route: Route, actor: Actor, arguments: dict[str, Any], request: Request
    ) -> Answer:
        sent = request.header(b"idempotency-key") if route.keyed else None
        key = None if sent is None else parse_key(sent)
        for _ in range(_TRIES - 1):
            try:
                return await self._write_once(route, actor, arguments, request, key)
            except (*RETRYABLE, Overtaken):
                continue
        return await self._write_once(route, actor, arguments, request, key)

    async def _write_once(
        self,
        route: Route,
        actor: Actor,
        arguments: dict[str, Any],
        request: Request,
        key: str | None,
    ) -> Answer:
        if key is None:
            async with self._work.writing(actor) as ctx:
                return self._encode(route, await route.run(ctx, **arguments), request)
        scope = Scope(
            org_id=actor.org_id,
            # A token is a principal of its own: it may do less than its owner, and sees no more.
            principal_id=actor.token_id or actor.me,
            route=f"{route.method} {route.path}",
            key=key,
        )
        request_fingerprint = fingerprint(
            request.method,
            request.path,
            request.query.decode("latin-1"),
            request.header(b"content-type") or "",
            await request.body(route.max_body),
        )
        replay = await self._replays.cached(scope, request_fingerprint)
        if replay is not None:
            return _replayed(replay)
        async with self._work.writing(actor) as ctx:
            replay = await self._replays.claim(ctx.db, scope, request_fingerprint)
            if replay is not None:
                return _replayed(replay)
            answer = self._encode(route, await route.run(ctx, **arguments), request)
            replay = Replay(answer.status, answer.body)
            await self._replays.store(ctx.db, scope, request_fingerprint, replay)
        await self._replays.remember(scope, request_fingerprint, replay)
        return answer

    def _encode(self, route: Route, result: object, request: Request) -> Answer:
        if isinstance(result, Answer):
            return result
        if result is None:
            return Answer(status=route.status)
        body = msgspec.json.encode(result)
        if route.method != "GET":
            return Answer(body, status=route.status)
        tag = b'W/"%s"' % hashlib.sha256(body).hexdigest()[:18].encode()
        if request.headers.get(b"if-none-match") == tag:
            return Answer(status=304, headers=[(b"etag", tag)])
        return Answer(body, status=route.status, headers=[(b"etag", tag)])

    def _cors_headers(self, request: Request, headers: Headers) -> None:
        origin = request.headers.get(b"origin")
        if origin is not None and ("*" in self._cors or origin.decode("latin-1") in self._cors):
            headers += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"origin"),
            ]


_TRIES = 3
_ALWAYS: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_EXPOSED = b"x-request-id, ratelimit, ratelimit-policy, retry-after, etag, idempotent-replayed"
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, POST, PATCH, PUT, DELETE"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, idempotency-key, x-request-id",
    ),
    (b"access-control-max-age", b"600"),
]


def _without_port(hop: str) -> str:
    """`1.2.3.4:5678` and `[::1]:5678`, as some proxies write an address, without the port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _replayed(replay: Replay) -> Answer:
    return Answer(replay.body, status=replay.status, headers=[(b"idempotent-replayed", b"true")])


def _bearer(authorization: bytes | None) -> str:
    scheme, _, token = (authorization or b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > 4096:
        raise Unauthenticated("Send `Authorization: Bearer <token>`.")
    return token.strip()


def _refusal(error: Exception, request: Request) -> Answer:
    # Not the path: an invitation's has its token, and any may have control characters.
    route = request.route and request.route.path
    if not isinstance(error, Refused):
        log.exception("request.failed", request_id=request.id, route=route)
        return problems.failure(request)
    if isinstance(error, Unavailable):
        log.warning(
            "request.unavailable",
            request_id=request.id,
            route=route,
            why=error.message,
            error=str(error.__cause__ or ""),
        )
    return problems.refusal(error, request)


async def _send(answer: Answer, headers: Headers, send: Send, *, head: bool) -> None:
    streamed = isinstance(answer, Stream)
    if answer.status not in (204, 304):
        headers.append((b"content-type", answer.media))
        if not streamed:
            headers.append((b"content-length", str(len(answer.body)).encode()))
    if answer.headers:
        headers = merged(headers, answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if head or not streamed:
        body = b"" if head else answer.body
        await send({"type": "http.response.body", "body": body, "more_body": False})


async def _decline(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """There is nothing here for a WebSocket; a lifespan has nothing to do."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return

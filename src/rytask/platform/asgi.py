"""The ASGI application: what happens to every request, in one order.

Find the route, authenticate, count against the rate limit, check the permission, decode, let the
executor run it, answer. See docs/adr/0003-http.md for why this is ours.
"""

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import structlog

from rytask.platform import decoding, problems, telemetry
from rytask.platform.auth import Bearers
from rytask.platform.bodies import Bodies, Receive
from rytask.platform.environment import Network
from rytask.platform.errors import (
    Refused,
    Stopping,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from rytask.platform.executor import Executor, Key
from rytask.platform.http import JSON, Answer, Headers, Mount, Request, Route, Stream
from rytask.platform.idempotency import fingerprint, parse_key
from rytask.platform.operations import Outcome, require_permission
from rytask.platform.routing import Router
from rytask.platform.streaming import Mounted, OpenStreams, Send, StillValid, merged
from rytask.platform.work import Actor

log = structlog.get_logger("http")


class Application:
    """The routes of these modules, served."""

    def __init__(
        self,
        routes: Iterable[Route],
        executor: Executor,
        bearers: Bearers,
        *,
        mounts: Iterable[Mount] = (),
        bodies: Bodies | None = None,
        trusted_proxies: Iterable[Network] = (),
        cors_origins: frozenset[str] = frozenset(),
    ) -> None:
        self._executor, self._bearers, self._cors = executor, bearers, cors_origins
        self._proxies = list(trusted_proxies)
        self._router = Router(routes, mounts)
        self._bodies, self._streams = bodies or Bodies(), OpenStreams()
        self._in_flight: set[asyncio.Task[Any]] = set()
        self._cutting = False

    @property
    def in_flight(self) -> int:
        """The number of requests being answered. Open streams do not count."""
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
    ) -> Outcome | None:
        """Answer a request, also when it fails."""
        try:
            self._cors_headers(request, headers)
            if request.method == "OPTIONS" and b"access-control-request-method" in request.headers:
                return Answer(status=204, headers=_PREFLIGHT)
            request.ip = self._address(scope, request)
            route, values = self._router.find(request)
            request.route = route
            if isinstance(route, Route):
                return await self._answer(route, values, request, headers)
            await self._admit(route, request, headers)
            mounted = Mounted(
                route,
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
                return (
                    await self._bearers.authenticate(token, request.client.network) == request.actor
                )
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
        self, route: Route, values: list[str], request: Request, headers: Headers
    ) -> Outcome:
        actor = await self._admit(route, request, headers)
        arguments = decoding.path(route, values) if values else {}
        if route.query_type is not None:
            arguments["query"] = decoding.query(request.query, route.query_type)
        if route.body_decoder is not None:
            _require_json(request)
            sent = await request.body(route.max_body)
            arguments["data"] = decoding.body(route.body_decoder, sent)
        if route.takes_request:
            arguments["request"] = request
        outcome = await self._executor.execute(
            route,
            actor,
            arguments,
            client=request.client if route.takes_client else None,
            key=await _key(route, request) if route.keyed else None,
        )
        if outcome.replayed:
            headers.append((b"idempotent-replayed", b"true"))
        elif route.method == "GET" and not isinstance(outcome, Answer):
            tag = b'W/"%s"' % hashlib.sha256(outcome.body).hexdigest()[:18].encode()
            headers.append((b"etag", tag))
            if request.headers.get(b"if-none-match") == tag:
                return Outcome(status=304)
        return outcome

    async def _admit(
        self, route: Route | Mount, request: Request, headers: Headers
    ) -> Actor | None:
        """Authenticate, count, and check the permission: nothing is read for whoever lacks it."""
        authorization = request.headers.get(b"authorization")
        network = request.client.network
        refused: Unauthenticated | TooMany | None = None
        actor: Actor | None = None
        if authorization is not None or route.permission is not None:
            try:
                token = _bearer(authorization)
                actor = request.actor = await self._bearers.authenticate(token, network)
            except (Unauthenticated, TooMany) as error:
                refused = error
        if route.throttle != "none":
            # On open routes everybody is a stranger: another bearer must not be another allowance.
            caller = actor.user_id if actor and route.permission is not None else network
            verdict = await self._executor.count(route.throttle, caller)
            headers += verdict.headers(route.throttle)
            verdict.require_allowed()
        if route.permission is not None:
            if refused is not None:
                raise refused
            require_permission(actor, route.permission)
        return actor

    def _cors_headers(self, request: Request, headers: Headers) -> None:
        origin = request.headers.get(b"origin")
        if origin is not None and ("*" in self._cors or origin.decode("latin-1") in self._cors):
            headers += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"origin"),
            ]


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


async def _key(route: Route, request: Request) -> Key | None:
    sent = request.header(b"idempotency-key")
    if sent is None:
        return None
    return Key(
        parse_key(sent),
        f"{route.method} {route.path}",
        fingerprint(
            request.method,
            request.path,
            request.query.decode("latin-1"),
            request.header(b"content-type") or "",
            await request.body(route.max_body),
        ),
    )


def _require_json(request: Request) -> None:
    media = request.headers.get(b"content-type", JSON).split(b";")[0].strip().lower()
    if media != JSON and not media.endswith(b"+json"):
        raise UnsupportedMedia("Send the body as application/json.")


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


async def _send(answer: Outcome, headers: Headers, send: Send, *, head: bool) -> None:
    special = answer if isinstance(answer, Answer) else None
    streamed = isinstance(answer, Stream)
    if answer.status not in (204, 304):
        headers.append((b"content-type", special.media if special else JSON))
        if not streamed:
            headers.append((b"content-length", str(len(answer.body)).encode()))
    if special and special.headers:
        headers = merged(headers, special.headers)
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

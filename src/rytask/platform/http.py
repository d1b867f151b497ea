"""HTTP: routes declare what they need, and this module does the rest, the same way for each.

A route is a function. Its parameters say what it gets: `ctx: Reading` or `ctx: Writing` (a unit of
work of the caller), `data` (the JSON body), `query` (the query string), path parameters by name,
and anything that the composition root provides, by type. Its return type is the answer.

In order: find the route, authenticate, check the permission, count against the rate limit, decode,
open the unit of work, run, encode, commit, answer. See docs/adr/0003-http.md for why this is ours.
"""

import hashlib
import inspect
import ipaddress
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar, get_type_hints
from urllib.parse import parse_qsl

import msgspec
import structlog

from rytask.platform import telemetry
from rytask.platform.auth import Bearers
from rytask.platform.db import RETRYABLE
from rytask.platform.errors import (
    Forbidden,
    Malformed,
    NotFound,
    Refused,
    TooLarge,
    TooMany,
    Unauthenticated,
    UnsupportedMedia,
)
from rytask.platform.idempotency import (
    Overtaken,
    Replay,
    Replays,
    Scope,
    fingerprint,
    parse_key,
)
from rytask.platform.rate_limit import Limiter
from rytask.platform.settings import Network
from rytask.platform.work import Actor, Work, Writing

log = structlog.get_logger("http")
T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Awaitable[object]])
Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Throttle = Literal["default", "auth", "none"]
Headers = list[tuple[bytes, bytes]]

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"
_MAX_BODY = 100 * 1024


class Data(msgspec.Struct, Generic[T], frozen=True):
    """The envelope of one thing, or of a short list."""

    data: T


class PageInfo(msgspec.Struct, frozen=True, rename="camel"):
    next_cursor: str | None
    has_next_page: bool


class Page(msgspec.Struct, Generic[T], frozen=True, rename="camel"):
    """One page of a longer list. Pass `pageInfo.nextCursor` as `cursor` to go on."""

    data: list[T]
    page_info: PageInfo


class Body(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """What a caller sends. Unknown fields are refused."""


class Query(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """What a caller asks for in the query string. Unknown parameters are refused."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9457, with the members that older clients read. `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    status_code: int
    error: str
    message: str | list[str]


class Answer:
    """An answer that is not JSON with the route's usual status: a redirect, a page, a probe."""

    __slots__ = ("body", "headers", "media", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media: bytes = _JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.body, self.status, self.media, self.headers = body, status, media, list(headers)

    @classmethod
    def json(cls, content: object, status: int = 200) -> "Answer":
        return cls(msgspec.json.encode(content), status=status)


class Request:
    """One request, as far as a route may want to look at it itself."""

    __slots__ = ("_body", "_receive", "actor", "headers", "id", "ip", "method", "path", "query")

    def __init__(self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.actor: Actor | None = None
        self.id = _request_id(self.headers.get(b"x-request-id"))
        self.ip = ""
        self._receive = receive
        self._body: bytes | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value (its lower-case name), or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def network(self) -> str:
        """Whom the address stands for: with IPv6, one customer has a whole /64 of them."""
        if ":" in self.ip:
            with suppress(ValueError):
                return str(ipaddress.IPv6Network((self.ip, 64), strict=False))
        return self.ip

    async def body(self, limit: int = _MAX_BODY) -> bytes:
        """The whole body. Raises TooLarge past `limit` bytes."""
        if self._body is None:
            declared = self.headers.get(b"content-length", b"0")
            if declared.isdigit() and int(declared) > limit:
                raise _too_large(limit)
            chunks = bytearray()
            more = True
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                chunks += message.get("body", b"")
                more = message.get("more_body", False)
                if len(chunks) > limit:
                    raise _too_large(limit)
            self._body = bytes(chunks)
        return self._body


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit // 1024} KiB.")


def _request_id(given: bytes | None) -> str:
    if given is not None and re.fullmatch(rb"[\w.:-]{1,128}", given):
        return given.decode("ascii")
    return f"{random.getrandbits(64):016x}"


class Route(msgspec.Struct, kw_only=True):
    """What a route declares, and what follows from its function's signature."""

    method: Method
    path: str
    operation_id: str
    permission: str | None
    """What the caller needs. None: open to everybody."""
    status: int
    throttle: Throttle
    max_body: int
    tag: str
    run: Callable[..., Awaitable[object]]
    parameters: dict[str, Any]
    returns: Any
    doc: str
    hidden: bool

    @property
    def writes(self) -> bool:
        return self.parameters.get("ctx") is Writing

    @property
    def keyed(self) -> bool:
        """Whether `Idempotency-Key` is honoured."""
        return self.writes and self.method in ("POST", "PATCH")


class Routes:
    """The routes of one module, under one prefix."""

    def __init__(self, tag: str, prefix: str = "/api/v1") -> None:
        self.tag, self.prefix = tag, prefix
        self.routes: list[Route] = []

    def route(
        self,
        method: Method,
        path: str,
        *,
        permission: str | None,
        operation_id: str,
        status: int | None = None,
        throttle: Throttle = "default",
        max_body: int = _MAX_BODY,
        hidden: bool = False,
    ) -> Callable[[Function], Function]:
        """Declare a route. `permission` is what the caller needs; None opens it to everybody.

        `status` is 201 for POST, 204 for a function that returns None, else 200, unless given.
        """

        def declare(function: Function) -> Function:
            hints = get_type_hints(function, include_extras=True)
            returns = hints.pop("return", None)
            usual = 204 if returns is type(None) else 201 if method == "POST" else 200
            self.routes.append(
                Route(
                    method=method,
                    path=self.prefix + path,
                    operation_id=operation_id,
                    permission=permission,
                    status=status or usual,
                    throttle=throttle,
                    max_body=max_body,
                    tag=self.tag,
                    run=function,
                    parameters=hints,
                    returns=returns,
                    doc=inspect.getdoc(function) or "",
                    hidden=hidden,
                )
            )
            return function

        return declare


class _Node:
    """One segment of the paths: the next by name, or by parameter."""

    __slots__ = ("by_name", "by_parameter", "endpoints")

    def __init__(self) -> None:
        self.by_name: dict[str, _Node] = {}
        self.by_parameter: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}


class Endpoint:
    """A route made ready: its decoders built, its providers found."""

    __slots__ = ("body", "path", "path_names", "provided", "query", "route")

    def __init__(self, route: Route, provide: Mapping[type, object]) -> None:
        self.route = route
        self.path_names = re.findall(r"{(\w+)}", route.path)
        # msgspec remembers what it knows of a struct, and of nothing else.
        self.path = msgspec.defstruct(
            "Path", [(name, route.parameters[name]) for name in self.path_names]
        )
        data = route.parameters.get("data")
        self.body = None if data is None else msgspec.json.Decoder(data, strict=True)
        self.query = route.parameters.get("query")
        known = {"ctx", "data", "query", "request", *self.path_names}
        self.provided = {
            name: provide[wanted] for name, wanted in route.parameters.items() if name not in known
        }


class Limits(msgspec.Struct, frozen=True):
    """Requests allowed per window of so many seconds."""

    requests: int
    window: int


class Application:
    """The ASGI application."""

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
        trusted_proxies: Iterable[Network] = (),
        cors_origins: frozenset[str] = frozenset(),
    ) -> None:
        self.routes = [route for module in modules for route in module.routes]
        self._work, self._bearers, self._limiter = work, bearers, limiter
        self._replays, self._limits, self._cors = replays, dict(limits), cors_origins
        self._proxies = list(trusted_proxies)
        self._root = _Node()
        self.in_flight = 0
        self.draining = False
        for route in self.routes:
            node = self._root
            for segment in route.path.split("/")[1:]:
                if segment.startswith("{"):
                    node.by_parameter = node.by_parameter or _Node()
                    node = node.by_parameter
                else:
                    node = node.by_name.setdefault(segment, _Node())
            node.endpoints[route.method] = Endpoint(route, provide)

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await _decline(scope, receive, send)
        started = time.perf_counter()
        self.in_flight += 1
        request = Request(scope, receive)
        headers: Headers = [(b"x-request-id", request.id.encode()), *_ALWAYS]
        endpoint: Endpoint | None = None
        try:
            self._cors_headers(request, headers)
            if request.method == "OPTIONS" and b"access-control-request-method" in request.headers:
                answer = Answer(status=204, headers=_PREFLIGHT)
            else:
                request.ip = self._address(scope, request)
                endpoint, values = self._find(request)
                answer = await self._answer(endpoint, values, request, headers)
        except Refused as refused:
            answer = _refuse(refused, request)
        except ConnectionResetError:
            self.in_flight -= 1
            return None
        except Exception:
            log.exception("request.failed", request_id=request.id, path=request.path)
            answer = _problem(
                500,
                "Internal Server Error",
                "Something broke on our side; it was logged with this request id.",
                "internal",
                request,
            )
        try:
            await _send(answer, headers, send, head=request.method == "HEAD")
        finally:
            self.in_flight -= 1
            if endpoint is not None:
                telemetry.answered(
                    endpoint.route.path,
                    endpoint.route.method,
                    answer.status,
                    time.perf_counter() - started,
                )
        return None

    def _find(self, request: Request) -> tuple[Endpoint, list[str]]:
        node, values = self._root, []
        for segment in request.path.split("/")[1:]:
            following = node.by_name.get(segment)
            if following is None:
                following = node.by_parameter
                values.append(segment)
            if following is None:
                raise NotFound(f"There is no route {request.method} {request.path[:200]}.")
            node = following
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = node.endpoints.get(method)
        if endpoint is None:
            if not node.endpoints:
                raise NotFound(f"There is no route {request.method} {request.path[:200]}.")
            raise MethodNotAllowed(sorted(node.endpoints))
        return endpoint, values

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
        arguments = _path(endpoint, values) if values else {}
        if endpoint.query is not None:
            arguments["query"] = _query(request.query, endpoint.query)
        if endpoint.body is not None:
            arguments["data"] = _decode(endpoint.body, request, await request.body(route.max_body))
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
        print_ = fingerprint(
            request.method,
            request.path,
            request.query.decode("latin-1"),
            request.header(b"content-type") or "",
            await request.body(route.max_body),
        )
        replay = await self._replays.cached(scope, print_)
        if replay is not None:
            return _replayed(replay)
        async with self._work.writing(actor) as ctx:
            replay = await self._replays.claim(ctx.db, scope, print_)
            if replay is not None:
                return _replayed(replay)
            answer = self._encode(route, await route.run(ctx, **arguments), request)
            replay = Replay(answer.status, answer.body)
            await self._replays.store(ctx.db, scope, print_, replay)
        await self._replays.remember(scope, print_, replay)
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


class MethodNotAllowed(Refused):
    status = 405
    title = "Method Not Allowed"
    code = "request.method_not_allowed"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"This path takes {', '.join(allowed)}.")
        self.allowed = allowed


def _bearer(authorization: bytes | None) -> str:
    if authorization is None:
        raise Unauthenticated("Send `Authorization: Bearer <token>`.")
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > 4096:
        raise Unauthenticated("Send `Authorization: Bearer <token>`.")
    return token.strip()


def _path(endpoint: Endpoint, values: list[str]) -> dict[str, Any]:
    names = endpoint.path_names
    try:
        path = msgspec.convert(dict(zip(names, values, strict=True)), endpoint.path, strict=False)
    except msgspec.ValidationError as error:
        name = _located(str(error)).partition(":")[0]
        raise Malformed(f"{name}: this is not an id.", problems=[f"{name}: not an id"]) from None
    return {name: getattr(path, name) for name in names}


def _query(raw: bytes, wanted: Any) -> Any:
    values: dict[str, str] = {}
    if raw:
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50
            )
        except ValueError:
            raise Malformed("The query string cannot be read.") from None
        for name, value in pairs:
            if name in values:
                raise _problems(f"{_cut(name)}: given twice")
            if "\x00" in value:
                raise _problems(f"{_cut(name)}: has a NUL character", code="request.nul")
            values[name] = value
    try:
        return msgspec.convert(values, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise _problems(_located(str(error))) from None


def _decode(decoder: "msgspec.json.Decoder[Any]", request: Request, body: bytes) -> Any:
    media = request.headers.get(b"content-type", _JSON).split(b";")[0].strip().lower()
    if media != _JSON and not media.endswith(b"+json"):
        raise UnsupportedMedia("Send the body as application/json.")
    try:
        json.loads(body, object_pairs_hook=_unique)
        if b"\\u0000" in body and re.search(rb"(?<!\\)(?:\\\\)*\\u0000", body):
            raise _problems("text has a NUL character", code="request.nul")
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _problems(_located(str(error))) from None
    except (ValueError, RecursionError) as error:
        raise Malformed(
            f"The body is not JSON that we can read: {_short(error)}.", code="request.bad_json"
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> None:
    """A member named twice is refused: two readers would understand it in two ways."""
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a member is given twice")


def _short(error: Exception) -> str:
    return str(error)[:200].rstrip(".") if isinstance(error, ValueError) else "nested too deeply"


def _located(message: str) -> str:
    """msgspec's "what - at `$.path`" as "path: what"."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    return f"{_cut(path) or 'body'}: {_cut(what)}"


def _cut(text: str) -> str:
    """What a caller sent is not sent back at any length."""
    return text if len(text) <= 200 else text[:200] + "…"


def _problems(problem: str, code: str | None = None) -> Malformed:
    return Malformed(problem, code=code, problems=[problem])


def _refuse(refused: Refused, request: Request) -> Answer:
    answer = _problem(
        refused.status,
        refused.title,
        refused.message,
        refused.code,
        request,
        refused.problems if isinstance(refused, Malformed) else None,
        refused.extra,
    )
    retry_after = getattr(refused, "retry_after", None)
    if retry_after is not None:
        answer.headers.append((b"retry-after", str(retry_after).encode()))
    if isinstance(refused, MethodNotAllowed):
        answer.headers.append((b"allow", ", ".join(refused.allowed).encode()))
    if isinstance(refused, Unauthenticated):
        answer.headers.append((b"www-authenticate", b'Bearer realm="rytask"'))
    return answer


def _problem(
    status: int,
    title: str,
    detail: str,
    code: str,
    request: Request,
    problems: list[str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> Answer:
    problem = Problem(
        type=f"/api/docs#error-{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request.id,
        status_code=status,
        error=title,
        message=problems or detail,
    )
    body = {**msgspec.to_builtins(problem), **(extra or {})}
    return Answer(msgspec.json.encode(body), status=status, media=_PROBLEM)


async def _send(answer: Answer, headers: Headers, send: Any, *, head: bool) -> None:
    if answer.status not in (204, 304):
        headers.append((b"content-type", answer.media))
        headers.append((b"content-length", str(len(answer.body)).encode()))
    if answer.headers:
        replaced = {name for name, _ in answer.headers}
        headers = [header for header in headers if header[0] not in replaced] + answer.headers
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send(
        {"type": "http.response.body", "body": b"" if head else answer.body, "more_body": False}
    )


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

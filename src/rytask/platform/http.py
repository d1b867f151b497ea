"""HTTP, as a module sees it: how routes are declared, and what they take and give.

A route is a function. Its parameters say what it gets: `ctx: Reading` or `ctx: Writing` (a unit of
work of the caller), `data` (the JSON body), `query` (the query string), path parameters by name,
`request`, and anything that the composition root provides, by type. Its return type is the answer.
`asgi.py` does the rest, the same way for each.
"""

import inspect
import ipaddress
import random
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar, get_type_hints

import msgspec

from rytask.platform.bodies import Bodies, Receive, too_large
from rytask.platform.work import Actor, Writing

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Awaitable[object]])
Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Throttle = Literal["default", "auth", "none"]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
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


class Answer:
    """An answer that is not JSON with the route's usual status: a redirect, a page, a probe."""

    __slots__ = ("body", "headers", "media", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media: bytes = JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.body, self.status, self.media, self.headers = body, status, media, list(headers)

    @classmethod
    def json(cls, content: object, status: int = 200) -> "Answer":
        return cls(msgspec.json.encode(content), status=status)


class Stream(Answer):
    """An answer to a read, in parts that are sent as they come: events, lines, a long table.

    It ends with its parts, when the caller goes or would no longer be let in, and when the process
    stops. What its parts read they read one statement at a time: it holds no connection.
    """

    __slots__ = ("parts",)

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        *,
        media: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(media=media, headers=headers)
        self.parts = parts


class Request:
    """One request, as far as a route may want to look at it itself."""

    __slots__ = (
        *("_bodies", "_body", "_receive"),
        *("actor", "headers", "id", "ip", "method", "path", "query", "raw_path", "route"),
        "started",
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive, bodies: Bodies) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.actor: Actor | None = None
        self.id = _request_id(self.headers.get(b"x-request-id"))
        self.ip = ""
        self.route: Route | None = None
        self.started = time.perf_counter()
        self._receive, self._bodies = receive, bodies
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
        """The whole body. Raises TooLarge past `limit` bytes, and what `Bodies` raises."""
        if self._body is None:
            self._check_declared(limit)
            self._body = await self._bodies.read(self._receive, self.network, limit)
        return self._body

    def chunks(self, limit: int) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, once, for a parser that does not keep it."""
        self._check_declared(limit)
        return self._bodies.chunks(self._receive, self.network, limit)

    def _check_declared(self, limit: int) -> None:
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)


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
    mounted: bool = False
    """Whether `run` is an ASGI application that serves everything below `path`."""

    @property
    def writes(self) -> bool:
        return self.parameters.get("ctx") is Writing

    @property
    def keyed(self) -> bool:
        """Whether `Idempotency-Key` is honoured."""
        return self.writes and self.method in ("POST", "PATCH")


def mount(
    prefix: str,
    application: Callable[..., Awaitable[None]],
    *,
    permission: str | None,
    throttle: Throttle = "default",
    max_body: int = _MAX_BODY,
) -> Route:
    """Serve an ASGI application below a prefix, where no route of ours is, behind our checks.

    It finds the caller in `scope["state"]["actor"]`. An event stream that it sends to a GET ends
    when a `Stream` would. It has to be started and stopped by whoever mounts it.
    """
    return Route(
        method="GET",
        path=prefix.rstrip("/"),
        operation_id="",
        permission=permission,
        status=200,
        throttle=throttle,
        max_body=max_body,
        tag="",
        run=application,
        parameters={},
        returns=None,
        doc="",
        hidden=True,
        mounted=True,
    )


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

"""HTTP, as a module sees it: how routes are declared, and what they take and give.

A route is an operation (see `operations.py`) with a method and a path: `data` is its JSON body and
`query` its query string. One that can only be had over HTTP may take the `request` itself.
`asgi.py` does the rest, the same way for each.
"""

import random
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec

from rytask.platform.bodies import Bodies, Receive, too_large
from rytask.platform.operations import Client, Operation, Outcome, Throttle
from rytask.platform.work import Actor

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Awaitable[object]])
Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
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
    """A request body. Unknown fields are refused."""


class Query(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A query string. Unknown parameters are refused."""


class Answer(Outcome):
    """An answer that is not JSON with the route's usual status: a redirect, a page, a probe."""

    __slots__ = ("headers", "media")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media: bytes = JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(body, status)
        self.media, self.headers = media, list(headers)

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
        self.route: Route | Mount | None = None
        self.started = time.perf_counter()
        self._receive, self._bodies = receive, bodies
        self._body: bytes | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value (its lower-case name), or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def client(self) -> Client:
        """The calling client."""
        agent = self.header(b"user-agent")
        return Client(self.ip, agent and agent[:200])

    @property
    def network(self) -> str:
        """The address's network."""
        return Client(self.ip).network

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


class Route(Operation):
    """An operation, and where HTTP finds it."""

    def __init__(
        self,
        run: Callable[..., Awaitable[object]],
        *,
        method: Method,
        path: str,
        tag: str,
        operation_id: str,
        permission: str | None,
        public: bool,
        status: int | None,
        throttle: Throttle,
        max_body: int,
        hidden: bool,
    ) -> None:
        super().__init__(
            run,
            operation_id=operation_id,
            permission=permission,
            public=public,
            status=status,
            throttle=throttle,
            path_names=re.findall(r"{(\w+)}", path),
        )
        if method == "POST" and status is None and self.status == 200:
            self.status = 201
        self.method: Method = method
        self.path, self.tag, self.max_body, self.hidden = path, tag, max_body, hidden
        self.keyed = self.writes and method in ("POST", "PATCH")
        """Whether `Idempotency-Key` is honoured."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """An ASGI application that serves everything below a path."""

    path: str
    application: Callable[..., Awaitable[None]]
    permission: str | None
    throttle: Throttle
    max_body: int
    method: Method = "GET"
    """The method in metrics."""


def mount(
    prefix: str,
    application: Callable[..., Awaitable[None]],
    *,
    permission: str | None = None,
    public: bool = False,
    throttle: Throttle = "default",
    max_body: int = _MAX_BODY,
) -> Mount:
    """Serve an ASGI application below a prefix, where no route of ours is, behind our checks.

    It finds the caller in `scope["state"]["actor"]`. An event stream that it sends to a GET ends
    when a `Stream` would. It has to be started and stopped by whoever mounts it.
    """
    if (permission is None) != public:
        raise TypeError(f"{prefix} needs a permission, or else `public=True`")
    return Mount(
        path=prefix.rstrip("/"),
        application=application,
        permission=permission,
        throttle=throttle,
        max_body=max_body,
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
        operation_id: str,
        permission: str | None = None,
        public: bool = False,
        status: int | None = None,
        throttle: Throttle = "default",
        max_body: int = _MAX_BODY,
        hidden: bool = False,
    ) -> Callable[[Function], Function]:
        """Declare a route. `permission` is what the caller needs; `public` opens it to everybody.

        `status` is 201 for POST, 204 for a function that returns None, else 200, unless given.
        """

        def declare(function: Function) -> Function:
            self.routes.append(
                Route(
                    function,
                    method=method,
                    path=self.prefix + path,
                    tag=self.tag,
                    operation_id=operation_id,
                    permission=permission,
                    public=public,
                    status=status,
                    throttle=throttle,
                    max_body=max_body,
                    hidden=hidden,
                )
            )
            return function

        return declare

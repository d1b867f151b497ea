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
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar, get_type_hints

import msgspec

from rytask.platform.errors import TooLarge
from rytask.platform.work import Actor, Writing

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Awaitable[object]])
Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Throttle = Literal["default", "auth", "none"]

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

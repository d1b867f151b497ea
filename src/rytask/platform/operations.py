"""Operations: what the product can do, declared once, whoever asks and however they come in.

An operation is a function. Its parameters say what it gets: `ctx: Reading` or `ctx: Writing` (a
unit of work of the caller), `data` (the body), `query`, parameters of its path by name, `actor`
(the caller, or None), `client` (where the call comes from), and anything that the composition root
provides, by type. Its return type is the answer. `executor.py` runs them.
"""

import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, get_type_hints

import msgspec

from rytask.platform.errors import Forbidden, Unauthenticated
from rytask.platform.work import Actor, Reading, Writing

Throttle = Literal["default", "auth", "none"]
_INJECTED = {"ctx", "data", "query", "actor", "client", "request"}


class Client(msgspec.Struct, frozen=True):
    """The origin of a call."""

    ip: str = ""
    user_agent: str | None = None

    @property
    def network(self) -> str:
        """The address's network: with IPv6, one customer has a whole /64 of addresses."""
        if ":" in self.ip:
            with suppress(ValueError):
                return str(ipaddress.IPv6Network((self.ip, 64), strict=False))
        return self.ip


class Outcome:
    """The result of an operation: its answer as JSON, empty where it has none.

    `status` is that of HTTP, which a replay of the answer repeats.
    """

    __slots__ = ("body", "replayed", "status")

    def __init__(self, body: bytes = b"", status: int = 200, *, replayed: bool = False) -> None:
        self.body, self.status, self.replayed = body, status, replayed


class Operation:
    """A function that is declared to callers, and what follows from its signature."""

    def __init__(
        self,
        run: Callable[..., Awaitable[object]],
        *,
        operation_id: str,
        permission: str | None = None,
        public: bool = False,
        status: int | None = None,
        throttle: Throttle = "default",
        path_names: Iterable[str] = (),
    ) -> None:
        """Declare it. `permission` is what the caller needs; `public` opens it to everybody."""
        if (permission is None) != public:
            raise TypeError(f"{operation_id} needs a permission, or else `public=True`")
        hints = get_type_hints(run, include_extras=True)
        self.run, self.operation_id, self.permission = run, operation_id, permission
        self.throttle: Throttle = throttle
        self.doc = inspect.getdoc(run) or ""
        self.returns = hints.pop("return", None)
        self.status = status or (204 if self.returns is type(None) else 200)
        self.parameters: dict[str, Any] = hints
        self.reads, self.writes = (hints.get("ctx") is kind for kind in (Reading, Writing))
        self.takes_actor, self.takes_client = "actor" in hints, "client" in hints
        self.takes_request = "request" in hints
        if public and "ctx" in hints:
            raise TypeError(f"{operation_id} acts for somebody, so it cannot be public")
        self.path_names = tuple(path_names)
        # msgspec remembers what it knows of a struct, and of nothing else.
        self.path_type = msgspec.defstruct(
            "Path", [(name, hints[name]) for name in self.path_names], rename="camel"
        )
        self.query_type: Any = hints.get("query")
        self.body_type: Any = hints.get("data")
        self.body_decoder = None if "data" not in hints else msgspec.json.Decoder(self.body_type)
        _require_distinct(self)
        self.provided: dict[str, type] = {
            name: kind
            for name, kind in hints.items()
            if name not in _INJECTED and name not in self.path_names
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.operation_id}>"


def _require_distinct(operation: Operation) -> None:
    """Raise TypeError where a path, a query and a body share a name: see `decoding.arguments`."""
    names: list[str] = []
    for kind in (operation.path_type, operation.query_type, operation.body_type):
        names += getattr(kind, "__struct_encode_fields__", ())
    if len(set(names)) < len(names):
        raise TypeError(f"{operation.operation_id} has two arguments of one name: {names}")


def require_permission(actor: Actor | None, permission: str) -> Actor:
    """Raise Unauthenticated for nobody, and Forbidden for whoever lacks the permission."""
    if actor is None:
        raise Unauthenticated("Send `Authorization: Bearer <token>`.")
    if permission not in actor.permissions:
        raise Forbidden("Your role, or the scopes of this token, do not allow this.")
    return actor

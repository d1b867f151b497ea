"""Ugly input at every door: it is refused with a problem that says so, or does no harm."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from msgspec import inspect as types

from rytask.platform import pages
from rytask.platform.http import Route
from rytask.platform.ids import new_id
from tests.test_every_route import ROUTES, Things, named
from tests.world import World

WITH_BODY = [route for route in ROUTES if "data" in route.parameters]
WITH_QUERY = [route for route in ROUTES if "query" in route.parameters]
WITH_PATH = [route for route in ROUTES if "{" in route.path]
KEYED = [route for route in ROUTES if route.keyed]

TEXTS = [
    *("", " ", "\t\r\n", "\x00", "a\x00b", "\x1b[31m", "\x7f", "\ufeff", "\u2028", "\x85"),
    *(
        "\u202eevil\u202c",
        "\u200b",
        "e\u0301" * 50,
        "👩‍👩‍👧‍👦" * 50,
        "ǅİıſß",
        "\U0010ffff",
        "\ufffe",
    ),
    *("' OR 1=1 --", "'; DROP TABLE users; --", "$1", "{}", "%s%n", "{{7*7}}", "${jndi:ldap://x}"),
    *("<script>alert(1)</script>", "javascript:alert(1)", '"><img src=x onerror=alert(1)>'),
    *("../../etc/passwd", "..%2f..%2f", "%00", "%ff%fe", "file:///etc/passwd", "\\\\host\\share"),
    *("NaN", "Infinity", "-0", "1e308", "null", "true", "[]", "0x10", "٣", "1_000"),
    *("2024-02-30", "0000-00-00", "9999-12-31", "-0001-01-01", "2024-13-01T25:61:61Z"),
    *("a@b", "a@b@c", "@", "Bcc: x@example.com\r\nX: y", "=cmd|' /C calc'!A0"),
    *("x" * 100_000, "a" * 50_000 + "\n", " " * 20_000 + "!", "(" * 5_000, "\\" * 5_000),
]
NUMBERS = [
    *(-1, 0, -0.0, 0.1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(1e308, -1e308, 5e-324, 1e-7),
]
SHAPES: list[Any] = [None, True, [], {}, [[]], [None], {"a": {}}, "x", 1, [{}] * 300]


RAW_BODIES = [
    *(
        b"",
        b" ",
        b"{",
        b"}",
        b"[",
        b'"',
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{}{}",
        b"\x00",
        b"\xff\xfe{}",
    ),
    *(b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b'{"a": -0}', b"{'a': 1}", b'{"a": 01}'),
    *(b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": "\\ud800\\u0041"}', b'{"a": "\xff"}'),
    *(b'{"a": "\xed\xa0\x80"}', b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b'{"a": 1, "a": 2}'),
    b"[" * 40_000,
    b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
    b'{"a": ' + b"9" * 5_000 + b"}",
    b"\xef\xbb\xbf{}",
    '{"a": 1}'.encode("utf-16"),
    '{"a": 1}'.encode("utf-32"),
    b'{"' + b"k" * 90_000 + b'": 1}',
    b'{"__proto__": {}, "constructor": {}, "$ref": "#"}',
    b" " * 102_000,
]


HEADERS: list[tuple[str, str | bytes]] = [
    *(("content-type", media) for media in ("text/plain", "text/xml", "", "*/*", b"\xff/\xfe")),
    ("content-type", "multipart/form-data; boundary=x"),
    *(("idempotency-key", key) for key in ("", " ", '""', "a b", "k" * 256)),
    *(("idempotency-key", key) for key in (b"\xe9", b"a\tb", '"\\x"', '"\\"')),
    *(
        ("authorization", token)
        for token in ("", "Bearer", "Bearer ", "Basic Og==", "Bearer a.b.c")
    ),
    *(("authorization", b"Bearer " + junk) for junk in (b"\xff", b"x" * 60_000, b"." * 4_000)),
]
HARMLESS: list[tuple[str, str | bytes]] = [
    *(("x-request-id", name) for name in ("", "a b", "x" * 5_000, b"\xff", '"><script>')),
    *(("if-none-match", tag) for tag in ("*", 'W/"', b"\xff", "x" * 60_000)),
    *(("x-forwarded-for", hop) for hop in ("", ",,,", "::1, x", b"\xff", "1.2.3.4" * 9_000)),
    *(("origin", origin) for origin in ("null", b"\xff", "http://evil.test", "x" * 60_000)),
    *(("accept", "application/xml"), ("accept-encoding", "zip"), ("content-length", "-1")),
    ("user-agent", b"\xff" * 10_000),
]


def tree(content: object) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).decode()


def condition(field: str, operator: str, value: object) -> dict[str, object]:
    return {"field": field, "operator": operator, "value": value}


def nested(depth: int) -> dict[str, object]:
    inner = condition("overdue", "eq", True)
    return inner if not depth else {"op": "and", "conditions": [nested(depth - 1)]}


FILTERS = [
    *map(tree, (None, [], {}, 1, "x", {"op": "and"}, {"op": "and", "conditions": []})),
    *map(tree, ({"op": "xor", "conditions": [nested(0)]}, nested(6), nested(150))),
    tree({"op": "or", "conditions": [nested(0)] * 51}),
    tree({"op": "and", "conditions": [1, None, "x", []]}),
    tree({**condition("status", "eq", str(UUID(int=0))), "op": "and"}),
    *(
        tree(condition(field, operator, value))
        for field, operator in (
            *(("status", "in"), ("assignee", "eq"), ("label", "isEmpty"), ("priority", "gt")),
            *(("dueDate", "between"), ("text", "contains"), ("createdAt", "before"), ("no", "eq")),
        )
        for value in (
            "",
            "\x00",
            "\ud800",
            "x" * 9_000,
            -1,
            10**30,
            [],
            {},
            [[]],
            None,
            ["a"] * 900,
        )
    ),
]
CURSORS = [
    *(pages.encode(), pages.encode(1), pages.encode("x", [], None), pages.encode(None)),
    *(pages.encode(new_id()), pages.encode("number", [1], new_id()), pages.encode("number", [], 1)),
    pages.encode("number", [2**40], new_id()),
    pages.encode("-dueDate", ["2024-01-01"], new_id()),
    pages.encode("0001-01-01T00:00:00Z", new_id()),
]
LIMITS = ["0", "-1", "201", "1000000000", "1e2", "0x10", " 5", "5 ", "+5", "5.0", "٣", "9" * 5_000]


def is_refusal(answer: httpx.Response) -> None:
    """Answered with a problem that has a code and a request id, and nothing of ours in it."""
    assert 400 <= answer.status_code < 500, (answer.request, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["code"]
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    assert len(answer.content) < 25_000


def is_answer(answer: httpx.Response) -> None:
    """Understood, or refused; never broken."""
    if answer.status_code >= 400:
        is_refusal(answer)


def fields(route: Route, part: str) -> list[types.Field]:
    """The fields of a route's body or query."""
    described = types.type_info(route.parameters[part])
    assert isinstance(described, types.StructType)
    return list(described.fields)


def good(field: types.Field, things: Things) -> object:
    """A value that a field takes."""
    samples = {
        **things.references(),
        **{"email": "sam@example.com", "keyPrefix": "UGLY", "version": 1, "color": "#abcdef"},
        **{"ownerEmail": "sam@example.com", "timezone": "UTC", "notifyAt": "09:00"},
        **{"startDate": "2030-01-01", "endDate": "2030-01-02", "dueDate": "2030-01-03"},
        **{"locale": "en", "logoUrl": "https://example.com/", "workingDays": [1], "scopes": []},
        **{"workingHours": {"start": "09:00", "end": "10:00"}, "estimateValue": 1},
        **{"expiresAt": "2999-01-01T00:00:00Z", "snoozedUntil": "2999-01-01T00:00:00Z"},
        **{"expiresInHours": 1, "position": 0},
    }
    if field.encode_name in samples:
        return samples[field.encode_name]
    kind = field.type
    kinds = kind.types if isinstance(kind, types.UnionType) else [kind]
    for kind in kinds:
        if isinstance(kind, types.LiteralType):
            return kind.values[-1]
        if isinstance(kind, types.BoolType):
            return False
    return "something good"


class RouteCaller:
    """Where requests are made, and it is watched that a refused one changes nothing."""

    def __init__(self, world: World, things: Things, route: Route) -> None:
        self.world, self.things, self.route = world, things, route
        self.facts_before = 0

    @classmethod
    async def made(cls, world: World, route: Route) -> "RouteCaller":
        caller = cls(world, await Things(world).made(), route)
        caller.facts_before = await caller.facts()
        return caller

    def path(self) -> str:
        return self.things.path(self.route)

    def body(self) -> dict[str, object]:
        """Only what is needed."""
        more = ("title", "projectId")
        found = [f for f in fields(self.route, "data") if f.required or f.encode_name in more]
        return {field.encode_name: good(field, self.things) for field in found}

    async def facts(self) -> int:
        return await self.world.database.reader.value(
            "SELECT count(*) FROM events WHERE org_id = $1 AND kind <> 'user.locked_out'",
            self.world.org_id,
        )

    async def send(self, path: str | None = None, **more: Any) -> httpx.Response:
        """Make one request as the owner. What is refused has changed nothing."""
        answer = await self.world.owner.api.request(
            self.route.method, self.path() if path is None else path, **more
        )
        is_answer(answer)
        facts = await self.facts()
        assert facts == self.facts_before or answer.status_code < 400, answer.text
        self.facts_before = facts
        return answer


@pytest.mark.parametrize("route", WITH_BODY, ids=named)
async def test_every_field_of_a_body_stands_ugly_values(world: World, route: Route) -> None:
    caller = await RouteCaller.made(world, route)
    for field in fields(route, "data"):
        texts = "Str" in type(field.type).__name__ or any(
            isinstance(kind, types.StrType) for kind in getattr(field.type, "types", ())
        )
        for value in [*TEXTS, "\ud800", *SHAPES, 1] if texts else [*TEXTS[::6], *NUMBERS, *SHAPES]:
            body = json.dumps(caller.body() | {field.encode_name: value})
            await caller.send(content=body.encode(), headers={"content-type": "application/json"})


@pytest.mark.parametrize("route", WITH_BODY, ids=named)
async def test_what_is_no_json_object_is_refused(world: World, route: Route) -> None:
    caller = await RouteCaller.made(world, route)
    for body in RAW_BODIES:
        answer = await caller.send(content=body)
        if answer.status_code not in (401, 403, 404, 409, 410):
            assert answer.status_code == 400, (body[:80], answer.text)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10_240

    for large in (b" " * (100 * 1024 + 1), chunks()):
        answer = await caller.send(content=large)
        assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")


@pytest.mark.parametrize("route", WITH_QUERY, ids=named)
async def test_every_parameter_of_a_query_stands_ugly_values(world: World, route: Route) -> None:
    caller = await RouteCaller.made(world, route)
    special = {"cursor": CURSORS, "filter": FILTERS, "limit": LIMITS}
    for field in fields(route, "query"):
        name = field.encode_name
        for value in [*TEXTS, "\ud800", *special.get(name, ())]:
            written = quote(value.encode("utf-8", "surrogatepass"))[:60_000]
            await caller.send(f"{caller.path()}?{name}={written}")
        if name == "limit":
            for value in ("0", "-1", "201", "1000000000"):
                is_refusal(await caller.send(f"{caller.path()}?limit={value}"))
    for query in ("%", "%zz", "%ff=1", "&&&", "=", "a=b&a=b", "[]=1", ";", "x" * 60_000, "&a" * 99):
        await caller.send(f"{caller.path()}?{query}")


@pytest.mark.parametrize("route", WITH_PATH, ids=named)
async def test_every_parameter_of_a_path_stands_ugly_values(world: World, route: Route) -> None:
    caller = await RouteCaller.made(world, route)
    body = {"json": caller.body()} if "data" in route.parameters else {}
    for name in caller.things.named(route):
        for value in [*TEXTS, *map(str, NUMBERS), "%ff", "%"]:
            ids = caller.things.named(route) | {name: quote(value[:2_000], safe="%")}
            is_refusal(await caller.send(route.path.format(**ids), **body))


@pytest.mark.parametrize("route", KEYED, ids=named)
async def test_bad_headers_are_refused(world: World, route: Route) -> None:
    caller = await RouteCaller.made(world, route)
    body = {"content": json.dumps(caller.body())} if "data" in route.parameters else {}
    for name, value in HEADERS:
        if name == "content-type" and not body:
            continue
        is_refusal(await caller.send(headers={name: value}, **body))


async def test_headers_that_mean_nothing_do_no_harm(world: World) -> None:
    caller = await RouteCaller.made(
        world, next(r for r in ROUTES if r.operation_id == "list_issues")
    )
    for name, value in HARMLESS:
        answer = await caller.send(headers={name: value})
        assert answer.status_code == 200
        assert re.fullmatch(r"[\w.:-]{1,128}", answer.headers["x-request-id"])
        assert "access-control-allow-origin" not in answer.headers

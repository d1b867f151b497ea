"""What every route gets from the HTTP layer, shown on routes made for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Annotated
from uuid import UUID

import httpx
import msgspec
import pytest

from rytask.platform.asgi import Application
from rytask.platform.auth import Bearers
from rytask.platform.bodies import Bodies
from rytask.platform.crypto import Sealer
from rytask.platform.db import Database
from rytask.platform.errors import Conflict, Unauthenticated
from rytask.platform.executor import Executor, Limits
from rytask.platform.http import (
    Answer,
    Body,
    Data,
    Query,
    Request,
    Routes,
)
from rytask.platform.idempotency import Replays
from rytask.platform.ids import OrgId, UserId, new_id
from rytask.platform.rate_limit import Limiter
from rytask.platform.redis_client import RequestRedis
from rytask.platform.work import Actor, Reading, Work, Writing

routes = Routes("test", prefix="")


class Note(Body):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    count: int = 0


class Page(Query):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class Told(msgspec.Struct, frozen=True):
    text: str
    count: int


@routes.route("POST", "/notes", permission="work:write", operation_id="create_note")
async def create_note(ctx: Writing, data: Note) -> Data[Told]:
    """Keep a note."""
    return Data(Told(data.text, data.count))


@routes.route("GET", "/notes/{note_id}", permission="work:read", operation_id="get_note")
async def get_note(ctx: Reading, note_id: UUID, query: Page) -> Data[Told]:
    """Read a note."""
    return Data(Told(str(note_id), query.limit))


@routes.route("DELETE", "/notes/{note_id}", permission="org:delete", operation_id="delete_note")
async def delete_note(ctx: Writing, note_id: UUID) -> None:
    """Forget a note."""


@routes.route("GET", "/address", public=True, operation_id="get_address")
async def get_address(request: Request) -> Data[str]:
    """Say where a caller comes from."""
    return Data(request.ip)


@routes.route("GET", "/broken", public=True, operation_id="get_broken")
async def get_broken() -> Data[str]:
    """Break."""
    raise ZeroDivisionError


@routes.route("GET", "/conflict", public=True, operation_id="get_conflict")
async def get_conflict() -> Answer:
    """Conflict."""
    raise Conflict("somebody was first", code="note.stale", current=7)


@routes.route("PATCH", "/crowd", permission="work:write", operation_id="change_in_a_crowd")
async def change_in_a_crowd(ctx: Writing) -> None:
    """Meet a deadlock, whenever it is tried."""
    await ctx.db.execute("DO $$ BEGIN RAISE 'met' USING ERRCODE = 'deadlock_detected'; END $$")


class _Tokens(Bearers):
    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def authenticate(self, token: str, network: str = "") -> Actor:
        if token != "good":
            raise Unauthenticated("no")
        return self._actor


@asynccontextmanager
async def served(
    database_url: str, redis_url: str, *, requests: int = 1000
) -> AsyncIterator[httpx.AsyncClient]:
    database, redis = await Database.connect(database_url), RequestRedis(redis_url)
    await redis.start()
    org_id = OrgId(new_id())
    async with database.transaction() as tx:
        await tx.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Notes', $2)",
            org_id,
            str(org_id),
        )
    actor = Actor(
        org_id=org_id,
        user_id=UserId(new_id()),
        role="MEMBER",
        permissions=frozenset({"work:read", "work:write"}),
    )
    executor = Executor(
        routes.routes,
        work=Work(database, subscribers={}, attempts=lambda _: 1, notify_workers=lambda: None),
        limiter=Limiter(redis),
        replays=Replays(redis, Sealer.derived("a secret of the tests", "replays")),
        limits={"default": Limits(requests, 60)},
        permissions=frozenset({"work:read", "work:write", "org:delete"}),
        provide={},
    )
    application = Application(
        routes.routes,
        executor,
        _Tokens(actor),
        trusted_proxies=[ip_network("10.0.0.0/8")],
        cors_origins=frozenset({"https://app.example.com"}),
    )
    transport = httpx.ASGITransport(application, client=("10.0.0.7", 1))
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://test",
        headers={"authorization": "Bearer good", "x-forwarded-for": f"1.2.3.4, {org_id.hex[:4]}"},
    ) as client:
        yield client
    await redis.close()
    await database.close()


@pytest.fixture
async def client(database_url: str, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with served(database_url, redis_url) as client:
        yield client


BAD_BODIES = {
    "not json": b"{",
    "empty": b"",
    "another type": b'{"text": 5}',
    "a number as text": b'{"text": "a", "count": "5"}',
    "an unknown field": b'{"text": "a", "more": 1}',
    "a missing field": b"{}",
    "too long": b'{"text": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}',
    "a list": b"[]",
    "null": b"null",
    "given twice": b'{"text": "a", "text": "b"}',
    "nested": b'{"text": ' + b"[" * 100_00 + b"]" * 100_00 + b"}",
    "not utf-8": b'{"text": "\xff"}',
    "a NUL": b'{"text": "a\\u0000"}',
    "half a surrogate pair": b'{"text": "\\ud800"}',
    "a huge number": b'{"text": "a", "count": 1e999}',
    "not a number": b'{"text": "a", "count": NaN}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_bad_body_is_refused_with_a_problem(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/notes", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["statusCode"] == problem["status"] == 400
    assert problem["error"] == problem["title"] == "Bad Request"
    assert isinstance(problem["message"], list | str)
    assert problem["requestId"] == answer.headers["x-request-id"]


async def test_text_that_only_looks_like_a_nul_is_kept(client: httpx.AsyncClient) -> None:
    answer = await client.post("/notes", json={"text": "\\u0000"})
    assert answer.json() == {"data": {"text": "\\u0000", "count": 0}}


async def test_a_form_is_not_json(client: httpx.AsyncClient) -> None:
    assert (await client.post("/notes", data={"text": "a"})).status_code == 415


async def test_a_body_over_100_kib_is_too_large(client: httpx.AsyncClient) -> None:
    answer = await client.post("/notes", json={"text": "a" * 103_000})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=", "limit=1&limit=2", "other=1", "%ff=%ff"]
)
async def test_a_bad_query_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/notes/{new_id()}?{query}")
    assert answer.status_code == 400
    assert "body" not in answer.text


async def test_an_id_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/notes/seven")).status_code == 400


async def test_an_unknown_path_is_404_and_a_wrong_method_405(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).status_code == 404
    answer = await client.put("/notes")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_permission_is_needed(client: httpx.AsyncClient) -> None:
    assert (await client.delete(f"/notes/{new_id()}")).status_code == 403
    bad = {"authorization": "Bearer bad"}
    answer = await client.get(f"/notes/{new_id()}", headers=bad)
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.required")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_bug_is_a_500_that_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/broken")
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text


async def test_what_meets_deadlocks_without_end_is_to_be_tried_later(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.patch("/crowd")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["code"] == "service.unavailable"


async def test_a_refusal_carries_its_code_and_its_details(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/conflict")).json()
    assert (problem["code"], problem["current"]) == ("note.stale", 7)


async def test_a_read_has_an_etag_and_is_not_sent_again(client: httpx.AsyncClient) -> None:
    path = f"/notes/{new_id()}"
    first = await client.get(path)
    again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_head_answers_without_a_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/address")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_request_id_is_kept_when_it_is_sane(client: httpx.AsyncClient) -> None:
    kept = await client.get("/address", headers={"x-request-id": "abc-1"})
    replaced = await client.get("/address", headers={"x-request-id": "a b\t" + "c" * 500})
    assert kept.headers["x-request-id"] == "abc-1"
    assert len(replaced.headers["x-request-id"]) == 16


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.3", "203.0.113.9"),
        ("not an address", "not an address"),
        ("203.0.113.9:5678", "203.0.113.9"),
        ("[2001:db8::1]:5678", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
async def test_the_address_is_the_nearest_that_is_no_proxy(
    client: httpx.AsyncClient, forwarded: str, seen: str
) -> None:
    answer = await client.get("/address", headers={"x-forwarded-for": forwarded})
    assert answer.json() == {"data": seen}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_the_addresses_of_one_network_are_counted_together(address: str, network: str) -> None:
    scope = {"method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    request = Request(scope, nothing, Bodies())
    request.ip = address
    assert request.network == network


async def nothing() -> None:
    return None


async def test_what_was_sent_is_not_sent_back_at_length(client: httpx.AsyncClient) -> None:
    long = "x" * 60_000
    for answer in (
        await client.post("/notes", json={long: 1}),
        await client.get(f"/notes/{new_id()}?{long}=1"),
    ):
        assert answer.status_code == 400
        assert len(answer.content) < 2_000


async def test_a_limit_is_told_and_kept(database_url: str, redis_url: str) -> None:
    async with served(database_url, redis_url, requests=2) as client:
        path = f"/notes/{new_id()}"
        answers = [await client.get(path) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=2;w=60'
    assert int(answers[2].headers["retry-after"]) >= 1
    assert answers[2].json()["code"] == "rate_limit.exceeded"


async def test_on_an_open_route_a_bearer_is_no_allowance_of_its_own(
    database_url: str, redis_url: str
) -> None:
    async with served(database_url, redis_url, requests=2) as client:
        answers = [
            await client.get("/address", headers={"authorization": f"Bearer {token}"})
            for token in ("good", "bad", "good")
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_a_key_gives_one_effect_and_one_answer(client: httpx.AsyncClient) -> None:
    key = {"idempotency-key": str(new_id())}
    first = await client.post("/notes", json={"text": "once"}, headers=key)
    again = await client.post("/notes", json={"text": "once"}, headers=key)
    other = await client.post("/notes", json={"text": "twice"}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


async def test_other_origins_are_refused_unless_named(client: httpx.AsyncClient) -> None:
    ours = await client.get("/address", headers={"origin": "https://app.example.com"})
    theirs = await client.get("/address", headers={"origin": "https://evil.example.com"})
    assert ours.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "access-control-allow-origin" not in theirs.headers

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from rytask.platform import idempotency
from rytask.platform.crypto import Sealer
from rytask.platform.db import Database
from rytask.platform.errors import Conflict, Malformed
from rytask.platform.idempotency import (
    InFlight,
    KeyReused,
    Overtaken,
    Replay,
    Replays,
    Scope,
    fingerprint,
    parse_key,
    purge,
)
from rytask.platform.ids import OrgId
from rytask.platform.redis_client import RequestRedis

PRINT = fingerprint("POST", "/api/v1/work-items", "", "application/json", b"{}")
OTHER = fingerprint("POST", "/api/v1/work-items", "", "application/json", b"{ }")
ANSWER = Replay(201, b'{"data":{"secret":"rytask_pat_shown_once"}}')


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("a", "a"),
        ('"a"', "a"),
        ('  "8e03978e-40d5-43dd-bc93-6894a57f9324" ', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("x" * 255, "x" * 255),
        (f'"{"x" * 255}"', "x" * 255),
        (r'"a\"b\\c"', r"a\"b\\c".replace(r"\"", '"').replace(r"\\", "\\")),
        ('"', '"'),
        ("a:b/c?d", "a:b/c?d"),
    ],
)
def test_a_key_may_be_quoted_or_bare(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header", ["", " ", '""', "x" * 256, "a b", "ä", "a\x00", "\x7f", '"a"b"', r'"a\b"', '"a\\"']
)
def test_a_key_of_another_shape_is_refused(header: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_key(header)
    assert refused.value.code == "idempotency.bad_key"


def test_any_part_of_a_request_changes_its_fingerprint() -> None:
    prints = {
        fingerprint(*parts)
        for parts in [
            ("POST", "/a", "", "application/json", b"{}"),
            ("PATCH", "/a", "", "application/json", b"{}"),
            ("POST", "/ab", "", "application/json", b"{}"),
            ("POST", "/a", "b", "application/json", b"{}"),
            ("POST", "/a", "", "text/plain", b"{}"),
            ("POST", "/a", "", "application/json", b"[]"),
        ]
    }
    assert len(prints) == 6


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.connect(database_url, size=20)
    yield database
    await database.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RequestRedis]:
    redis = RequestRedis(redis_url, timeout=5)
    yield redis
    await redis.close()


@pytest.fixture
def replays(redis: RequestRedis) -> Replays:
    return Replays(redis, Sealer.derived("a secret of these tests", "replays"))


@pytest.fixture
async def scope(database: Database) -> Scope:
    """A fresh key in an organization of this test's own."""
    org_id = OrgId(uuid4())
    async with database.transaction() as tx:
        await tx.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Test', $2)",
            org_id,
            str(org_id),
        )
    return Scope(org_id, uuid4(), "POST /api/v1/work-items", str(uuid4()))


async def answer(
    database: Database, replays: Replays, scope: Scope, print_: bytes = PRINT
) -> Replay | None:
    """One keyed request: None if it did the work. Like a route, it runs again if overtaken."""
    try:
        async with database.transaction() as tx:
            replay = await replays.claim(tx, scope, print_)
            if replay is None:
                await replays.store(tx, scope, print_, ANSWER)
            return replay
    except Overtaken:
        return await answer(database, replays, scope, print_)


async def test_the_first_request_works_and_the_second_gets_its_answer(
    database: Database, replays: Replays, scope: Scope
) -> None:
    assert await answer(database, replays, scope) is None
    assert await answer(database, replays, scope) == ANSWER


async def test_a_key_is_only_one_principals_and_one_routes(
    database: Database, replays: Replays, scope: Scope
) -> None:
    assert await answer(database, replays, scope) is None
    for other in (
        Scope(scope.org_id, uuid4(), scope.route, scope.key),
        Scope(scope.org_id, scope.principal_id, "POST /api/v1/labels", scope.key),
        Scope(scope.org_id, scope.principal_id, scope.route, str(uuid4())),
    ):
        assert await answer(database, replays, other) is None


async def test_a_key_used_for_another_request_is_refused(
    database: Database, replays: Replays, scope: Scope
) -> None:
    await answer(database, replays, scope)
    with pytest.raises(KeyReused) as refused:
        await answer(database, replays, scope, OTHER)
    assert (refused.value.status, refused.value.code) == (422, "idempotency.key_reused")


async def test_of_many_requests_at_once_one_works_and_all_get_its_answer(
    database: Database, replays: Replays, scope: Scope
) -> None:
    answers = await asyncio.gather(*(answer(database, replays, scope) for _ in range(15)))
    assert sorted(answers, key=bool) == [None, *[ANSWER] * 14]


async def test_a_duplicate_works_itself_when_the_first_request_fails(
    database: Database, replays: Replays, scope: Scope
) -> None:
    claimed = asyncio.Event()

    async def fail() -> None:
        async with database.transaction() as tx:
            assert await replays.claim(tx, scope, PRINT) is None
            claimed.set()
            await asyncio.sleep(0.05)
            raise ZeroDivisionError

    failing = asyncio.create_task(fail())
    await claimed.wait()
    assert await answer(database, replays, scope) is None
    with pytest.raises(ZeroDivisionError):
        await failing


async def test_a_duplicate_is_told_to_come_back_when_the_first_request_takes_long(
    database: Database, replays: Replays, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "CLAIM_TIMEOUT", 0.1)
    async with database.transaction() as tx:
        assert await replays.claim(tx, scope, PRINT) is None
        with pytest.raises(InFlight) as refused:
            await answer(database, replays, scope)
    assert (refused.value.status, refused.value.retry_after) == (409, 1)


async def test_a_request_that_was_overtaken_is_undone_and_finds_the_answer(
    database: Database, replays: Replays, scope: Scope
) -> None:
    await answer(database, replays, scope)
    with pytest.raises(Overtaken):
        async with database.transaction() as tx:
            await replays.store(tx, scope, PRINT, Replay(201, b"second"))
    assert await answer(database, replays, scope) == ANSWER


async def test_answers_are_kept_sealed_in_both_places(
    database: Database, redis: RequestRedis, replays: Replays, scope: Scope
) -> None:
    await answer(database, replays, scope)
    await replays.remember(scope, PRINT, ANSWER)
    body = await database.reader.value(
        "SELECT body FROM idempotency_keys WHERE org_id = $1", scope.org_id
    )
    kept = await redis.call("GET", f"replay:{scope.digest.hex()}")
    assert b"shown_once" not in body
    assert b"shown_once" not in kept
    assert 0 < await redis.call("TTL", f"replay:{scope.digest.hex()}") <= 24 * 3600


async def test_the_cache_answers_the_same_request_only(replays: Replays, scope: Scope) -> None:
    assert await replays.cached(scope, PRINT) is None
    await replays.remember(scope, PRINT, ANSWER)
    assert await replays.cached(scope, PRINT) == ANSWER
    with pytest.raises(KeyReused):
        await replays.cached(scope, OTHER)


async def test_rubbish_in_the_cache_is_a_miss(
    redis: RequestRedis, replays: Replays, scope: Scope
) -> None:
    await redis.call("SET", f"replay:{scope.digest.hex()}", "rubbish", "EX", 60)
    assert await replays.cached(scope, PRINT) is None


async def test_without_redis_keys_still_hold(database: Database, scope: Scope) -> None:
    redis = RequestRedis("redis://127.0.0.1:1")
    replays = Replays(redis, Sealer.derived("secret", "replays"))
    assert await replays.cached(scope, PRINT) is None
    assert await answer(database, replays, scope) is None
    await replays.remember(scope, PRINT, ANSWER)
    assert await answer(database, replays, scope) == ANSWER
    await redis.close()


async def test_an_answer_sealed_with_a_lost_secret_is_refused_not_done_again(
    database: Database, redis: RequestRedis, replays: Replays, scope: Scope
) -> None:
    await answer(database, replays, scope)
    changed = Replays(redis, Sealer.derived("another secret", "replays"))
    with pytest.raises(Conflict) as refused:
        await answer(database, changed, scope)
    assert refused.value.code == "idempotency.answer_lost"


async def test_old_answers_are_purged_and_young_ones_kept(
    database: Database, replays: Replays, scope: Scope
) -> None:
    old = Scope(scope.org_id, scope.principal_id, scope.route, "old")
    await answer(database, replays, scope)
    await answer(database, replays, old)
    day_ago = datetime.now(UTC) - timedelta(hours=24)
    async with database.transaction() as tx:
        await tx.execute(
            "UPDATE idempotency_keys SET created_at = $2 WHERE org_id = $1 AND key = 'old'",
            scope.org_id,
            day_ago - timedelta(seconds=1),
        )
    async with database.transaction() as tx:
        assert await purge(tx, day_ago) >= 1
    assert await answer(database, replays, scope) == ANSWER
    assert await answer(database, replays, old) is None

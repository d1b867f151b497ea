"""Requests with one key that overtake each other, stopped inside the statement that claims it.

PostgreSQL is made to wait between taking the snapshot of that statement and trying the lock: the
search path of one side leads to a function of the same name that first passes a gate.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from tests.identity.signing import as_
from tests.locks import held, waiting
from tests.world import World, Worlds

from rytask.platform.crypto import Sealer
from rytask.platform.db import Database
from rytask.platform.idempotency import Replay, Replays, Scope, fingerprint
from rytask.platform.ids import OrgId
from rytask.platform.redis_client import RequestRedis

PRINT = fingerprint("POST", "/api/v1/work-items", "", "application/json", b"{}")
ANSWER = Replay(201, b"{}")
KEY = {"Idempotency-Key": "once"}
GATE = "SELECT pg_advisory_xact_lock(20, 26)"


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.connect(database_url)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def stopping_url(database: Database, database_url: str) -> AsyncIterator[str]:
    """The same database, where claims stop at the gate."""
    async with database.transaction() as tx:
        await tx.execute("CREATE SCHEMA stopping")
        await tx.execute(
            "CREATE FUNCTION stopping.pg_try_advisory_xact_lock(key bigint) RETURNS boolean"
            " LANGUAGE plpgsql AS $$ BEGIN"
            "   PERFORM pg_catalog.pg_advisory_lock_shared(20, 26);"
            "   PERFORM pg_catalog.pg_advisory_unlock_shared(20, 26);"
            "   RETURN pg_catalog.pg_try_advisory_xact_lock(key);"
            " END $$"
        )
    yield f"{database_url}?search_path=stopping,public,pg_catalog"
    async with database.transaction() as tx:
        await tx.execute("DROP SCHEMA stopping CASCADE")


@pytest.fixture
async def stopping(stopping_url: str) -> AsyncIterator[Database]:
    stopping = await Database.connect(stopping_url, name="stopping")
    yield stopping
    await stopping.close()


@pytest.fixture
async def replays(redis_url: str) -> AsyncIterator[Replays]:
    redis = RequestRedis(redis_url, timeout=5)
    yield Replays(redis, Sealer.derived("a secret of these tests", "replays"))
    await redis.close()


async def has_tried(database: Database) -> None:
    """Wait until the side that stops has tried to claim a key once, in vain."""
    async with asyncio.timeout(10):
        while not await database.reader.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stopping'"
            " AND state = 'idle in transaction' AND query LIKE '%pg_try_advisory_xact_lock%'"
        ):
            await asyncio.sleep(0)


async def test_a_duplicate_that_waited_looks_again_once_the_key_is_free(
    database: Database, stopping: Database, replays: Replays
) -> None:
    org_id = OrgId(uuid4())
    async with database.transaction() as tx:
        await tx.execute(
            "INSERT INTO organizations (id, name, slug) VALUES ($1, 'Test', $2)",
            org_id,
            str(org_id),
        )
    scope = Scope(org_id, uuid4(), "POST /api/v1/work-items", "key")

    async def duplicate() -> Replay | None:
        async with stopping.transaction() as tx:
            return await replays.claim(tx, scope, PRINT)

    async with AsyncExitStack() as gate, database.transaction() as first:
        assert await replays.claim(first, scope, PRINT) is None
        second = asyncio.create_task(duplicate())
        await has_tried(database)
        await gate.enter_async_context(held(database, GATE))
        await waiting(database, 1)
        await replays.store(first, scope, PRINT, ANSWER)
    assert await second == ANSWER


async def test_a_request_that_was_overtaken_unseen_runs_again_and_gets_the_answer(
    world: World, stopping_url: str, redis_url: str
) -> None:
    body = {"name": "a script"}
    async with Worlds.running(stopping_url, redis_url) as other, other.new() as there:
        late = as_(there, world.owner.token)
        async with held(world.database, GATE):
            overtaken = asyncio.create_task(late.post("/api/v1/api-tokens", json=body, headers=KEY))
            await waiting(world.database, 1)
            first = await world.owner.api.post("/api/v1/api-tokens", json=body, headers=KEY)
            assert first.status_code == 201
        second = await overtaken
    assert (second.status_code, second.json()) == (201, first.json())
    assert second.headers["idempotent-replayed"] == "true"
    assert len((await world.owner.api.get("/api/v1/api-tokens")).json()) == 1


async def test_a_key_that_was_used_on_one_route_is_free_on_another(world: World) -> None:
    for path in ("/api/v1/api-tokens", "/api/v1/workspaces"):
        answer = await world.owner.api.post(path, json={"name": "Lab"}, headers=KEY)
        assert answer.status_code == 201, answer.text
        assert "idempotent-replayed" not in answer.headers


async def test_the_cache_does_not_answer_for_another_route(replays: Replays) -> None:
    used = Scope(OrgId(uuid4()), uuid4(), "POST /api/v1/work-items", "key")
    await replays.remember(used, PRINT, ANSWER)
    other = Scope(used.org_id, used.principal_id, "POST /api/v1/labels", "key")
    assert await replays.cached(other, PRINT) is None


async def test_a_token_does_not_share_the_keys_of_its_owner(world: World) -> None:
    made = await world.owner.api.post("/api/v1/api-tokens", json={"name": "a script"})
    script = as_(world, made.json()["secret"])
    answers = [
        await client.post("/api/v1/workspaces", json={"name": "Lab"}, headers=KEY)
        for client in (world.owner.api, script, script)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    first, second, again = (answer.json()["id"] for answer in answers)
    assert first != second == again

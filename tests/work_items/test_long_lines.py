"""A line that names hundreds of people costs what a short one costs."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from tests import items
from tests.world import World

from rytask.modules.work_items.capture import MAX_NAMES
from rytask.modules.work_items.model import Mentions
from rytask.modules.work_items.queries.names import resolve_names
from rytask.platform.db import Database, Tx
from rytask.platform.errors import Unavailable
from rytask.platform.ids import ProjectId

MEMBERS = 3_000
HANDLES = 2_500


@pytest.fixture
async def crowd(world: World) -> World:
    """An organization of thousands, all of them in the project."""
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO users (id, org_id, email, name)"
            " SELECT gen_random_uuid(), $1, 'm' || n || '.' || $1::uuid || '@example.com',"
            "   'Member ' || n"
            "   FROM generate_series(1, $2::int) n",
            world.org_id,
            MEMBERS,
        )
        await tx.execute(
            "INSERT INTO memberships (org_id, user_id, role, workspace_id)"
            " SELECT org_id, id, 'MEMBER', $2 FROM users"
            " WHERE org_id = $1 AND password_hash IS NULL",
            world.org_id,
            world.workspace_id,
        )
        await tx.execute(
            "INSERT INTO project_members (org_id, project_id, user_id, role)"
            " SELECT org_id, $2, id, 'MEMBER' FROM users"
            " WHERE org_id = $1 AND password_hash IS NULL",
            world.org_id,
            world.project.id,
        )
        # Until PostgreSQL has looked at so many new rows by itself, it plans as for a handful.
        await tx.execute("ANALYZE users, memberships, project_members")
    return world


async def test_a_line_of_thousands_of_names_is_answered(crowd: World) -> None:
    names = " ".join(f"@{chr(0x4E00 + n)}" for n in range(HANDLES))
    answer = await items.capture(crowd, f"{names} @member2999", title="Fix it")
    assert answer["data"]["title"] == "Fix it"
    assert answer["data"]["assigneeId"] is None, "the name is one too many to be looked up"
    assert len(answer["meta"]["unresolved"]) == HANDLES + 1


async def test_the_first_names_of_a_line_are_looked_up_and_the_others_stay_in_the_title(
    world: World,
) -> None:
    sam = await world.person(name="Sam Field")
    ghosts = " ".join(f"@g{n}" for n in range(MAX_NAMES - 1))
    labels = " ".join(f"#l{n}" for n in range(MAX_NAMES + 1))
    answer = await items.capture(world, f"Fix it {ghosts} @sam @SAM @one.more {labels} #L0")
    item = answer["data"]
    assert item["assigneeId"] == str(sam.id)
    assert item["title"] == f"Fix it {ghosts} @one.more #l{MAX_NAMES}"
    assert len(item["labelIds"]) == MAX_NAMES
    unresolved = [token["token"] for token in answer["meta"]["unresolved"]]
    assert unresolved == [*ghosts.split(), "@one.more", f"#l{MAX_NAMES}"]


async def test_looking_names_up_reads_each_member_once_however_many_names_there_are(
    crowd: World,
) -> None:
    """Even behind the cap: the rows that PostgreSQL compares are counted in its plan."""
    handles = [f"h{n}" for n in range(HANDLES)]
    async with crowd.work.writing(crowd.owner.actor) as ctx:
        ctx.db = explained = _Explained(ctx.db)
        await resolve_names(
            explained,
            ctx.actor,
            ctx.now,
            Mentions(None, None, handles, []),
            project_id=ProjectId(crowd.project.id),
            day_of=None,
            confined=False,
        )
    assert MEMBERS <= explained.rows < 20 * (MEMBERS + HANDLES)


class _Explained(Tx):
    """Counts the rows that the statements go through, by running them under EXPLAIN first."""

    def __init__(self, inner: Tx) -> None:
        super().__init__(inner._connection, inner.autocommit)
        self.rows = 0

    async def maybe(self, row: Any, sql: Any, *args: object) -> Any:
        plan = await self._connection.fetchval(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", *args
        )
        self.rows += sum(_rows(json.loads(plan or "")[0]["Plan"]))
        return await super().maybe(row, sql, *args)


def _rows(node: dict[str, Any]) -> Iterator[float]:
    """The rows that a node and those below it gave out or threw away."""
    kept = node["Actual Rows"]
    thrown = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Join Filter"))
    yield (kept + thrown) * node["Actual Loops"]
    for below in node.get("Plans", ()):
        yield from _rows(below)


async def test_a_statement_that_is_cancelled_is_a_503_that_says_when_to_try_again(
    world: World,
) -> None:
    item = await items.create(world)
    holder = await asyncpg.connect(world.settings.database_url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM work_items WHERE id = $1 FOR UPDATE", UUID(item["id"]))
    change = asyncio.create_task(
        world.owner.api.patch(f"{items.ITEMS}/{item['id']}", json={"version": 1, "title": "Other"})
    )
    try:
        while not await holder.fetch(_CANCEL):
            await asyncio.sleep(0.01)
        answer = await change
    finally:
        await transaction.rollback()
        await holder.close()
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["code"] == "service.unavailable"


_CANCEL = (
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
    " WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
)


async def test_a_statement_over_its_time_says_that_the_database_is_busy(database_url: str) -> None:
    database = await Database.connect(database_url, statement_timeout=0.05)
    try:
        with pytest.raises(Unavailable):
            await database.reader.value("SELECT pg_sleep(30)::text")
    finally:
        await database.close()

"""Positions after items had to move apart: no two are alike, and the next item comes last."""

import asyncio
from uuid import UUID

import asyncpg
from tests.items import Json, create, get, listed, move
from tests.work_items.test_moves import column, row
from tests.world import World

from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.rules import REACH
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.ids import ProjectId, new_id


async def crowded_at_the_end(world: World) -> list[Json]:
    """Items of a status of which the last two have no number between them any more."""
    items = await row(world, REACH + 4)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE work_items SET position = position - 1024 + 1e-12"
            " WHERE org_id = $1 AND id = $2",
            world.org_id,
            UUID(items[-1]["id"]),
        )
    return [await get(world.owner, item["id"]) for item in items]


async def spread_the_end(world: World, items: list[Json]) -> None:
    """Move an item to where there is no room, at the end of the status."""
    await move(world.owner, items[0], afterId=items[-2]["id"], beforeId=items[-1]["id"])


async def positions(world: World) -> list[float]:
    return sorted(item["position"] for item in await listed(world.owner))


async def test_an_item_comes_last_after_those_at_the_end_have_moved_apart(world: World) -> None:
    items = await crowded_at_the_end(world)
    await spread_the_end(world, items)
    expected = [item["key"] for item in [*items[1:-1], items[0], items[-1]]]
    assert await column(world) == expected
    last = await create(world)
    assert await column(world) == [*expected, last["key"]]
    found = await positions(world)
    assert len(set(found)) == len(found)


async def test_an_item_on_its_way_keeps_its_position_to_itself(world: World) -> None:
    """It has its number and position, and is not yet there to be seen by who moves the others."""
    items = await crowded_at_the_end(world)
    item_id = new_id()
    holder = await asyncpg.connect(world.settings.database_url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute(_SAME_ID, item_id, UUID(items[0]["id"]))

    async def add() -> None:
        async with world.work.writing(world.owner.actor) as ctx:
            new = NewItem(project_id=ProjectId(world.project.id), title="On its way")
            await work_items.create(ctx, new, item_id=item_id)

    adding = asyncio.create_task(add())
    try:
        while not await holder.fetchval(_WAITS_FOR_US):
            await asyncio.sleep(0.01)
        await spread_the_end(world, items)
    finally:
        await transaction.rollback()
        await holder.close()
    await adding
    found = await positions(world)
    assert len(set(found)) == len(found) == len(items) + 1


_SAME_ID = (
    "INSERT INTO work_items (id, org_id, project_id, number, key, title, status_id, source,"
    "   position, created_at, updated_at)"
    " SELECT $1, org_id, project_id, 1000000, 'GO-1000000', title, status_id, source, 0, now(),"
    "   now() FROM work_items WHERE id = $2"
)
_WAITS_FOR_US = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity"
    " WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
)

"""What has been in the trash for long is erased."""

import asyncio
from uuid import UUID

from tests.items import call, create, get
from tests.locks import waiting
from tests.world import World

from rytask.modules.work_items import service

DAY_31, DAY_29 = "31 days", "29 days"


async def trash(world: World, item_id: str, age: str) -> None:
    await call(world.owner, "DELETE", f"/work-items/{item_id}", 204)
    await sql(
        world,
        "UPDATE work_items SET deleted_at = now() - $2::text::interval"
        " WHERE org_id = $1 AND id = $3",
        age,
        item_id,
    )


async def sql(world: World, statement: str, *args: object) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(statement, world.org_id, *args)  # type: ignore[arg-type]


async def kinds(world: World, item_id: str) -> list[str]:
    return await world.database.reader.values(
        "SELECT kind FROM events WHERE org_id = $1 AND subject_id = $2 ORDER BY seq",
        world.org_id,
        item_id,
    )


async def left(world: World) -> list[str]:
    return await world.database.reader.values(
        "SELECT key FROM work_items WHERE org_id = $1 ORDER BY number", world.org_id
    )


async def test_an_item_is_erased_after_its_days_in_the_trash(world: World) -> None:
    old, young, kept = [await create(world) for _ in range(3)]
    await trash(world, old["id"], DAY_31)
    await trash(world, young["id"], DAY_29)
    assert await world.run_job("work_items.purge_trash") == []
    assert await left(world) == [young["key"], kept["key"]]
    await call(world.owner, "POST", f"/work-items/{old['id']}/restore", 404)
    await call(world.owner, "GET", f"/work-items/{old['key']}", 404)
    await call(world.owner, "POST", f"/work-items/{young['id']}/restore")
    assert (await kinds(world, old["id"]))[-2:] == ["item.trashed", "item.erased"]


async def test_the_number_of_an_erased_item_is_not_used_again(world: World) -> None:
    last = await create(world)
    await trash(world, last["id"], DAY_31)
    assert await world.run_job("work_items.purge_trash") == []
    assert (await create(world))["number"] > last["number"]


async def test_sub_tasks_of_an_erased_item_lose_their_parent_and_say_so(world: World) -> None:
    parent = await create(world)
    child = await create(world, parentId=parent["id"])
    trashed_child = await create(world, parentId=parent["id"])
    await trash(world, trashed_child["id"], DAY_29)
    await trash(world, parent["id"], DAY_31)
    assert await world.run_job("work_items.purge_trash") == []
    after = await get(world.owner, child["id"])
    assert (after["parentId"], after["version"]) == (None, child["version"] + 1)
    assert (await kinds(world, child["id"]))[-1] == "item.changed"
    await call(world.owner, "POST", f"/work-items/{trashed_child['id']}/restore")
    assert (await get(world.owner, trashed_child["id"]))["parentId"] is None


async def test_a_parent_counts_no_erased_sub_task(world: World) -> None:
    parent = await create(world)
    erased = await create(world, parentId=parent["id"])
    await create(world, parentId=parent["id"])
    await trash(world, erased["id"], DAY_31)
    assert await world.run_job("work_items.purge_trash") == []
    assert (await get(world.owner, parent["id"]))["childCount"] == 1


async def test_trash_of_more_than_a_batch_is_erased_batch_by_batch(world: World) -> None:
    items = [await create(world) for _ in range(5)]
    for item in items[:4]:
        await trash(world, item["id"], DAY_31)
    await sql(
        world,
        "INSERT INTO work_items (id, org_id, project_id, number, key, title, status_id, source,"
        "   position, deleted_at, created_at, updated_at)"
        " SELECT gen_random_uuid(), org_id, project_id, 1000 + n, 'X-' || n, 'old', status_id,"
        "   source, n, deleted_at, now(), now() FROM work_items, generate_series(1, 120) n"
        "  WHERE org_id = $1 AND id = $2",
        items[0]["id"],
    )
    assert await world.run_job("work_items.purge_trash") == []
    assert await left(world) == [items[4]["key"]]
    assert (
        await world.database.reader.value(
            "SELECT count(*) FROM events WHERE org_id = $1 AND kind = 'item.erased'", world.org_id
        )
        == 124
    )


async def test_an_item_that_is_restored_when_its_time_is_up_is_kept(world: World) -> None:
    item = await create(world)
    await trash(world, item["id"], DAY_31)
    async with world.work.writing(world.owner.actor) as ctx:
        await service.restore(ctx, UUID(item["id"]))
        erasing = asyncio.create_task(world.run_job("work_items.purge_trash"))
        await waiting(world.database, 1)
    assert await erasing == []
    assert (await get(world.owner, item["id"]))["key"] == item["key"]
    assert (await kinds(world, item["id"]))[-1] == "item.restored"

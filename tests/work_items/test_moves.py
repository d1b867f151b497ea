import asyncio
import random

from tests.items import Json, call, create, get, listed, move, patch, refused
from tests.world import World

from rytask.modules.work_items.rules import REACH


async def column(world: World, status: str = "To Do") -> list[str]:
    """The keys of a status in their order."""
    status_id = str(world.project.statuses[status])
    items = await listed(world.owner, projectId=str(world.project.id))
    inside = [item for item in items if item["statusId"] == status_id]
    return [item["key"] for item in sorted(inside, key=lambda i: (i["position"], i["id"]))]


async def row(world: World, count: int) -> list[Json]:
    return [await create(world, f"Item {n}") for n in range(count)]


async def test_an_item_goes_directly_before_or_after_another(world: World) -> None:
    one, two, three, four = await row(world, 4)
    four = await move(world.owner, four, beforeId=one["id"])
    assert await column(world) == ["GO-4", "GO-1", "GO-2", "GO-3"]
    assert (four["version"], four["statusId"]) == (2, one["statusId"])
    await move(world.owner, four, afterId=one["id"])
    assert await column(world) == ["GO-1", "GO-4", "GO-2", "GO-3"]
    one = await move(world.owner, one, afterId=three["id"])
    assert await column(world) == ["GO-4", "GO-2", "GO-3", "GO-1"]
    await move(world.owner, one, afterId=two["id"], beforeId=three["id"])
    assert await column(world) == ["GO-4", "GO-2", "GO-1", "GO-3"]
    assert (await create(world))["key"] == (await column(world))[-1]


async def test_an_item_goes_to_another_status_and_is_completed_there(world: World) -> None:
    done = str(world.project.statuses["Done"])
    one, two, three = await row(world, 3)
    one, two = [await move(world.owner, item, statusId=done) for item in (one, two)]
    three = await move(world.owner, three, statusId=done, beforeId=two["id"])
    assert await column(world, "Done") == ["GO-1", "GO-3", "GO-2"]
    assert all(item["completedAt"] for item in (one, two, three))
    assert await get(world.owner, three["id"]) == three
    rows = (await call(world.owner, "GET", f"/work-items/{three['id']}/activity"))["data"]
    assert [entry["action"] for entry in rows] == ["CREATED", "STATUS_CHANGED"]


async def test_to_where_it_is_already_an_item_does_not_move(world: World) -> None:
    one, two, three = await row(world, 3)
    for item, to in (
        (two, {"afterId": one["id"]}),
        (two, {"beforeId": three["id"]}),
        (three, {"afterId": two["id"]}),
        (one, {"beforeId": two["id"]}),
        (two, {"statusId": two["statusId"]}),
        (two, {}),
    ):
        assert await move(world.owner, item, **to) == item


async def test_a_neighbour_is_another_item_of_the_status(world: World) -> None:
    elsewhere = await world.elsewhere()
    one, two, three = await row(world, 3)
    done = str(world.project.statuses["Done"])
    trashed = await create(world)
    await call(world.owner, "DELETE", f"/work-items/{trashed['id']}", 204)
    path = f"/work-items/{one['id']}/move"
    foreign = await create(elsewhere)
    for to, code in (
        ({"beforeId": one["id"]}, "work_item.unknown_neighbour"),
        ({"afterId": foreign["id"]}, "work_item.unknown_neighbour"),
        ({"afterId": trashed["id"]}, "work_item.unknown_neighbour"),
        ({"afterId": two["id"], "statusId": done}, "work_item.unknown_neighbour"),
        ({"afterId": three["id"], "beforeId": two["id"]}, "work_item.wrong_order"),
        ({"statusId": foreign["statusId"]}, "work_item.unknown_status"),
    ):
        await refused(world.owner, "POST", path, 422, code, json={"version": 1, **to})
    assert await column(world) == ["GO-1", "GO-2", "GO-3"]


async def test_a_place_that_everybody_inserts_at_never_runs_out_of_room(world: World) -> None:
    items = await row(world, 2 * REACH + 4)
    expected = [item["key"] for item in items]
    first, last = items[REACH], items[-1]
    for n in range(150):
        moved = items[-1 - n % 3]
        current = await get(world.owner, moved["id"])
        await move(world.owner, current, afterId=first["id"])
        expected.remove(moved["key"])
        expected.insert(expected.index(first["key"]) + 1, moved["key"])
    assert await column(world) == expected
    positions = [i["position"] for i in await listed(world.owner)]
    assert len(set(positions)) == len(positions)
    assert (await get(world.owner, items[0]["id"]))["version"] == 1
    assert (await get(world.owner, last["id"]))["version"] > 40


async def test_moves_are_what_a_list_would_do(world: World) -> None:
    luck = random.Random(4)
    columns: dict[str, list[str]] = {
        "To Do": [item["id"] for item in await row(world, 6)],
        "Done": [],
    }
    for _ in range(60):
        source = luck.choice([name for name, ids in columns.items() if ids])
        target = luck.choice(list(columns))
        item_id = luck.choice(columns[source])
        others = [id for id in columns[target] if id != item_id]
        to: dict[str, str] = {"statusId": str(world.project.statuses[target])}
        if others:
            anchor = luck.choice(others)
            side = luck.choice(["beforeId", "afterId"])
            to[side] = anchor
            at = others.index(anchor) + (side == "afterId")
        else:
            at = 0
        columns[source].remove(item_id)
        columns[target].insert(at, item_id)
        await move(world.owner, await get(world.owner, item_id), **to)
    items = await listed(world.owner)
    for name, ids in columns.items():
        inside = [i for i in items if i["statusId"] == str(world.project.statuses[name])]
        assert [i["id"] for i in sorted(inside, key=lambda i: i["position"])] == ids


async def test_moves_at_the_same_time_leave_one_order(world: World) -> None:
    items = await row(world, 12)
    done = str(world.project.statuses["Done"])
    anchor = items[0]
    answers = await asyncio.gather(
        *(
            world.owner.api.post(
                f"/api/v1/work-items/{item['id']}/move",
                json={"version": 1} | ({"afterId": anchor["id"]} if n % 2 else {"statusId": done}),
            )
            for n, item in enumerate(items[1:])
        ),
        *(create(world, f"More {n}") for n in range(4)),
    )
    assert {a.status_code for a in answers if not isinstance(a, dict)} == {200}
    found = await listed(world.owner)
    assert len({item["position"] for item in found}) == len(found) == 16
    assert len(await column(world, "Done")) == 6


async def test_a_new_status_by_a_change_puts_the_item_at_its_end(world: World) -> None:
    done = str(world.project.statuses["Done"])
    one, two = await row(world, 2)
    await patch(world.owner, two, statusId=done)
    await patch(world.owner, one, statusId=done)
    assert await column(world, "Done") == ["GO-2", "GO-1"]

import asyncio
import random

from tests.items import Json, call, create, get, patch, refused
from tests.world import World

from rytask.modules.work_items.rules import MAX_DEPTH


async def chain(world: World, length: int) -> list[Json]:
    items = [await create(world, "Level 1")]
    while len(items) < length:
        items.append(await create(world, f"Level {len(items) + 1}", parentId=items[-1]["id"]))
    return items


async def test_sub_tasks_are_listed_by_number_page_by_page(world: World) -> None:
    parent = await create(world)
    path = f"/work-items/{parent['id']}/subtasks"
    made = []
    for n in range(3):
        answer = await call(world.owner, "POST", path, 201, json={"quickAdd": f"Part {n} !high"})
        made.append(answer["data"])
    assert {item["parentId"] for item in made} == {parent["id"]}
    assert (await get(world.owner, parent["id"]))["childCount"] == 3
    page = await call(world.owner, "GET", path, params={"limit": 2})
    rest = await call(
        world.owner, "GET", path, params={"limit": 2, "cursor": page["pageInfo"]["nextCursor"]}
    )
    assert page["data"] + rest["data"] == made
    empty = await call(world.owner, "GET", f"/work-items/{made[0]['id']}/subtasks")
    assert empty == {"data": [], "pageInfo": {"nextCursor": None, "hasNextPage": False}}
    await refused(await world.stranger(), "GET", path, 404, "not_found")


async def test_an_item_cannot_come_to_be_below_itself(world: World) -> None:
    top, middle, bottom = await chain(world, 3)
    for parent in (top, middle, bottom):
        body = {"version": 1, "parentId": parent["id"]}
        path = f"/work-items/{top['id']}"
        await refused(world.owner, "PATCH", path, 422, "work_item.parent_cycle", json=body)


async def test_the_tree_is_not_deeper_than_it_may_be(world: World) -> None:
    items = await chain(world, MAX_DEPTH)
    body = {"projectId": str(world.project.id), "title": "x", "parentId": items[-1]["id"]}
    await refused(world.owner, "POST", "/work-items", 422, "work_item.too_deep", json=body)
    [top, below] = await chain(world, 2)
    body = {"version": top["version"], "parentId": items[-2]["id"]}
    path = f"/work-items/{top['id']}"
    await refused(world.owner, "PATCH", path, 422, "work_item.too_deep", json=body)
    await patch(world.owner, top, parentId=items[-3]["id"])
    assert (await get(world.owner, below["id"]))["parentId"] == top["id"]


async def test_two_who_hang_each_under_the_other_make_no_cycle(world: World) -> None:
    for _ in range(5):
        one, other = await create(world), await create(world)
        answers = await asyncio.gather(
            *(
                world.owner.api.patch(
                    f"/api/v1/work-items/{child['id']}",
                    json={"version": 1, "parentId": parent["id"]},
                )
                for child, parent in ((one, other), (other, one))
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_sub_tasks_of_a_trashed_item_stay_its_sub_tasks(world: World) -> None:
    parent, child = await chain(world, 2)
    await call(world.owner, "DELETE", f"/work-items/{parent['id']}", 204)
    assert (await get(world.owner, child["id"]))["parentId"] == parent["id"]
    body = {"projectId": str(world.project.id), "title": "x", "parentId": parent["id"]}
    await refused(world.owner, "POST", "/work-items", 422, "work_item.unknown_parent", json=body)
    restored = await call(world.owner, "POST", f"/work-items/{parent['id']}/restore")
    assert restored["data"]["childCount"] == 1


async def test_child_counts_are_what_a_recount_gives(world: World) -> None:
    luck = random.Random(6)
    items = [(await create(world, f"Item {n}"))["id"] for n in range(8)]

    async def step(item_id: str, act: str, other: str) -> None:
        path = f"/api/v1/work-items/{item_id}"
        api = world.owner.api
        if act == "trash":
            await api.delete(path)
        elif act == "restore":
            await api.post(f"{path}/restore")
        elif act == "subtask":
            await api.post(f"{path}/subtasks", json={"title": "Part"})
        else:
            item = (await api.get(path)).json().get("data")
            if item is not None:
                parent = None if act == "free" else other
                await api.patch(path, json={"version": item["version"], "parentId": parent})

    acts = ["trash", "restore", "subtask", "hang", "hang", "free"]
    for _ in range(25):
        await asyncio.gather(
            *(step(luck.choice(items), luck.choice(acts), luck.choice(items)) for _ in range(4))
        )
    wrong = await world.database.reader.values(
        "SELECT w.key FROM work_items w WHERE w.org_id = $1 AND w.child_count <>"
        " (SELECT count(*) FROM work_items c WHERE c.org_id = $1 AND c.parent_id = w.id"
        "     AND c.deleted_at IS NULL)",
        world.org_id,
    )
    assert wrong == []

import asyncio

from tests.items import call, capture, create, get, refused
from tests.world import World


async def label(world: World, name: str) -> str:
    return (await call(world.owner, "POST", "/labels", 201, json={"name": name}))["data"]["id"]


async def test_label_names_are_unique_whatever_their_case(world: World) -> None:
    await label(world, "Bug")
    await refused(world.owner, "POST", "/labels", 409, "label.name_taken", json={"name": " bug "})
    other = await label(world, "Feature")
    await refused(
        world.owner, "PATCH", f"/labels/{other}", 409, "label.name_taken", json={"name": "BUG"}
    )


async def test_labels_are_listed_by_name_and_can_be_renamed(world: World) -> None:
    zoo, ant = await label(world, "zoo"), await label(world, "Ant")
    await call(
        world.owner, "PATCH", f"/labels/{zoo}", json={"name": "aardvark", "color": "#123456"}
    )
    assert (await call(world.owner, "GET", "/labels"))["data"] == [
        {"id": zoo, "name": "aardvark", "color": "#123456"},
        {"id": ant, "name": "Ant", "color": None},
    ]


async def test_a_deleted_label_is_on_no_item_any_more(world: World) -> None:
    bug, feature = await label(world, "bug"), await label(world, "feature")
    item = await create(world, labelIds=[bug, feature])
    await call(world.owner, "DELETE", f"/labels/{bug}", 204)
    after = await get(world.owner, item["id"])
    assert after == item | {"labelIds": [feature], "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] > item["updatedAt"]
    await refused(world.owner, "DELETE", f"/labels/{bug}", 404, "not_found")


async def test_a_merged_label_hands_its_items_over(world: World) -> None:
    bug, defect = await label(world, "bug"), await label(world, "defect")
    only = await create(world, labelIds=[defect])
    both = await create(world, labelIds=[defect, bug])
    into = await call(world.owner, "POST", f"/labels/{defect}/merge", json={"intoId": bug})
    assert into["data"]["id"] == bug
    for item in (only, both):
        assert (await get(world.owner, item["id"]))["labelIds"] == [bug]
    assert [x["id"] for x in (await call(world.owner, "GET", "/labels"))["data"]] == [bug]
    await refused(
        world.owner, "POST", f"/labels/{bug}/merge", 422, "label.same", json={"intoId": bug}
    )


async def test_labels_of_another_organization_do_not_exist(world: World) -> None:
    elsewhere = await world.elsewhere()
    foreign = await label(elsewhere, "bug")
    item = await create(world)
    body = {"projectId": str(world.project.id), "title": "x", "labelIds": [foreign]}
    await refused(world.owner, "POST", "/work-items", 422, "work_item.unknown_label", json=body)
    path = f"/work-items/{item['id']}"
    body = {"version": 1, "labelIds": [foreign]}
    await refused(world.owner, "PATCH", path, 422, "work_item.unknown_label", json=body)
    for method, at, body in (
        ("POST", f"{path}/labels", {"labelId": foreign}),
        ("PATCH", f"/labels/{foreign}", {"name": "x"}),
        ("DELETE", f"/labels/{foreign}", None),
    ):
        await refused(world.owner, method, at, 404, "not_found", json=body)
    mine = await label(world, "mine")
    body = {"intoId": foreign}
    await refused(world.owner, "POST", f"/labels/{mine}/merge", 404, "not_found", json=body)


async def test_an_item_gets_and_loses_labels(world: World) -> None:
    bug = await label(world, "Bug")
    item = await create(world)
    path = f"/work-items/{item['id']}/labels"
    assert await call(world.owner, "POST", path, 201, json={"name": "bug"}) == {"labelId": bug}
    await call(world.owner, "POST", path, 201, json={"labelId": bug})
    new = (await call(world.owner, "POST", path, 201, json={"name": "Fresh"}))["labelId"]
    assert (await get(world.owner, item["id"]))["labelIds"] == [bug, new]
    await call(world.owner, "DELETE", f"{path}/{bug}", 204)
    await refused(world.owner, "DELETE", f"{path}/{bug}", 404, "not_found")
    assert (await get(world.owner, item["id"]))["labelIds"] == [new]
    await call(world.owner, "POST", path, 400, json={})


async def test_captures_that_name_a_new_label_together_make_it_once(world: World) -> None:
    answers = await asyncio.gather(
        *(capture(world, f"Thing {n} #urgent-ish #Two") for n in range(10))
    )
    assert len({tuple(answer["data"]["labelIds"]) for answer in answers}) == 1
    assert len((await call(world.owner, "GET", "/labels"))["data"]) == 2


async def test_a_label_deleted_while_items_get_it_stays_on_none(world: World) -> None:
    bug = await label(world, "bug")
    body = {"projectId": str(world.project.id), "title": "x", "labelIds": [bug]}
    answers = await asyncio.gather(
        *(world.owner.api.post("/api/v1/work-items", json=body) for _ in range(6)),
        world.owner.api.delete(f"/api/v1/labels/{bug}"),
        *(world.owner.api.post("/api/v1/work-items", json=body) for _ in range(6)),
    )
    assert {answer.status_code for answer in answers} <= {201, 204, 422}
    carrying = await world.database.reader.value(
        "SELECT count(*) FROM work_items WHERE org_id = $1 AND label_ids <> '{}'", world.org_id
    )
    assert carrying == 0

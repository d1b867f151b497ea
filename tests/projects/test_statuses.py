from tests.items import call, create, get, listed, refused
from tests.world import World


async def test_a_status_comes_at_its_position_or_at_the_end(world: World) -> None:
    path = f"/projects/{world.project.id}/statuses"
    for body in (
        {"name": "Last", "category": "CANCELLED"},
        {"name": "First", "category": "BACKLOG", "position": 0},
        {"name": "Beyond", "category": "BACKLOG", "position": 99},
    ):
        await call(world.owner, "POST", path, 201, json=body)
    statuses = (await call(world.owner, "GET", path))["data"]
    names = [status["name"] for status in statuses]
    assert (names[0], names[-2], names[-1]) == ("First", "Last", "Beyond")
    assert [status["position"] for status in statuses] == list(range(9))


async def test_status_names_are_unique_in_a_project_whatever_their_case(world: World) -> None:
    path = f"/projects/{world.project.id}/statuses"
    body = {"name": "to do", "category": "STARTED"}
    await refused(world.owner, "POST", path, 409, "status.name_taken", json=body)
    done = world.project.statuses["Done"]
    await refused(
        world.owner, "PATCH", f"/statuses/{done}", 409, "status.name_taken", json={"name": "TO DO"}
    )


async def test_an_order_names_every_status_once(world: World) -> None:
    path = f"/projects/{world.project.id}/statuses/reorder"
    ids = [str(id) for id in world.project.statuses.values()]
    answer = await call(world.owner, "POST", path, json={"orderedIds": ids[::-1]})
    assert [s["id"] for s in answer["data"]] == ids[::-1]
    shown = await call(world.owner, "GET", f"/projects/{world.project.id}/statuses")
    assert shown == answer
    elsewhere = await world.elsewhere()
    foreign = [str(id) for id in elsewhere.project.statuses.values()]
    for wrong in (ids[1:], [*ids, ids[0]], [*ids[1:], foreign[0]], foreign):
        await refused(
            world.owner, "POST", path, 422, "status.incomplete_order", json={"orderedIds": wrong}
        )


async def test_a_new_category_completes_or_reopens_the_items(world: World) -> None:
    status = str(world.project.statuses["Review"])
    item = await create(world, statusId=status)
    assert item["completedAt"] is None
    await call(world.owner, "PATCH", f"/statuses/{status}", json={"category": "COMPLETED"})
    done = await get(world.owner, item["id"])
    assert done["completedAt"] is not None
    await call(world.owner, "PATCH", f"/statuses/{status}", json={"category": "CANCELLED"})
    assert (await get(world.owner, item["id"]))["completedAt"] is None
    await call(world.owner, "PATCH", f"/statuses/{status}", json={"category": "STARTED"})
    after = await get(world.owner, item["id"])
    assert after == item | {"version": 4, "updatedAt": after["updatedAt"]}


async def test_a_status_with_items_is_deleted_only_with_a_place_for_them(world: World) -> None:
    todo, done = world.project.statuses["To Do"], world.project.statuses["Done"]
    settled = await create(world, statusId=str(done))
    items = [await create(world, title) for title in ("one", "two", "three")]
    path = f"/statuses/{todo}"
    await refused(world.owner, "DELETE", path, 409, "status.in_use")
    elsewhere = await world.elsewhere()
    foreign = elsewhere.project.statuses["Done"]
    for wrong in (foreign, todo):
        await refused(
            world.owner, "DELETE", path, 422, "status.unknown", params={"reassignTo": str(wrong)}
        )
    await call(world.owner, "DELETE", path, 204, params={"reassignTo": str(done)})
    moved = [await get(world.owner, item["id"]) for item in items]
    assert {item["statusId"] for item in moved} == {str(done)}
    assert all(item["completedAt"] for item in moved)
    assert [item["version"] for item in moved] == [2, 2, 2]
    positions = [settled["position"], *(item["position"] for item in moved)]
    assert positions == sorted(set(positions))
    later = await create(world, statusId=str(done))
    assert later["position"] > positions[-1]


async def test_items_in_the_trash_do_not_keep_a_status(world: World) -> None:
    review = world.project.statuses["Review"]
    item = await create(world, statusId=str(review))
    await call(world.owner, "DELETE", f"/work-items/{item['id']}", 204)
    await call(world.owner, "DELETE", f"/statuses/{review}", 204)
    back = (await call(world.owner, "POST", f"/work-items/{item['id']}/restore"))["data"]
    assert back["statusId"] == str(world.project.statuses["Backlog"])


async def test_a_project_keeps_its_last_status(world: World) -> None:
    *others, last = world.project.statuses.values()
    for status in others:
        await call(world.owner, "DELETE", f"/statuses/{status}", 204)
    await refused(world.owner, "DELETE", f"/statuses/{last}", 409, "status.last")


async def test_statuses_of_others_cannot_be_touched(world: World) -> None:
    stranger, outsider = await world.stranger(), await world.person(project_role=None)
    member = await world.person()
    path = f"/statuses/{world.project.statuses['Done']}"
    for person in (stranger, outsider):
        await refused(person, "PATCH", path, 404, "not_found", json={"name": "Mine"})
        await refused(person, "DELETE", path, 404, "not_found")
    await refused(member, "PATCH", path, 403, "project.role_too_low", json={"name": "Mine"})
    assert await listed(member, projectId=str(world.project.id)) == []

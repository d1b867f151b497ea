import asyncio
from uuid import uuid4

import pytest
from tests.items import ITEMS, call, create, get, patch, refused
from tests.world import World


async def test_fields_change_and_null_empties_them(world: World) -> None:
    item = await create(world, description="Long", estimateValue=3, dueDate="2026-01-01")
    changed = await patch(
        world.owner, item, title=" New ", description=None, estimateValue=None, dueDate=None
    )
    expected = {
        "title": "New",
        "description": None,
        "estimateValue": None,
        "dueDate": None,
        "overdue": False,
        "version": 2,
        "updatedAt": changed["updatedAt"],
    }
    assert changed == item | expected
    assert await get(world.owner, item["id"]) == changed


async def test_what_is_the_same_already_changes_nothing(world: World) -> None:
    item = await create(world)
    same = {name: item[name] for name in ("title", "statusId", "priority", "dueDate", "labelIds")}
    assert await patch(world.owner, item, **same) == item
    assert await patch(world.owner, item) == item
    activity = await call(world.owner, "GET", f"/work-items/{item['id']}/activity")
    assert [row["action"] for row in activity["data"]] == ["CREATED"]


async def test_an_old_version_is_refused_and_the_current_one_named(world: World) -> None:
    item = await create(world)
    await patch(world.owner, item, title="First")
    path = f"/work-items/{item['id']}"
    for method, at, body in (
        ("PATCH", path, {"version": 1, "title": "Second"}),
        ("POST", f"{path}/move", {"version": 1, "statusId": item["statusId"]}),
    ):
        problem = await refused(world.owner, method, at, 409, "work_item.stale_version", json=body)
        assert problem["current"] == 2
    await call(world.owner, "PATCH", path, 400, json={"title": "No version"})


async def test_of_ten_who_change_the_same_version_one_wins(world: World) -> None:
    item = await create(world)
    answers = await asyncio.gather(
        *(
            world.owner.api.patch(
                f"{ITEMS}/{item['id']}", json={"version": 1, "title": f"Title {n}"}
            )
            for n in range(10)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    assert (await get(world.owner, item["id"]))["version"] == 2


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"title": " "}, 400, "work_item.no_title"),
        ({"title": "x" * 501}, 400, "work_item.title_too_long"),
        ({"title": None}, 400, "request.malformed"),
        ({"priority": None}, 400, "request.malformed"),
        ({"statusId": None}, 400, "request.malformed"),
        ({"estimateValue": -0.5}, 400, "request.malformed"),
        ({"endDate": "2026-01-01"}, 422, "work_item.ends_before_start"),
        ({"startDate": "9999-01-01"}, 400, "work_item.bad_day"),
        ({"statusId": str(uuid4())}, 422, "work_item.unknown_status"),
        ({"assigneeId": str(uuid4())}, 422, "work_item.unknown_assignee"),
        ({"labelIds": [str(uuid4())]}, 422, "work_item.unknown_label"),
        ({"parentId": str(uuid4())}, 422, "work_item.unknown_parent"),
        ({"number": 7}, 400, "request.malformed"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    world: World, fields: dict[str, object], status: int, code: str
) -> None:
    item = await create(world, startDate="2026-02-01")
    path, body = f"/work-items/{item['id']}", {"version": 1, **fields}
    await refused(world.owner, "PATCH", path, status, code, json=body)
    assert await get(world.owner, item["id"]) == item


async def test_completing_and_reopening_is_remembered(world: World) -> None:
    statuses = {name: str(id) for name, id in world.project.statuses.items()}
    item = await create(world)
    done = await patch(world.owner, item, statusId=statuses["Done"])
    assert done["completedAt"] == done["updatedAt"]
    renamed = await patch(world.owner, done, title="Else")
    assert renamed["completedAt"] == done["completedAt"]
    cancelled = await patch(world.owner, renamed, statusId=statuses["Cancelled"])
    assert cancelled["completedAt"] is None
    open_again = await patch(
        world.owner, cancelled, statusId=statuses["To Do"], dueDate="2020-01-01"
    )
    assert open_again["overdue"]
    assert await get(world.owner, item["id"]) == open_again


async def test_the_trash_hides_an_item_until_it_is_restored(world: World) -> None:
    item = await create(world)
    path = f"/work-items/{item['id']}"
    await call(world.owner, "DELETE", path, 204)
    await refused(world.owner, "GET", path, 404, "not_found")
    await refused(world.owner, "DELETE", path, 404, "not_found")
    await refused(world.owner, "PATCH", path, 404, "not_found", json={"version": 2})
    assert (await call(world.owner, "GET", "/work-items"))["data"] == []
    restored = (await call(world.owner, "POST", f"{path}/restore"))["data"]
    assert restored == item | {"version": 3, "updatedAt": restored["updatedAt"]}
    assert await get(world.owner, item["id"]) == restored
    assert (await call(world.owner, "POST", f"{path}/restore"))["data"] == restored


async def test_whoever_may_only_look_changes_nothing(world: World) -> None:
    viewer = await world.person(project_role="VIEWER")
    outsider = await world.person(project_role=None)
    item = await create(world)
    path = f"/work-items/{item['id']}"
    for person, status, code in (
        (viewer, 403, "project.role_too_low"),
        (outsider, 404, "not_found"),
        (await world.stranger(), 404, "not_found"),
    ):
        for method, sub, body in (
            ("PATCH", "", {"version": 1, "title": "Mine"}),
            ("DELETE", "", None),
            ("POST", "/move", {"version": 1}),
            ("POST", "/restore", None),
            ("POST", "/labels", {"name": "mine"}),
            ("DELETE", f"/labels/{uuid4()}", None),
            ("POST", "/subtasks", {"title": "Mine"}),
        ):
            await refused(person, method, path + sub, status, code, json=body)
    assert await get(world.owner, item["id"]) == item


async def test_activity_tells_one_row_for_each_thing_that_changed(world: World) -> None:
    sam = await world.person(name="Sam")
    item = await create(world, assigneeId=str(world.owner.id))
    done = str(world.project.statuses["Done"])
    changed = await patch(
        world.owner, item, title="New", priority="HIGH", statusId=done, assigneeId=str(sam.id)
    )
    path = f"/work-items/{item['id']}"
    label = (await call(world.owner, "POST", f"{path}/labels", 201, json={"name": "a"}))["labelId"]
    await call(world.owner, "DELETE", f"{path}/labels/{label}", 204)
    sub = (await call(sam, "POST", f"{path}/subtasks", 201, json={"title": "Part"}))["data"]
    await call(world.owner, "DELETE", path, 204)
    await call(world.owner, "POST", f"{path}/restore")
    rows = (await call(sam, "GET", f"{path}/activity"))["data"]
    todo, owner = item["statusId"], str(world.owner.id)
    assert [(r["action"], r["field"], r["oldValue"], r["newValue"]) for r in rows] == [
        ("CREATED", None, None, None),
        ("ASSIGNED", "assigneeId", None, owner),
        ("UPDATED", "title", "Fix the door", "New"),
        ("UPDATED", "priority", "NONE", "HIGH"),
        ("STATUS_CHANGED", "statusId", todo, done),
        ("ASSIGNED", "assigneeId", owner, str(sam.id)),
        ("LABEL_ADDED", "labelIds", None, label),
        ("LABEL_REMOVED", "labelIds", label, None),
        ("SUBTASK_ADDED", None, None, sub["id"]),
        ("DELETED", None, None, None),
        ("RESTORED", None, None, None),
    ]
    assert {row["actorId"] for row in rows} == {owner, str(sam.id)}
    assert len({row["id"] for row in rows}) == len(rows)
    assert changed["version"] == 2
    paged, query = [], {"limit": 2}
    while True:
        page = await call(sam, "GET", f"{path}/activity", params=query)
        assert len(page["data"]) <= 2
        paged += page["data"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        query["cursor"] = page["pageInfo"]["nextCursor"]
    assert paged == rows
    await refused(
        sam, "GET", f"{path}/activity", 400, "request.bad_cursor", params={"cursor": "zz"}
    )
    await refused(await world.stranger(), "GET", f"{path}/activity", 404, "not_found")


async def test_reporter_and_assignees_watch_and_anybody_may(world: World) -> None:
    sam, viewer = await world.person(name="Sam"), await world.person(project_role="VIEWER")
    outsider = await world.person(project_role=None)
    item = await create(world, assigneeId=str(world.owner.id))
    path = f"/work-items/{item['id']}/watchers"

    async def reasons() -> dict[str, str]:
        return {w["userId"]: w["reason"] for w in (await call(viewer, "GET", path))["data"]}

    assert await reasons() == {str(world.owner.id): "AUTHOR"}
    await patch(world.owner, item, assigneeId=str(sam.id))
    await call(viewer, "POST", path, 201, json={})
    watching = await call(viewer, "POST", path, 201, json={})
    assert watching["data"]["reason"] == "MANUAL"
    assert await reasons() == {
        str(world.owner.id): "AUTHOR",
        str(sam.id): "ASSIGNEE",
        str(viewer.id): "MANUAL",
    }
    await call(viewer, "DELETE", path, 204)
    await call(viewer, "DELETE", path, 204)
    await call(sam, "DELETE", path, 204, params={"userId": str(world.owner.id)})
    assert await reasons() == {str(sam.id): "ASSIGNEE"}
    body = {"userId": str(sam.id)}
    await refused(viewer, "POST", path, 403, "project.role_too_low", json=body)
    body = {"userId": str(outsider.id)}
    await refused(sam, "POST", path, 422, "work_item.unknown_watcher", json=body)
    await refused(outsider, "POST", path, 404, "not_found", json={})
    await refused(outsider, "GET", path, 404, "not_found")

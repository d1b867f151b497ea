import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from tests.items import ITEMS, call, capture, create, get, listed, refused
from tests.world import World

from rytask.modules.work_items import service
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.ids import ProjectId
from rytask.platform.work import system


async def test_an_item_is_numbered_and_starts_in_the_first_unstarted_status(world: World) -> None:
    first, second = await create(world, "  Fix the door\n"), await create(world)
    assert (first["key"], first["number"], second["key"]) == ("GO-1", 1, "GO-2")
    assert first["title"] == "Fix the door"
    assert first["statusId"] == str(world.project.statuses["To Do"])
    assert first["reporterId"] == str(world.owner.id)
    assert (first["version"], first["source"], first["priority"]) == (1, "WEB", "NONE")
    assert await get(world.owner, first["id"]) == first
    assert await get(world.owner, "go-1") == first


async def test_every_field_can_be_given(world: World) -> None:
    sam = await world.person(name="Sam")
    parent = await create(world)
    fields = {
        "description": "Since Monday",
        "statusId": str(world.project.statuses["Review"]),
        "priority": "URGENT",
        "assigneeId": str(sam.id),
        "parentId": parent["id"],
        "estimateValue": 2.5,
        "startDate": "2026-03-01",
        "endDate": "2026-03-02",
        "dueDate": "2026-03-03",
    }
    item = await create(world, **fields)
    assert item == item | fields
    assert await get(sam, item["id"]) == item


async def test_an_item_made_in_a_completed_status_is_completed(world: World) -> None:
    done = await create(world, statusId=str(world.project.statuses["Done"]))
    assert done["completedAt"] == done["createdAt"]
    cancelled = await create(world, statusId=str(world.project.statuses["Cancelled"]))
    assert cancelled["completedAt"] is None


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"title": ""}, 400, "work_item.no_title"),
        ({"title": " \n "}, 400, "work_item.no_title"),
        ({"title": "x" * 501}, 400, "work_item.title_too_long"),
        ({"title": None, "quickAdd": "x" * 501}, 400, "work_item.title_too_long"),
        ({"title": None}, 400, "work_item.no_title"),
        ({"title": None, "quickAdd": "!high ^friday"}, 400, "work_item.no_title"),
        ({"estimateValue": -1}, 400, "request.malformed"),
        ({"estimateValue": 1e308}, 400, "request.malformed"),
        ({"dueDate": "2026-02-30"}, 400, "request.malformed"),
        ({"dueDate": "1969-12-31"}, 400, "work_item.bad_day"),
        ({"dueDate": "2201-01-01"}, 400, "work_item.bad_day"),
        ({"startDate": "2026-01-02", "endDate": "2026-01-01"}, 422, "work_item.ends_before_start"),
        ({"priority": "SOON"}, 400, "request.malformed"),
        ({"color": "red"}, 400, "request.malformed"),
        ({"projectId": None}, 400, "work_item.no_project"),
        ({"projectId": str(uuid4())}, 404, "not_found"),
        ({"statusId": str(uuid4())}, 422, "work_item.unknown_status"),
        ({"assigneeId": str(uuid4())}, 422, "work_item.unknown_assignee"),
        ({"labelIds": [str(uuid4())]}, 422, "work_item.unknown_label"),
        ({"parentId": str(uuid4())}, 422, "work_item.unknown_parent"),
    ],
)
async def test_what_cannot_be_is_refused_and_makes_nothing(
    world: World, fields: dict[str, object], status: int, code: str
) -> None:
    body = {"projectId": str(world.project.id), "title": "Fix"} | fields
    await refused(world.owner, "POST", "/work-items", status, code, json=body)
    assert await listed(world.owner) == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"dueDate": "2026-02-30"}, "dueDate: not a day as in 2026-11-30"),
        ({"statusId": "To Do"}, "statusId: not an id"),
        ({"color": "red"}, "body: Object contains unknown field `color`"),
    ],
)
async def test_what_is_wrong_is_said_plainly(
    world: World, fields: dict[str, object], sentence: str
) -> None:
    body = {"projectId": str(world.project.id), "title": "Fix"} | fields
    problem = await refused(world.owner, "POST", "/work-items", 400, "request.malformed", json=body)
    assert problem["detail"] == sentence


async def test_what_belongs_to_others_cannot_be_referred_to(world: World) -> None:
    elsewhere = await world.elsewhere()
    outsider = await world.person(project_role=None)
    body = {"name": "Ops", "keyPrefix": "OPS"}
    ops = (await call(world.owner, "POST", "/projects", 201, json=body))["data"]
    [status, *_] = (await call(world.owner, "GET", f"/projects/{ops['id']}/statuses"))["data"]
    body = {"projectId": ops["id"], "title": "Other"}
    other = (await call(world.owner, "POST", "/work-items", 201, json=body))["data"]
    foreign = await create(elsewhere)
    for fields, code in (
        ({"statusId": status["id"]}, "work_item.unknown_status"),
        ({"statusId": foreign["statusId"]}, "work_item.unknown_status"),
        ({"assigneeId": str(outsider.id)}, "work_item.unknown_assignee"),
        ({"assigneeId": str(elsewhere.owner.id)}, "work_item.unknown_assignee"),
        ({"parentId": other["id"]}, "work_item.unknown_parent"),
        ({"parentId": foreign["id"]}, "work_item.unknown_parent"),
    ):
        body = {"projectId": str(world.project.id), "title": "Fix", **fields}
        await refused(world.owner, "POST", "/work-items", 422, code, json=body)
    body = {"projectId": str(elsewhere.project.id), "title": "Fix"}
    await refused(world.owner, "POST", "/work-items", 404, "not_found", json=body)


async def test_an_admin_of_the_organization_can_be_assigned_anywhere(world: World) -> None:
    admin = await world.person("ADMIN", project_role=None)
    item = await create(world, assigneeId=str(admin.id))
    assert item["assigneeId"] == str(admin.id)


async def test_a_line_becomes_an_item(world: World) -> None:
    sam = await world.person(name="Sam Smith")
    world.clock.set(datetime(2026, 3, 4, 12, tzinfo=UTC))
    parent = await create(world)
    answer = await capture(world, "Fix login @sam ~2h #bug !high ^friday +go >go-1")
    item = answer["data"]
    [label] = (await call(world.owner, "GET", "/labels"))["data"]
    assert answer["meta"] == {"unresolved": []}
    assert item == item | {
        "title": "Fix login",
        "assigneeId": str(sam.id),
        "estimateValue": 2.0,
        "priority": "HIGH",
        "dueDate": "2026-03-06",
        "parentId": parent["id"],
        "labelIds": [label["id"]],
    }
    assert label["name"] == "bug"


async def test_what_a_line_names_and_nobody_knows_stays_in_the_title(world: World) -> None:
    elsewhere = await world.elsewhere()
    await create(elsewhere)
    line = "Ask @nobody about +NOPE and >GO-99 ^soonish !asap"
    answer = await capture(world, line)
    assert answer["data"]["title"] == line
    assert answer["meta"]["unresolved"] == [
        {"token": "@nobody", "kind": "assignee"},
        {"token": "+NOPE", "kind": "project"},
        {"token": ">GO-99", "kind": "parent"},
        {"token": "^soonish", "kind": "date"},
        {"token": "!asap", "kind": "priority"},
    ]


async def test_a_handle_means_the_one_person_it_fits_best(world: World) -> None:
    smith, jones = await world.person(name="Sam Smith"), await world.person(name="Sam Jones")
    outsider = await world.person(name="Zoe", project_role=None)
    for handle, expected in (
        (smith.email.split("@")[0], str(smith.id)),
        ("SamJones", str(jones.id)),
        ("sam.jones", str(jones.id)),
        ("sam", None),
        ("zoe", None),
        (outsider.email.split("@")[0], None),
        ("olive", str(world.owner.id)),
    ):
        answer = await capture(world, f"Do it @{handle}")
        assert (handle, answer["data"]["assigneeId"]) == (handle, expected)
        assert bool(answer["meta"]["unresolved"]) == (expected is None)
    both = await capture(world, "Do it @samsmith @nobody")
    assert (both["data"]["title"], both["data"]["assigneeId"]) == ("Do it @nobody", str(smith.id))


async def test_fields_go_before_the_line(world: World) -> None:
    answer = await capture(world, "From the line !low ^2026-05-05", title="Own", priority="HIGH")
    assert answer["data"]["title"] == "Own"
    assert (answer["data"]["priority"], answer["data"]["dueDate"]) == ("HIGH", "2026-05-05")


async def test_a_line_can_name_its_project(world: World) -> None:
    sam = await world.person(name="Sam")
    body = {"name": "Ops", "keyPrefix": "OPS"}
    ops = (await call(world.owner, "POST", "/projects", 201, json=body))["data"]
    body = {"quickAdd": "Restart it +ops"}
    item = (await call(world.owner, "POST", "/work-items", 201, json=body))["data"]
    assert (item["projectId"], item["key"]) == (ops["id"], "OPS-1")
    await refused(sam, "POST", "/work-items", 400, "work_item.no_project", json=body)
    there = await capture(world, "Restart it +OPS")
    assert there["data"]["key"] == "OPS-2"


async def test_a_day_is_the_one_where_the_capturer_is(world: World) -> None:
    sam = await world.person(name="Sam")
    world.clock.set(datetime(2026, 3, 4, 23, 30, tzinfo=UTC))
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE users SET timezone = 'Pacific/Auckland' WHERE id = $1", sam.id)
    body = {"projectId": str(world.project.id), "quickAdd": "Today ^today"}
    sams = (await call(sam, "POST", "/work-items", 201, json=body))["data"]
    mine = (await capture(world, "Today ^today"))["data"]
    assert (sams["dueDate"], mine["dueDate"]) == ("2026-03-05", "2026-03-04")
    assert (await get(sam, mine["id"]))["overdue"]
    assert not (await get(world.owner, mine["id"]))["overdue"]
    assert [item["key"] for item in await listed(sam, smart="overdue")] == [mine["key"]]
    assert await listed(world.owner, smart="overdue") == []


async def test_twenty_at_once_get_twenty_numbers(world: World) -> None:
    items = await asyncio.gather(*(create(world, f"Number {n}") for n in range(20)))
    assert sorted(item["number"] for item in items) == list(range(1, 21))
    assert len({item["position"] for item in items}) == 20


async def test_numbers_are_never_used_again(world: World) -> None:
    first = await create(world)
    await call(world.owner, "DELETE", f"/work-items/{first['id']}", 204)
    assert (await create(world))["number"] == 2


async def test_viewers_read_and_strangers_find_nothing(world: World) -> None:
    viewer = await world.person(project_role="VIEWER")
    outsider = await world.person(project_role=None)
    item = await create(world)
    assert await get(viewer, item["id"]) == item
    body = {"projectId": str(world.project.id), "title": "Mine"}
    await refused(viewer, "POST", "/work-items", 403, "project.role_too_low", json=body)
    for person in (outsider, await world.stranger()):
        await refused(person, "GET", f"/work-items/{item['id']}", 404, "not_found")
        await refused(person, "GET", "/work-items/GO-1", 404, "not_found")
        await refused(person, "POST", "/work-items", 404, "not_found", json=body)
        query = {"projectId": str(world.project.id)}
        await refused(person, "GET", "/work-items", 404, "not_found", params=query)
        assert await listed(person) == []


async def test_the_same_key_makes_one_item(world: World) -> None:
    body = {"projectId": str(world.project.id), "title": "Once"}
    headers = {"idempotency-key": "abc"}
    answers = [await world.owner.api.post(ITEMS, json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(await listed(world.owner)) == 1


async def test_a_replay_tells_who_has_left_the_project_only_what_they_were_told(
    world: World,
) -> None:
    person = await world.person("MEMBER")
    headers = {"idempotency-key": "abc"}
    body = {"projectId": str(world.project.id), "title": "Once"}
    first = (await call(person, "POST", "/work-items", 201, json=body, headers=headers))["data"]
    await call(
        world.owner, "PATCH", f"/work-items/{first['id']}", json={"version": 1, "title": "New"}
    )
    await call(world.owner, "DELETE", f"/projects/{world.project.id}/members/{person.id}", 204)
    again = await call(person, "POST", "/work-items", 201, json=body, headers=headers)
    assert again["data"] == first
    await call(person, "GET", f"/work-items/{first['id']}", 404)
    await call(person, "POST", "/work-items", 404, json=body)


async def test_the_system_captures_once_and_without_a_reporter(world: World) -> None:
    capture_id = uuid4()

    async def captured() -> UUID:
        async with world.work.writing(system(world.org_id, "SLACK")) as ctx:
            created = await service.capture(
                ctx,
                "Fix the roof @olive",
                project_id=ProjectId(world.project.id),
                source="SLACK",
                capture_id=capture_id,
            )
        return created.data.id

    item_id = await captured()
    assert await captured() == item_id
    [item] = await listed(world.owner)
    assert (item["source"], item["reporterId"]) == ("SLACK", None)
    assert item["id"] == str(item_id)
    async with world.work.writing(system(world.org_id, "SLACK")) as ctx:
        await service.trash(ctx, item_id)
    assert await listed(world.owner) == []


async def test_the_system_reports_in_somebodys_name(world: World) -> None:
    sam = await world.person(name="Sam")
    async with world.work.writing(system(world.org_id, "SLACK")) as ctx:
        new = NewItem(project_id=ProjectId(world.project.id), title="Fix")
        await service.create(ctx, new, source="SLACK", reporter_id=sam.id)
    [item] = await listed(world.owner)
    watchers = await call(world.owner, "GET", f"/work-items/{item['id']}/watchers")
    assert item["reporterId"] == str(sam.id)
    assert watchers["data"] == [{"userId": str(sam.id), "name": "Sam", "reason": "AUTHOR"}]

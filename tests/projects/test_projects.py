import asyncio
from typing import Any

from tests.items import call, create, refused
from tests.world import Person, World


async def project(person: Person, key_prefix: str = "OPS", **fields: Any) -> dict[str, Any]:
    body = {"name": "Operations", "keyPrefix": key_prefix, **fields}
    return (await call(person, "POST", "/projects", 201, json=body))["data"]


async def test_a_new_project_has_six_statuses_and_its_maker_administers_it(world: World) -> None:
    sam = await world.person(name="Sam")
    made = await project(sam, name="  Operations ")
    assert made["name"] == "Operations"
    statuses = await call(sam, "GET", f"/projects/{made['id']}/statuses")
    assert [(s["name"], s["category"]) for s in statuses["data"]] == [
        ("Backlog", "BACKLOG"),
        ("To Do", "UNSTARTED"),
        ("In Progress", "STARTED"),
        ("Review", "STARTED"),
        ("Done", "COMPLETED"),
        ("Cancelled", "CANCELLED"),
    ]
    members = await call(sam, "GET", f"/projects/{made['id']}/members")
    assert members["data"] == [{"userId": str(sam.id), "role": "ADMIN", "name": "Sam"}]


async def test_a_key_prefix_is_taken_once_in_an_organization(world: World) -> None:
    await project(world.owner)
    await refused(
        world.owner,
        "POST",
        "/projects",
        409,
        "project.key_taken",
        json={"name": "Other", "keyPrefix": "OPS"},
    )
    await project(await world.stranger())


async def test_members_see_only_their_projects_and_admins_all(world: World) -> None:
    sam = await world.person(name="Sam", project_role=None)
    admin = await world.person("ADMIN", project_role=None)
    path = f"/projects/{world.project.id}"
    await refused(sam, "GET", path, 404, "not_found")
    assert (await call(sam, "GET", "/projects"))["data"] == []
    assert (await call(admin, "GET", path))["data"]["keyPrefix"] == "GO"
    await call(
        world.owner,
        "POST",
        f"{path}/members",
        201,
        json={"userId": str(sam.id), "role": "VIEWER"},
    )
    assert [p["keyPrefix"] for p in (await call(sam, "GET", "/projects"))["data"]] == ["GO"]


async def test_projects_come_page_by_page(world: World) -> None:
    made = [await project(world.owner, f"P{n}") for n in range(5)]
    seen, query = [], {"limit": 2}
    while True:
        page = await call(world.owner, "GET", "/projects", params=query)
        assert len(page["data"]) <= 2
        seen += [p["id"] for p in page["data"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        query["cursor"] = page["pageInfo"]["nextCursor"]
    assert seen == [str(world.project.id), *(p["id"] for p in made)]
    await refused(
        world.owner, "GET", "/projects", 400, "request.bad_cursor", params={"cursor": "x"}
    )
    await call(world.owner, "GET", "/projects", 400, params={"limit": 0})
    await call(world.owner, "GET", "/projects", 400, params={"limit": 201})


async def test_an_archived_project_is_read_only_and_listed_when_asked_for(world: World) -> None:
    item = await create(world)
    path = f"/projects/{world.project.id}"
    archived = await call(world.owner, "PATCH", path, json={"archived": True})
    assert archived["data"]["archivedAt"] is not None
    assert (await call(world.owner, "GET", "/projects"))["data"] == []
    every = await call(world.owner, "GET", "/projects", params={"includeArchived": True})
    assert len(every["data"]) == 1
    await call(world.owner, "GET", f"/work-items/{item['id']}")
    body = {"projectId": str(world.project.id), "title": "More"}
    await refused(world.owner, "POST", "/work-items", 409, "project.archived", json=body)
    for method, sub, change in (
        ("PATCH", "", {"version": 1, "title": "Else"}),
        ("POST", "/move", {"version": 1}),
        ("DELETE", "", None),
    ):
        await refused(
            world.owner,
            method,
            f"/work-items/{item['id']}{sub}",
            409,
            "project.archived",
            json=change,
        )
    await call(world.owner, "PATCH", path, json={"archived": False})
    await create(world)


async def test_a_project_changes_field_by_field_and_null_empties(world: World) -> None:
    made = await project(
        world.owner, description="Long", color="#112233", leadId=str(world.owner.id)
    )
    path = f"/projects/{made['id']}"
    changed = (await call(world.owner, "PATCH", path, json={"description": None, "icon": "*"}))[
        "data"
    ]
    assert changed == made | {"description": None, "icon": "*"}
    assert (await call(world.owner, "GET", path))["data"] == changed
    await call(world.owner, "PATCH", path, 400, json={"name": None})
    await call(world.owner, "PATCH", path, 400, json={"keyPrefix": "NEW"})


async def test_a_lead_is_a_member_of_the_organization(world: World) -> None:
    stranger = await world.stranger()
    body = {"name": "Ops", "keyPrefix": "OPS", "leadId": str(stranger.id)}
    await refused(world.owner, "POST", "/projects", 422, "project.unknown_lead", json=body)
    path = f"/projects/{world.project.id}"
    await refused(
        world.owner,
        "PATCH",
        path,
        422,
        "project.unknown_lead",
        json={"leadId": str(stranger.id)},
    )


async def test_only_administrators_change_a_project(world: World) -> None:
    sam = await world.person(name="Sam")
    path = f"/projects/{world.project.id}"
    for method, sub, body in (
        ("PATCH", "", {"name": "Mine"}),
        ("DELETE", "", None),
        ("POST", "/members", {"userId": str(sam.id)}),
        ("POST", "/statuses", {"name": "Mine", "category": "STARTED"}),
        ("POST", "/statuses/reorder", {"orderedIds": [str(sam.id)]}),
    ):
        await refused(sam, method, path + sub, 403, "project.role_too_low", json=body)


async def test_members_join_change_their_role_and_leave(world: World) -> None:
    sam = await world.person(name="Sam", project_role=None)
    path = f"/projects/{world.project.id}/members"
    for role in ("MEMBER", "VIEWER"):
        joined = await call(
            world.owner, "POST", path, 201, json={"userId": str(sam.id), "role": role}
        )
        assert joined["data"] == {"userId": str(sam.id), "role": role}
    changed = await call(world.owner, "PATCH", f"{path}/{sam.id}", json={"role": "ADMIN"})
    assert changed["data"]["role"] == "ADMIN"
    await call(sam, "DELETE", f"{path}/{sam.id}", 204)
    await refused(sam, "GET", path, 404, "not_found")
    await refused(world.owner, "DELETE", f"{path}/{sam.id}", 404, "not_found")
    await refused(
        world.owner, "PATCH", f"{path}/{sam.id}", 404, "not_found", json={"role": "ADMIN"}
    )


async def test_nobody_from_elsewhere_joins_a_project(world: World) -> None:
    stranger = await world.stranger()
    await refused(
        world.owner,
        "POST",
        f"/projects/{world.project.id}/members",
        422,
        "member.unknown",
        json={"userId": str(stranger.id)},
    )


async def test_a_deleted_project_is_gone_at_once_and_erased_bit_by_bit(world: World) -> None:
    parent = await create(world)
    item = await create(world, parentId=parent["id"])
    path = f"/projects/{world.project.id}"
    await call(world.owner, "DELETE", path, 204)
    await refused(world.owner, "GET", path, 404, "not_found")
    await refused(world.owner, "GET", f"/work-items/{item['id']}", 404, "not_found")
    await refused(world.owner, "GET", "/work-items/GO-1", 404, "not_found")
    assert (await call(world.owner, "GET", "/work-items"))["data"] == []
    assert (await call(world.owner, "GET", "/projects"))["data"] == []
    body = {"version": 1, "title": "No"}
    await refused(world.owner, "PATCH", f"/work-items/{item['id']}", 404, "not_found", json=body)
    again = await project(world.owner, "GO")
    assert await world.run_jobs() == []
    left = await world.database.reader.value(
        "SELECT (SELECT count(*) FROM work_items WHERE org_id = $1)"
        "     + (SELECT count(*) FROM projects WHERE org_id = $1)",
        world.org_id,
    )
    assert left == 1
    await call(world.owner, "GET", f"/projects/{again['id']}")


async def test_twenty_projects_with_one_prefix_become_one(world: World) -> None:
    body = {"name": "Ops", "keyPrefix": "OPS"}
    answers = await asyncio.gather(
        *(world.owner.api.post("/api/v1/projects", json=body) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19

"""What touches many items is answered at once; the items follow, batch by batch, to the end."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from tests.items import Json, call, create, get, listed, refused
from tests.locks import held, waiting
from tests.notifications.inboxes import inbox, notified_kinds
from tests.world import Person, World

from rytask.modules.work_items import bulk_operations
from rytask.modules.work_items.queries import bulk as queries


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_operations, "AT_ONCE", 2)
    monkeypatch.setattr(bulk_operations, "BATCH", 3)


async def items(world: World, count: int = 7, **fields: Any) -> list[Json]:
    return [await create(world, f"Item {n}", **fields) for n in range(count)]


async def now(world: World, items: Sequence[Json]) -> list[Json]:
    return [await get(world.owner, item["id"]) for item in items]


async def facts(world: World, items: Sequence[Json], *kinds: str) -> list[str]:
    """The facts of these kinds about the items: the ids of the items, in their order."""
    ids = await world.database.reader.values(
        "SELECT subject_id::text FROM events WHERE org_id = $1 AND kind = ANY ($2::text[])"
        " ORDER BY subject_id",
        world.org_id,
        kinds,
    )
    assert set(ids) <= {item["id"] for item in items}
    return ids


async def operations(person: Person) -> list[Json]:
    return (await call(person, "GET", "/bulk-operations"))["data"]


async def label(world: World, name: str) -> str:
    return (await call(world.owner, "POST", "/labels", 201, json={"name": name}))["data"]["id"]


def status(world: World, name: str) -> str:
    return str(world.project.statuses[name])


async def statuses(world: World) -> dict[str, str]:
    rows = await call(world.owner, "GET", f"/projects/{world.project.id}/statuses")
    return {row["id"]: row["name"] for row in rows["data"]}


async def delete_status(world: World, name: str, to: str) -> None:
    query = {"reassignTo": status(world, to)}
    await call(world.owner, "DELETE", f"/statuses/{status(world, name)}", 204, params=query)


async def set_category(world: World, name: str, category: str) -> None:
    path, body = f"/statuses/{status(world, name)}", {"category": category}
    assert (await call(world.owner, "PATCH", path, json=body))["data"]["category"] == category


async def rows_left(world: World) -> int:
    return await world.database.reader.value(
        "SELECT (SELECT count(*) FROM statuses WHERE org_id = $1 AND deleted_at IS NOT NULL)"
        "     + (SELECT count(*) FROM labels WHERE org_id = $1 AND deleted_at IS NOT NULL)",
        world.org_id,
    )


async def test_a_new_category_reaches_many_items_with_one_fact_each_and_one_notice_for_all(
    world: World,
) -> None:
    sam, outsider = await world.person(), await world.person(project_role=None)
    many = await items(world, statusId=status(world, "Review"), assigneeId=str(sam.id))
    assert await world.run_jobs() == []
    mia = await world.person("ADMIN", name="Mia")
    path = f"/statuses/{status(world, 'Review')}"
    await call(mia, "PATCH", path, json={"category": "COMPLETED"})
    [operation] = await operations(sam)
    assert (operation["kind"], operation["done"], operation["total"]) == (
        "STATUS_CATEGORY",
        0,
        None,
    )
    assert await operations(outsider) == []
    await refused(outsider, "GET", f"/bulk-operations/{operation['id']}", 404, "not_found")

    assert await world.run_jobs() == []

    assert all(item["completedAt"] and item["version"] == 2 for item in await now(world, many))
    assert await facts(world, many, "item.completed") == sorted(item["id"] for item in many)
    done = (await call(sam, "GET", f"/bulk-operations/{operation['id']}"))["data"]
    assert (done["done"], done["total"], done["error"]) == (7, 7, None)
    assert done["finishedAt"] is not None
    assert await notified_kinds(sam) == ["STATUS_CHANGED", *["ASSIGNED"] * 7]
    [notice, *_] = await inbox(sam)
    assert (notice["entityType"], notice["entityId"]) == ("project", str(world.project.id))
    assert (notice["payload"]["title"], notice["payload"]["actorName"]) == ("7 items", "Mia")
    assert notice["payload"]["to"] == {"id": status(world, "Review"), "name": "Review"}
    assert await notified_kinds(world.owner) == ["STATUS_CHANGED"]
    assert await notified_kinds(mia) == []


async def test_an_operation_that_fails_half_way_goes_on_and_does_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = await items(world)
    await set_category(world, "To Do", "COMPLETED")
    put_into_status, batches = queries.put_into_status, 0

    async def killed_in_the_second(*args: Any) -> None:
        nonlocal batches
        batches += 1
        await put_into_status(*args)
        if batches == 2:
            raise ConnectionError("killed")

    monkeypatch.setattr(queries, "put_into_status", killed_in_the_second)
    assert len(await world.run_jobs()) == 1
    assert sum(item["completedAt"] is not None for item in await now(world, many)) == 3
    [operation] = await operations(world.owner)
    assert (operation["done"], operation["total"]) == (3, 7)
    assert "killed" in operation["error"]

    async with world.database.transaction() as tx:
        await tx.execute("UPDATE jobs SET due_at = now() WHERE org_id = $1", world.org_id)
    assert await world.run_jobs() == []
    assert [item["version"] for item in await now(world, many)] == [2] * 7
    assert await facts(world, many, "item.completed") == sorted(item["id"] for item in many)


async def test_a_deleted_status_is_gone_at_once_and_its_items_follow_in_their_order(
    world: World,
) -> None:
    many = await items(world)
    await call(world.owner, "DELETE", f"/work-items/{many[0]['id']}", 204)
    todo = status(world, "To Do")
    await delete_status(world, "To Do", "Done")
    assert todo not in await statuses(world)
    body = {"name": "To Do", "category": "UNSTARTED"}
    await call(world.owner, "POST", f"/projects/{world.project.id}/statuses", 201, json=body)
    await refused(world.owner, "PATCH", f"/statuses/{todo}", 404, "not_found", json={"name": "x"})
    other = await create(world)
    body = {"version": 1, "statusId": todo}
    path = f"/work-items/{other['id']}"
    await refused(world.owner, "PATCH", path, 422, "work_item.unknown_status", json=body)
    await refused(world.owner, "POST", f"{path}/move", 422, "work_item.unknown_status", json=body)
    body = {"projectId": str(world.project.id), "title": "x", "statusId": todo}
    await refused(world.owner, "POST", "/work-items", 422, "work_item.unknown_status", json=body)

    assert await world.run_jobs() == []
    moved = await now(world, many[1:])
    assert {item["statusId"] for item in moved} == {status(world, "Done")}
    assert [item["position"] for item in moved] == sorted(item["position"] for item in moved)
    assert await facts(world, many, "item.completed") == sorted(item["id"] for item in many)
    assert await rows_left(world) == 0


async def test_what_is_asked_for_meanwhile_ends_in_the_right_state(world: World) -> None:
    first = await items(world)
    await set_category(world, "To Do", "COMPLETED")
    await set_category(world, "To Do", "STARTED")
    await set_category(world, "To Do", "CANCELLED")
    await delete_status(world, "To Do", "Review")
    await delete_status(world, "Review", "In Progress")
    await set_category(world, "In Progress", "COMPLETED")
    assert await world.run_jobs() == []
    after = await now(world, first)
    assert {item["statusId"] for item in after} == {status(world, "In Progress")}
    assert all(item["completedAt"] for item in after)
    assert await rows_left(world) == 0
    assert all(operation["finishedAt"] for operation in await operations(world.owner))


async def test_a_category_that_changes_between_two_batches_ends_in_the_right_state(
    world: World,
) -> None:
    many = await items(world)
    await set_category(world, "To Do", "COMPLETED")
    [operation] = await operations(world.owner)
    async with world.tools.transaction(world.org_id) as ctx:
        await bulk_operations.run_batch(ctx, UUID(operation["id"]))
    assert sum(item["completedAt"] is not None for item in await now(world, many)) == 3
    await set_category(world, "To Do", "BACKLOG")
    assert await world.run_jobs() == []
    assert not any(item["completedAt"] for item in await now(world, many))
    assert len(await facts(world, many, "item.reopened")) == 3


@pytest.mark.parametrize("then", ["merge", "delete"])
async def test_a_label_merged_into_one_that_goes_away_meanwhile(world: World, then: str) -> None:
    bug, defect, fault = [await label(world, name) for name in ("bug", "defect", "fault")]
    many = await items(world, labelIds=[defect])
    await call(world.owner, "POST", f"/labels/{defect}/merge", json={"intoId": bug})
    assert [x["id"] for x in (await call(world.owner, "GET", "/labels"))["data"]] == [bug, fault]
    await label(world, "defect")
    for method, path, body in (
        ("PATCH", f"/labels/{defect}", {"name": "x"}),
        ("POST", f"/work-items/{many[0]['id']}/labels", {"labelId": defect}),
        ("POST", f"/labels/{bug}/merge", {"intoId": defect}),
    ):
        await refused(world.owner, method, path, 404, "not_found", json=body)
    if then == "merge":
        await call(world.owner, "POST", f"/labels/{bug}/merge", json={"intoId": fault})
    else:
        await call(world.owner, "DELETE", f"/labels/{bug}", 204)
    assert await world.run_jobs() == []
    expected = [fault] if then == "merge" else []
    assert [item["labelIds"] for item in await now(world, many)] == [expected] * 7
    assert set(await facts(world, many, "item.labelled")) == {item["id"] for item in many}
    path = f"/work-items/{many[0]['id']}/activity"
    rows = (await call(world.owner, "GET", path))["data"]
    assert ("LABEL_REMOVED", defect) in [(row["action"], row["oldValue"]) for row in rows]
    assert await rows_left(world) == 0


async def test_items_that_have_not_followed_yet_are_shown_as_they_will_be(world: World) -> None:
    bug, defect, old = [await label(world, name) for name in ("bug", "defect", "old")]
    many = await items(world, labelIds=[defect, old, bug])
    plain = await create(world, statusId=status(world, "Review"))
    await call(world.owner, "POST", f"/labels/{defect}/merge", json={"intoId": bug})
    await call(world.owner, "DELETE", f"/labels/{old}", 204)
    await delete_status(world, "To Do", "Done")
    for shown in (await now(world, many), (await listed(world.owner))[:7]):
        assert {item["statusId"] for item in shown} == {status(world, "Done")}
        assert [item["labelIds"] for item in shown] == [[bug]] * 7
    assert await get(world.owner, plain["id"]) == plain
    assert await world.run_jobs() == []
    assert {item["statusId"] for item in await now(world, many)} == {status(world, "Done")}
    assert [item["labelIds"] for item in await now(world, many)] == [[bug]] * 7


async def test_an_item_that_somebody_else_has_locked_is_not_waited_for(world: World) -> None:
    bug = await label(world, "bug")
    item = await create(world, labelIds=[bug])
    locked = "SELECT FROM work_items WHERE org_id = $1 FOR UPDATE"
    async with held(world.database, locked, world.org_id):
        async with asyncio.timeout(5):
            await call(world.owner, "DELETE", f"/labels/{bug}", 204)
            assert await world.run_jobs() == []
        [operation] = await operations(world.owner)
        assert operation["finishedAt"] is None
    async with world.database.transaction() as tx:
        await tx.execute("UPDATE jobs SET due_at = now() WHERE org_id = $1", world.org_id)
    assert await world.run_jobs() == []
    assert (await get(world.owner, item["id"]))["labelIds"] == []
    assert await rows_left(world) == 0


async def test_whoever_has_locked_a_label_may_lock_items_while_its_deletion_waits(
    world: World,
) -> None:
    bug = await label(world, "bug")
    item = await create(world, labelIds=[bug])
    sql = "SELECT FROM labels WHERE org_id = $1 FOR KEY SHARE"
    async with held(world.database, sql, world.org_id) as tx:
        deletion = asyncio.create_task(world.owner.api.delete(f"/api/v1/labels/{bug}"))
        await waiting(world.database, 1)
        async with asyncio.timeout(5):
            await tx.execute("SELECT FROM work_items WHERE org_id = $1 FOR UPDATE", world.org_id)
    assert (await deletion).status_code == 204
    assert (await get(world.owner, item["id"]))["labelIds"] == []


async def test_adding_a_label_by_name_locks_the_label_before_the_item(world: World) -> None:
    bug = await label(world, "bug")
    item = await create(world)
    sql = "SELECT FROM labels WHERE org_id = $1 FOR UPDATE"
    async with held(world.database, sql, world.org_id) as tx:
        path = f"/api/v1/work-items/{item['id']}/labels"
        adding = asyncio.create_task(world.owner.api.post(path, json={"name": "bug"}))
        await waiting(world.database, 1)
        async with asyncio.timeout(5):
            await tx.execute("SELECT FROM work_items WHERE org_id = $1 FOR UPDATE", world.org_id)
    assert (await adding).json() == {"labelId": bug}


async def test_hundreds_of_changes_of_labels_at_once_are_all_answered(world: World) -> None:
    many = await items(world, 6)
    gate = asyncio.Semaphore(12)

    async def send(method: str, path: str, **body: Any) -> int:
        async with gate:
            answer = await world.owner.api.request(method, f"/api/v1{path}", json=body or None)
        return answer.status_code

    async def wave(n: int) -> list[int]:
        known = [x["id"] for x in (await call(world.owner, "GET", "/labels"))["data"]]
        calls = [
            send("POST", f"/work-items/{item['id']}/labels", name=f"label {(n + k) % 4}")
            for k, item in enumerate(many)
        ]
        body = {"projectId": str(world.project.id)}
        line = f"More #label-{n % 3} >{many[n % 6]['key']} "
        calls.append(send("POST", "/work-items", quickAdd=line, **body))
        calls += [send("DELETE", f"/labels/{id}") for id in known[:2]]
        calls += [send("POST", f"/labels/{a}/merge", intoId=b) for a, b in pairwise(known[1:4])]
        return await asyncio.gather(*calls)

    answers = [status for n in range(30) for status in await wave(n)]
    assert len(answers) > 250
    assert set(answers) <= {200, 201, 204, 404}
    assert await world.run_jobs() == []


async def test_a_label_is_changed_by_who_may_change_every_item_that_carries_it(
    world: World,
) -> None:
    member, viewer = await world.person(), await world.person(project_role="VIEWER")
    bug, defect = await label(world, "bug"), await label(world, "defect")
    await create(world, labelIds=[bug])
    body = {"name": "Hidden", "keyPrefix": "HID"}
    hidden = (await call(world.owner, "POST", "/projects", 201, json=body))["data"]
    body = {"projectId": hidden["id"], "title": "x", "labelIds": [defect]}
    theirs = (await call(world.owner, "POST", "/work-items", 201, json=body))["data"]

    async def refused_for(person: Person, id: str, other: str) -> None:
        for method, path, body in (
            ("PATCH", f"/labels/{id}", {"name": "mine"}),
            ("POST", f"/labels/{id}/merge", {"intoId": other}),
            ("DELETE", f"/labels/{id}", None),
        ):
            await refused(person, method, path, 403, "label.used_elsewhere", json=body)

    await refused_for(viewer, bug, defect)
    await refused_for(member, defect, bug)
    body = {"userId": str(member.id)}
    await call(world.owner, "POST", f"/projects/{hidden['id']}/members", 201, json=body)
    await call(member, "PATCH", f"/labels/{defect}", json={"name": "flaw"})
    await call(world.owner, "PATCH", f"/projects/{hidden['id']}", json={"archived": True})
    await refused_for(member, defect, bug)
    await call(world.owner, "POST", f"/labels/{defect}/merge", json={"intoId": bug})
    assert (await get(world.owner, theirs["id"]))["labelIds"] == [bug]
    path = f"/work-items/{theirs['id']}/activity"
    rows = (await call(world.owner, "GET", path))["data"]
    assert [row["action"] for row in rows] == ["CREATED", "LABEL_ADDED", "LABEL_REMOVED"]


async def test_a_deleted_project_is_erased_in_batches_and_its_progress_can_be_read(
    world: World,
) -> None:
    many = await items(world)
    sub = {"title": "Part"}
    await call(world.owner, "POST", f"/work-items/{many[0]['id']}/subtasks", 201, json=sub)
    await call(world.owner, "DELETE", f"/projects/{world.project.id}", 204)
    assert await world.run_jobs() == []
    [operation] = await operations(world.owner)
    assert (operation["kind"], operation["done"]) == ("PROJECT_DELETION", 8)
    assert operation["finishedAt"] is not None
    left = await world.database.reader.value(
        "SELECT count(*) FROM projects WHERE org_id = $1", world.org_id
    )
    assert left == 0


async def test_finished_operations_are_forgotten_after_a_week(world: World) -> None:
    await items(world)
    await set_category(world, "To Do", "COMPLETED")
    assert await world.run_jobs() == []
    assert await world.run_job("work_items.purge_operations") == []
    assert len(await operations(world.owner)) == 1
    world.clock.advance(timedelta(days=8))
    assert await world.run_job("work_items.purge_operations") == []
    assert await operations(world.owner) == []
    assert len(await listed(world.owner)) == 7

"""However an item is completed or reopened, one fact says so, and everybody hears of it once."""

import json
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.items import Json, call, create, get, move, patch, refused
from tests.notifications.inboxes import inbox, notified_kinds
from tests.world import Person, World

from rytask.modules.notifications import jobs


async def facts(world: World, item: Json) -> list[str]:
    """The kinds of facts about an item, in their order."""
    return await world.database.reader.values(
        "SELECT kind FROM events WHERE org_id = $1 AND subject_id = $2 ORDER BY seq",
        world.org_id,
        UUID(item["id"]),
    )


Deed = Callable[[World, Person, Json], Awaitable[object]]


async def by_patch(world: World, person: Person, item: Json) -> None:
    await patch(person, item, statusId=str(world.project.statuses["Done"]))


async def by_move(world: World, person: Person, item: Json) -> None:
    await move(person, item, statusId=str(world.project.statuses["Done"]))


async def by_verb(world: World, person: Person, item: Json) -> None:
    await call(person, "POST", f"/work-items/{item['id']}/complete")


async def by_category(world: World, person: Person, item: Json) -> None:
    body = {"category": "COMPLETED"}
    await call(person, "PATCH", f"/statuses/{item['statusId']}", json=body)


async def by_deletion(world: World, person: Person, item: Json) -> None:
    query = {"reassignTo": str(world.project.statuses["Done"])}
    await call(person, "DELETE", f"/statuses/{item['statusId']}", 204, params=query)


@pytest.mark.parametrize("deed", [by_patch, by_move, by_verb, by_category, by_deletion])
async def test_completing_is_one_fact_and_one_notice_and_ends_what_was_said_about_the_date(
    world: World, deed: Deed
) -> None:
    sam, mia = await world.person(), await world.person(project_role="ADMIN")
    world.clock.set(datetime(2030, 1, 2, 12, tzinfo=UTC))
    item = await create(world, assigneeId=str(sam.id), dueDate="2030-01-01")
    assert await world.run_jobs() == []
    async with world.tools.transaction(world.org_id) as ctx:
        await jobs.scan(ctx, world.org_id)
    assert await notified_kinds(sam, "unread") == ["OVERDUE", "ASSIGNED"]

    await deed(world, mia, item)
    assert await world.run_jobs() == []

    done = await get(world.owner, item["id"])
    assert done["completedAt"] is not None
    assert (done["version"], done["updatedAt"] > item["updatedAt"]) == (2, True)
    assert await facts(world, item) == ["item.created", "item.assigned", "item.completed"]
    assert await notified_kinds(sam, "unread") == ["STATUS_CHANGED", "ASSIGNED"]
    assert await notified_kinds(sam, "archived") == ["OVERDUE"]
    assert (await inbox(sam))[0]["actorId"] == str(mia.id)
    assert await notified_kinds(mia) == []
    rows = (await call(sam, "GET", f"/work-items/{item['id']}/activity"))["data"]
    assert [row["action"] for row in rows] == ["CREATED", "ASSIGNED", "STATUS_CHANGED"]
    assert rows[-1]["actorId"] == str(mia.id)


async def test_a_new_category_reopens_items_with_a_fact_for_each(world: World) -> None:
    done = str(world.project.statuses["Done"])
    item = await create(world, statusId=done)
    assert await facts(world, item) == ["item.created", "item.completed"]
    for category, kind in (
        ("CANCELLED", "item.status_changed"),
        ("STARTED", "item.reopened"),
        ("BACKLOG", None),
        ("CANCELLED", "item.status_changed"),
    ):
        before = await facts(world, item)
        await call(world.owner, "PATCH", f"/statuses/{done}", json={"category": category})
        assert await facts(world, item) == before + ([kind] if kind else [])
    path = f"/work-items/{item['id']}/activity"
    row = (await call(world.owner, "GET", path))["data"][-1]
    assert (row["action"], row["field"], row["oldValue"], row["newValue"]) == (
        "STATUS_CHANGED",
        "statusCategory",
        "BACKLOG",
        "CANCELLED",
    )


async def test_an_item_created_as_completed_tells_its_assignee_once(world: World) -> None:
    sam = await world.person()
    done = str(world.project.statuses["Done"])
    item = await create(world, statusId=done, assigneeId=str(sam.id))
    assert await world.run_jobs() == []
    assert await facts(world, item) == ["item.created", "item.completed", "item.assigned"]
    assert await notified_kinds(sam) == ["ASSIGNED"]


async def test_complete_and_reopen_are_verbs_that_may_be_repeated(world: World) -> None:
    item = await create(world)
    path = f"/work-items/{item['id']}"
    done = (await call(world.owner, "POST", f"{path}/complete"))["data"]
    assert done["statusId"] == str(world.project.statuses["Done"])
    assert (await call(world.owner, "POST", f"{path}/complete"))["data"] == done
    reopened = (await call(world.owner, "POST", f"{path}/reopen"))["data"]
    assert (reopened["statusId"], reopened["completedAt"]) == (item["statusId"], None)
    assert (await call(world.owner, "POST", f"{path}/reopen"))["data"] == reopened
    assert await get(world.owner, item["id"]) == reopened
    assert await facts(world, item) == ["item.created", "item.completed", "item.reopened"]

    viewer = await world.person(project_role="VIEWER")
    await refused(viewer, "POST", f"{path}/complete", 403, "project.role_too_low")
    await call(world.owner, "PATCH", f"/statuses/{done['statusId']}", json={"category": "STARTED"})
    await refused(world.owner, "POST", f"{path}/complete", 409, "work_item.no_completed_status")


async def test_items_that_move_apart_for_another_one_are_told(world: World) -> None:
    low, high = await create(world), await create(world)
    async with world.database.transaction() as tx:
        await tx.execute(
            "UPDATE work_items SET position = $3 WHERE org_id = $1 AND id = $2",
            world.org_id,
            UUID(high["id"]),
            math.nextafter(low["position"], math.inf),
        )
    third = await create(world)
    await move(world.owner, third, afterId=low["id"])
    [payload] = await world.database.reader.values(
        "SELECT payload::text FROM events WHERE org_id = $1 AND kind = 'project.positions_changed'",
        world.org_id,
    )
    told = json.loads(payload)
    assert told["itemIds"] == [low["id"], high["id"]]
    shown = [(await get(world.owner, id))["position"] for id in told["itemIds"]]
    assert told["positions"] == shown

"""People are told what others do to the items that concern them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.notifications.inboxes import inbox, notified_kinds, put_item, unread
from tests.world import Person, World

from rytask.modules.notifications import jobs, rules
from rytask.modules.work_items.events import ItemStatusChanged
from rytask.platform.work import Actor

ITEMS = "/api/v1/work-items"


async def create(world: World, by: Person, **fields: object) -> dict[str, Any]:
    """Create an item, and let everybody hear of it."""
    body = {"projectId": str(world.project.id), "title": "Fix login", **fields}
    answer = await by.api.post(ITEMS, json=body)
    assert answer.status_code == 201, answer.text
    assert await world.run_jobs() == []
    return answer.json()["data"]


async def change(world: World, by: Person, item: dict[str, Any], **fields: object) -> None:
    """Change an item, and let everybody hear of it."""
    current = (await by.api.get(f"{ITEMS}/{item['id']}")).json()["data"]
    answer = await by.api.patch(
        f"{ITEMS}/{item['id']}", json={"version": current["version"], **fields}
    )
    assert answer.status_code == 200, answer.text
    assert await world.run_jobs() == []


def status(world: World, name: str) -> str:
    return str(world.project.statuses[name])


def next_bucket(world: World) -> None:
    """Go to the beginning of the next bucket of time, so that a test stays within one."""
    seconds = rules.BUCKET.total_seconds()
    world.clock.advance(timedelta(seconds=seconds - world.clock.now.timestamp() % seconds + 1))


async def test_who_gets_an_item_at_its_creation_is_told(world: World) -> None:
    sam = await world.person(name="Sam")
    item = await create(world, world.owner, assigneeId=str(sam.id), dueDate="2030-01-31")
    [notice] = await inbox(sam, "unread")
    assert (notice["type"], notice["entityType"], notice["entityId"], notice["actorId"]) == (
        "ASSIGNED",
        "work_item",
        item["id"],
        str(world.owner.id),
    )
    assert notice["payload"] == {
        "key": item["key"],
        "title": "Fix login",
        "projectId": str(world.project.id),
        "projectName": notice["payload"]["projectName"],
        "dueDate": "2030-01-31",
        "actorName": world.owner.name,
    }
    assert await notified_kinds(world.owner) == []


async def test_who_gets_an_item_later_is_told(world: World) -> None:
    sam = await world.person()
    item = await create(world, world.owner)
    await change(world, world.owner, item, assigneeId=str(sam.id))
    assert await notified_kinds(sam) == ["ASSIGNED"]


async def test_who_takes_an_item_is_not_told(world: World) -> None:
    sam = await world.person()
    item = await create(world, world.owner)
    await change(world, sam, item, assigneeId=str(sam.id))
    assert await notified_kinds(sam) == []


async def test_a_new_status_is_told_to_the_assignee_and_the_watchers(world: World) -> None:
    sam, mia = await world.person(), await world.person(name="Mia")
    item = await create(world, world.owner, assigneeId=str(sam.id))
    await change(world, mia, item, statusId=status(world, "In Progress"))
    for person in (sam, world.owner):
        notice = (await inbox(person))[0]
        assert notice["type"] == "STATUS_CHANGED"
        assert notice["payload"]["from"] == {"id": status(world, "To Do"), "name": "To Do"}
        assert notice["payload"]["to"] == {
            "id": status(world, "In Progress"),
            "name": "In Progress",
        }
        assert notice["payload"]["actorName"] == "Mia"
    assert await notified_kinds(mia) == []


async def test_who_cannot_see_the_project_is_not_told(world: World) -> None:
    outsider = await world.person(project_role=None)
    item = await put_item(world, due=None, watchers=[outsider])
    await change(world, world.owner, {"id": item}, statusId=status(world, "Review"))
    assert await notified_kinds(outsider) == []


async def test_who_left_the_project_does_not_see_its_news_any_more(world: World) -> None:
    sam = await world.person()
    await create(world, world.owner, assigneeId=str(sam.id))
    [notice] = await inbox(sam)
    async with world.database.transaction() as tx:
        await tx.execute(
            "DELETE FROM project_members WHERE org_id = $1 AND user_id = $2", world.org_id, sam.id
        )
    assert (await notified_kinds(sam), await unread(sam)) == ([], 0)
    answer = await sam.api.patch(f"/api/v1/notifications/{notice['id']}", json={"read": True})
    assert answer.status_code == 404


async def test_several_changes_within_minutes_are_one_unread_notice_of_the_latest(
    world: World,
) -> None:
    sam = await world.person()
    item = await create(world, world.owner, assigneeId=str(sam.id))
    next_bucket(world)
    await change(world, world.owner, item, statusId=status(world, "In Progress"))
    first, _ = await inbox(sam)
    await sam.api.patch(f"/api/v1/notifications/{first['id']}", json={"read": True})
    await change(world, world.owner, item, statusId=status(world, "Review"))
    latest, assigned = await inbox(sam)
    assert (latest["type"], assigned["type"]) == ("STATUS_CHANGED", "ASSIGNED")
    assert (latest["id"], latest["readAt"]) == (first["id"], None)
    assert latest["payload"]["to"]["name"] == "Review"

    next_bucket(world)
    await change(world, world.owner, item, statusId=status(world, "In Progress"))
    assert await notified_kinds(sam) == ["STATUS_CHANGED", "STATUS_CHANGED", "ASSIGNED"]


async def test_facts_that_are_heard_late_or_twice_change_nothing(world: World) -> None:
    sam = await world.person()
    item = await put_item(world, due=None, assignee=sam)
    assert await world.run_jobs() == []
    next_bucket(world)
    for name in ("In Progress", "Review"):
        await record_status(world, world.owner.actor, item, name)
    jobs_waiting = (
        "SELECT arg FROM jobs WHERE org_id = $1 AND name = 'notifications.notify_followers'"
        " ORDER BY id"
    )
    seqs = await world.database.reader.values(jobs_waiting, world.org_id)
    async with world.database.transaction() as tx:
        await tx.execute(
            "DELETE FROM jobs WHERE org_id = $1 AND name = 'notifications.notify_followers'",
            world.org_id,
        )
    for seq in [seqs[1], seqs[0], seqs[1]]:
        async with world.database.transaction() as tx:
            await tx.execute(
                "INSERT INTO jobs (org_id, name, arg, max_attempts)"
                " VALUES ($1, 'notifications.notify_followers', $2, 1)",
                world.org_id,
                seq,
            )
        assert await world.run_jobs() == []
    [notice] = await inbox(sam)
    assert notice["payload"]["to"]["name"] == "Review"


async def record_status(world: World, by: Actor, item: UUID, name: str) -> None:
    async with world.work.writing(by) as ctx:
        ctx.record(
            ItemStatusChanged(
                subject_id=item,
                project_id=None,
                key="GO-1",
                title="Fix login",
                from_id=world.project.statuses["To Do"],
                to_id=world.project.statuses[name],
                to_name=name,
            )
        )


@pytest.mark.parametrize("how", ["done", "cancelled", "trashed", "put off"])
async def test_what_is_said_about_a_date_is_archived_when_it_is_not_true_any_more(
    world: World, how: str
) -> None:
    sam = await world.person()
    world.clock.set(datetime(2030, 1, 2, 12, tzinfo=UTC))  # a Wednesday
    item = await create(world, sam, assigneeId=str(sam.id), dueDate="2030-01-01")
    async with world.tools.transaction(world.org_id) as ctx:
        await jobs.scan(ctx, world.org_id)
    assert await notified_kinds(sam, "unread") == ["OVERDUE"]
    if how == "trashed":
        await sam.api.delete(f"{ITEMS}/{item['id']}")
        assert await world.run_jobs() == []
    elif how == "put off":
        await change(world, sam, item, dueDate="2030-02-01")
    else:
        name = {"done": "Done", "cancelled": "Cancelled"}[how]
        await change(world, sam, item, statusId=status(world, name))
    assert await notified_kinds(sam, "unread") == []
    assert await notified_kinds(sam, "archived") == ["OVERDUE"]

"""The inbox: a person's own, kept in four states."""

from datetime import timedelta
from uuid import uuid4

import pytest
from tests.notifications.inboxes import inbox, unread
from tests.world import Person, World

from rytask.modules.notifications import service
from rytask.modules.notifications.model import ItemPayload
from rytask.platform.ids import ProjectId, new_id
from rytask.platform.work import system

NOTIFICATIONS = "/api/v1/notifications"


async def notify_owner(world: World, times: int = 1, *, key: str | None = None) -> None:
    """Tell the owners and admins something."""
    payload = ItemPayload(
        key="GO-1", title="News", project_id=ProjectId(world.project.id), project_name="Start"
    )
    for _ in range(times):
        async with world.work.writing(system(world.org_id)) as ctx:
            await service.notify_admins(
                ctx,
                "SLACK",
                payload,
                entity_type="slack_connection",
                entity_id=new_id(),
                key=key or str(uuid4()),
            )


async def change(person: Person, notification_id: str, **changes: object) -> int:
    answer = await person.api.patch(f"{NOTIFICATIONS}/{notification_id}", json=changes)
    return answer.status_code


async def states(person: Person) -> dict[str, int]:
    return {
        state: len(await inbox(person, state)) for state in ("unread", "all", "snoozed", "archived")
    }


async def test_admins_are_told_and_members_are_not(world: World) -> None:
    admin, member = await world.person("ADMIN"), await world.person()
    await notify_owner(world)
    assert [await unread(person) for person in (world.owner, admin, member)] == [1, 1, 0]


async def test_the_same_news_are_told_once(world: World) -> None:
    await notify_owner(world, 3, key="the same")
    assert await unread(world.owner) == 1


async def test_a_notification_carries_what_it_takes_to_show_it(world: World) -> None:
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    assert set(notification) == {
        "id",
        "recipientId",
        "type",
        "entityType",
        "entityId",
        "actorId",
        "payload",
        "readAt",
        "snoozedUntil",
        "archivedAt",
        "createdAt",
    }
    assert notification["recipientId"] == str(world.owner.id)
    assert notification["payload"] == {
        "key": "GO-1",
        "title": "News",
        "projectId": str(world.project.id),
        "projectName": "Start",
    }


async def test_without_a_state_the_unread_are_listed(world: World) -> None:
    await notify_owner(world, 2)
    first, _ = await inbox(world.owner)
    await change(world.owner, first["id"], read=True)
    answer = await world.owner.api.get(NOTIFICATIONS)
    assert len(answer.json()["data"]) == 1


async def test_reading_takes_it_from_the_unread_and_can_be_taken_back(world: World) -> None:
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    assert await change(world.owner, notification["id"], read=True) == 200
    assert await states(world.owner) == {"unread": 0, "all": 1, "snoozed": 0, "archived": 0}
    assert await unread(world.owner) == 0
    assert await change(world.owner, notification["id"], read=False) == 200
    assert await unread(world.owner) == 1


async def test_what_is_snoozed_comes_back_when_its_time_has_come(world: World) -> None:
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    until = world.clock.now + timedelta(hours=1)
    assert await change(world.owner, notification["id"], snoozedUntil=until.isoformat()) == 200
    assert await states(world.owner) == {"unread": 0, "all": 1, "snoozed": 1, "archived": 0}
    assert await unread(world.owner) == 0
    world.clock.advance(timedelta(hours=1, minutes=1))
    assert await states(world.owner) == {"unread": 1, "all": 1, "snoozed": 0, "archived": 0}
    assert await unread(world.owner) == 1


async def test_what_is_archived_is_out_of_sight_but_not_lost(world: World) -> None:
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    assert await change(world.owner, notification["id"], archived=True) == 200
    assert await states(world.owner) == {"unread": 0, "all": 0, "snoozed": 0, "archived": 1}
    assert await unread(world.owner) == 0
    assert await change(world.owner, notification["id"], archived=False) == 200
    assert await unread(world.owner) == 1


async def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(world: World) -> None:
    await notify_owner(world, 5)
    seen, cursor = [], None
    for expected in (2, 2, 1):
        query = {"state": "all", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await world.owner.api.get(NOTIFICATIONS, params=query)).json()
        assert len(page["data"]) == expected
        seen += page["data"]
        cursor = page["pageInfo"]["nextCursor"]
    assert cursor is None
    assert seen == await inbox(world.owner)
    assert seen == sorted(seen, key=lambda notification: notification["createdAt"], reverse=True)


@pytest.mark.parametrize(
    "query",
    ["state=lost", "limit=0", "limit=201", "cursor=garbage", "cursor=%00", "unknown=1"],
)
async def test_a_query_that_makes_no_sense_is_refused(world: World, query: str) -> None:
    answer = await world.owner.api.get(f"{NOTIFICATIONS}?{query}")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"read": "yes"},
        {"snoozedUntil": "tomorrow"},
        {"snoozedUntil": "2026-01-01T09:00:00"},
        {"seen": True},
    ],
)
async def test_a_change_that_makes_no_sense_is_refused(
    world: World, changes: dict[str, object]
) -> None:
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    assert await change(world.owner, notification["id"], **changes) == 400


async def test_a_notification_of_somebody_else_does_not_exist(world: World) -> None:
    admin, stranger = await world.person("ADMIN"), await world.stranger()
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    for person in (admin, stranger):
        assert await change(person, notification["id"], read=True) == 404
    assert await change(world.owner, str(uuid4()), read=True) == 404
    assert await unread(world.owner) == 1


async def test_all_can_be_read_at_once_except_what_is_snoozed(world: World) -> None:
    await notify_owner(world, 3)
    notification = (await inbox(world.owner))[0]
    until = world.clock.now + timedelta(hours=1)
    await change(world.owner, notification["id"], snoozedUntil=until.isoformat())
    answers = [await world.owner.api.post(f"{NOTIFICATIONS}/read-all") for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"data": {"count": 2}}, {"data": {"count": 0}}]
    assert await unread(world.owner) == 0
    world.clock.advance(timedelta(hours=2))
    assert await unread(world.owner) == 1


async def test_only_a_real_change_is_recorded(world: World) -> None:
    await notify_owner(world)
    [notification] = await inbox(world.owner)
    for _ in range(2):
        await change(world.owner, notification["id"], read=True)
    await change(world.owner, notification["id"])
    recorded = await world.database.reader.value(
        "SELECT count(*) FROM events WHERE org_id = $1 AND kind = 'inbox.changed'", world.org_id
    )
    assert recorded == 1


async def test_the_unread_are_counted_up_to_a_thousand(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO notifications (id, org_id, recipient_id, type, entity_type, entity_id,"
            "                           payload, dedupe_key, created_at)"
            " SELECT gen_random_uuid(), $1, $2, 'SLACK', 'slack_connection', $2, '{}', n, now()"
            "   FROM generate_series(1, 1002) n",
            world.org_id,
            world.owner.id,
        )
    assert await unread(world.owner) == 1_000
    answer = await world.owner.api.post(f"{NOTIFICATIONS}/read-all")
    assert answer.json() == {"data": {"count": 1_002}}

"""Many items at once: as if each had been made by hand, and nobody is notified."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.items import Json, call, create, get, listed, patch
from tests.world import Person, World

from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.model import ImportedItem, WorkItem
from rytask.platform.errors import Conflict, Forbidden, Invalid, NotFound, Refused
from rytask.platform.ids import ProjectId, UserId, new_id

CREATED = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
MOVED = CREATED + timedelta(days=3)


def imported(world: World, title: str = "Fix the door", **fields: Any) -> ImportedItem:
    to_do = world.project.statuses["To Do"]
    return ImportedItem(
        **{
            "id": new_id(),
            "title": title,
            "created_in": to_do,
            "created_at": CREATED,
            "status_id": to_do,
            "moved_at": CREATED,
        }
        | fields
    )


async def bring(
    world: World, *items: ImportedItem, by: Person | None = None, project_id: UUID | None = None
) -> list[WorkItem]:
    actor = (by or world.owner).actor
    async with world.work.writing(actor) as ctx:
        return await work_items.import_items(ctx, ProjectId(project_id or world.project.id), items)


async def about(world: World, item_id: object) -> tuple[list[Json], Json]:
    """What an item's activity and its watchers say, without what differs each time."""
    activity = (await call(world.owner, "GET", f"/work-items/{item_id}/activity"))["data"]
    left_out = {"id", "createdAt"}
    rows = [{name: row[name] for name in row.keys() - left_out} for row in activity]
    return rows, await call(world.owner, "GET", f"/work-items/{item_id}/watchers")


async def test_an_imported_item_is_as_one_that_was_created_and_moved(world: World) -> None:
    sam = await world.person()
    label = (await call(world.owner, "POST", "/labels", 201, json={"name": "bug"}))["data"]["id"]
    fields = {
        "description": "It sticks.",
        "priority": "HIGH",
        "assigneeId": str(sam.id),
        "labelIds": [label],
        "estimateValue": 2,
        "startDate": "2030-01-01",
        "endDate": "2030-01-02",
        "dueDate": "2030-01-31",
    }
    done = world.project.statuses["Done"]
    by_hand = await patch(sam, await create(world, **fields), statusId=str(done))
    [brought] = await bring(
        world,
        imported(
            world,
            description="It sticks.",
            status_id=done,
            moved_at=MOVED,
            priority="HIGH",
            source="WEB",
            assignee_id=sam.id,
            reporter_id=world.owner.id,
            label_ids=[UUID(label)],
            estimate_value=2.0,
            start_date=date(2030, 1, 1),
            end_date=date(2030, 1, 2),
            due_date=date(2030, 1, 31),
        ),
    )
    shown = await get(world.owner, str(brought.id))
    assert shown["number"] == by_hand["number"] + 1
    assert shown["position"] > by_hand["position"]
    assert shown["createdAt"] == "2026-03-01T09:30:00Z"
    assert shown["updatedAt"] == shown["completedAt"] == "2026-03-04T09:30:00Z"
    own = {"id", "key", "number", "position", "createdAt", "updatedAt", "completedAt"}
    assert {name: shown[name] for name in shown.keys() - own} == {
        name: by_hand[name] for name in by_hand.keys() - own
    }
    assert await about(world, brought.id) == await about(world, by_hand["id"])
    every = await world.database.reader.values(
        "SELECT jsonb_build_object('kind', kind, 'project', project_id, 'item', item_id,"
        "  'actor', actor_id, 'source', source, 'payload', payload - 'key')::text"
        " FROM events WHERE org_id = $1 AND project_id = $2 AND kind LIKE 'item.%' ORDER BY seq",
        world.org_id,
        world.project.id,
    )
    assert every[:3] == every[3:]


async def test_imported_items_and_later_ones_share_numbers_order_and_children(
    world: World,
) -> None:
    parent = imported(world, "Parent")
    child = imported(world, "Child", parent_id=parent.id)
    grandchild = imported(world, "Grandchild", parent_id=child.id)
    brought = await bring(world, parent, child, grandchild)
    assert [item.number for item in brought] == [1, 2, 3]
    assert [item.child_count for item in brought] == [1, 1, 0]
    later = await create(world, "Later")
    assert later["key"] == f"{world.project.key_prefix}-4"
    assert later["position"] > brought[-1].position
    sub = f"/work-items/{child.id}/subtasks"
    await call(world.owner, "POST", sub, 201, json={"title": "By hand"})
    assert (await get(world.owner, str(child.id)))["childCount"] == 2
    shown = await listed(world.owner, projectId=str(world.project.id))
    assert [item["title"] for item in shown] == [
        *("Parent", "Child", "Grandchild", "Later", "By hand")
    ]


async def test_nobody_is_notified_of_what_is_imported(world: World) -> None:
    sam = await world.person()
    await world.run_jobs()
    done = world.project.statuses["Done"]
    await bring(world, imported(world, assignee_id=sam.id, status_id=done, moved_at=MOVED))
    assert await world.database.reader.value("SELECT count(*) FROM jobs") == 0
    assert (await call(sam, "GET", "/notifications"))["data"] == []


async def test_an_import_is_refused_whole(world: World) -> None:
    guest, viewer = await world.person(), await world.person(project_role="VIEWER")
    outsider = await world.person(project_role=None)
    other = await world.elsewhere()
    deep = [imported(world)]
    for _ in range(10):
        deep.append(imported(world, parent_id=deep[-1].id))
    cases: list[tuple[type[Refused], str, list[ImportedItem], Person]] = [
        (Invalid, "work_item.unknown_label", [imported(world, label_ids=[new_id()])], guest),
        (Invalid, "work_item.unknown_assignee", [imported(world, assignee_id=outsider.id)], guest),
        (
            Invalid,
            "work_item.unknown_assignee",
            [imported(world, assignee_id=UserId(new_id()))],
            guest,
        ),
        (Invalid, "work_item.unknown_status", [imported(other)], guest),
        (Invalid, "work_item.unknown_parent", [imported(world, parent_id=new_id())], guest),
        (Invalid, "work_item.too_deep", deep, guest),
        (Forbidden, "project.role_too_low", [], viewer),
        (NotFound, "not_found", [], outsider),
        (NotFound, "not_found", [], other.owner),
    ]
    for kind, code, items, by in cases:
        with pytest.raises(kind) as refusal:
            await bring(world, imported(world), *items, by=by)
        assert refusal.value.code == code
    assert await listed(world.owner) == []
    project = f"/projects/{world.project.id}"
    await call(world.owner, "PATCH", project, json={"archived": True})
    with pytest.raises(Conflict):
        await bring(world, imported(world))

"""Activity is told page by page, and long texts do not fill it."""

from typing import ClassVar
from uuid import UUID, uuid4

from tests.items import call, create, patch, refused
from tests.world import World

from rytask.modules.work_items.events import ItemLabelled
from rytask.platform.events import Fact


def _labelled(item_id: UUID) -> Fact:
    return ItemLabelled(subject_id=item_id, key="GO-1", title="x", added=[uuid4()], removed=[])


class ItemPrinted(Fact, frozen=True, kw_only=True):
    """A fact about an item that activity does not know."""

    kind: ClassVar[str] = "item.printed"


async def test_activity_without_a_limit_is_a_first_page(world: World) -> None:
    item = await create(world)
    async with world.work.writing(world.owner.actor) as ctx:
        for _ in range(60):
            ctx.record(_labelled(UUID(item["id"])))
    page = await call(world.owner, "GET", f"/work-items/{item['id']}/activity")
    assert len(page["data"]) == 50
    assert page["pageInfo"]["hasNextPage"]


async def test_facts_that_activity_does_not_know_do_not_end_it_early(world: World) -> None:
    item = await create(world)
    async with world.work.writing(world.owner.actor) as ctx:
        for _ in range(10):
            ctx.record(ItemPrinted(subject_id=UUID(item["id"])))
        ctx.record(_labelled(UUID(item["id"])))
    rows, query = [], {"limit": 1}
    while True:
        page = await call(world.owner, "GET", f"/work-items/{item['id']}/activity", params=query)
        rows += page["data"]
        if not page["pageInfo"]["hasNextPage"]:
            break
        query["cursor"] = page["pageInfo"]["nextCursor"]
    assert [row["action"] for row in rows] == ["CREATED", "LABEL_ADDED"]


async def test_a_long_text_is_remembered_by_its_beginning(world: World) -> None:
    item = await create(world, description="a" * 100_000)
    await patch(world.owner, item, description="b" * 2000)
    rows = (await call(world.owner, "GET", f"/work-items/{item['id']}/activity"))["data"]
    [edit] = [row for row in rows if row["action"] == "UPDATED"]
    assert edit["oldValue"] == "a" * 1960 + "… (98,040 more characters)"
    assert edit["newValue"] == "b" * 2000
    size = await world.database.reader.value(
        "SELECT length(payload::text) FROM events WHERE org_id = $1 AND kind = 'item.changed'",
        world.org_id,
    )
    assert size < 5_000


async def test_a_viewer_of_the_organization_decides_for_nobody_else_who_watches(
    world: World,
) -> None:
    viewer = await world.person("VIEWER", project_role="MEMBER")
    item = await create(world)
    path, other = f"/work-items/{item['id']}/watchers", {"userId": str(world.owner.id)}
    await call(viewer, "POST", path, 201, json={})
    await call(viewer, "DELETE", path, 204)
    await refused(viewer, "POST", path, 403, "auth.forbidden", json=other)
    await refused(viewer, "DELETE", path, 403, "auth.forbidden", params=other)
    watchers = (await call(viewer, "GET", path))["data"]
    assert [watcher["userId"] for watcher in watchers] == [str(world.owner.id)]

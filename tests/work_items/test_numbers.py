"""Numbers of items: nobody waits for one, and none comes twice."""

import pytest
from tests.world import World

from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.ids import ProjectId


def item(world: World, title: str) -> NewItem:
    return NewItem(project_id=ProjectId(world.project.id), title=title)


async def added(world: World) -> int:
    answer = await world.owner.api.post(
        "/api/v1/work-items", json={"projectId": str(world.project.id), "title": "Second"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["number"]


async def test_who_adds_to_a_project_waits_for_nobody_else_who_does(world: World) -> None:
    async with world.work.writing(world.owner.actor) as ctx:
        first = await work_items.create(ctx, item(world, "First"))
        assert await added(world) == first.data.number + 1


async def test_a_number_that_was_lost_is_not_given_again(world: World) -> None:
    async def lose() -> None:
        async with world.work.writing(world.owner.actor) as ctx:
            lost = await work_items.create(ctx, item(world, "Lost"))
            raise LookupError(lost.data.number)

    with pytest.raises(LookupError) as failed:
        await lose()
    assert await added(world) == failed.value.args[0] + 1
    listed = await world.owner.api.get("/api/v1/work-items")
    assert [row["title"] for row in listed.json()["data"]] == ["Second"]

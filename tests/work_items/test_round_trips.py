"""How often a create goes to PostgreSQL, in each of its forms."""

import asyncio
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from tests import items
from tests.world import World

from rytask.modules.work_items import service as work_items
from rytask.modules.work_items.schemas import NewItem
from rytask.platform.ids import ProjectId, new_id


@pytest.mark.parametrize(
    ("form", "trips"),
    [
        ({"title": "Fix it"}, 3),
        ({"title": "Fix it", "assignee": True, "label": True, "due_date": date(2030, 1, 31)}, 3),
        ({"title": "Fix it", "parent": True}, 4),
        ({"quick_add": "Fix it"}, 4),
        ({"quick_add": "Fix it @olive #bug ^friday ~2h"}, 4),
        ({"quick_add": "Fix it #new"}, 5),
        ({"quick_add": "Fix it", "capture": True}, 5),
    ],
)
async def test_a_create_takes_few_round_trips(
    world: World, form: dict[str, Any], trips: int
) -> None:
    """Besides BEGIN, COMMIT and the number, which comes over another connection."""
    label = await items.call(world.owner, "POST", "/labels", 201, json={"name": "bug"})
    parent = await items.create(world)
    fields = {name: value for name, value in form.items() if name in NewItem.__struct_fields__}
    if "assignee" in form:
        fields["assignee_id"] = world.owner.id
    if "label" in form:
        fields["label_ids"] = [UUID(label["data"]["id"])]
    if "parent" in form:
        fields["parent_id"] = UUID(parent["id"])
    sent: list[str] = []

    def note(query: Any) -> None:
        # The driver asks once on each connection what a type is made of.
        if "typeinfo_tree" not in query.query and "'jit'" not in query.query:
            sent.append(query.query)

    async with world.work.writing(world.owner.actor) as ctx:
        connection = ctx.db._connection
        connection.add_query_logger(note)
        await work_items.create(
            ctx,
            NewItem(project_id=ProjectId(world.project.id), **fields),
            capture_id=new_id() if "capture" in form else None,
        )
    await asyncio.sleep(0)  # the driver tells its loggers in the next turn of the loop
    connection.remove_query_logger(note)
    assert sent.pop() == "COMMIT;"
    assert len(sent) == trips, sent

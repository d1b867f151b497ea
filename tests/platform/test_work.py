"""The unit of work: whose deed a fact is."""

from typing import Any, ClassVar

import pytest
from msgspec import structs
from tests.world import World

from rytask.platform.events import Fact
from rytask.platform.ids import new_id
from rytask.platform.work import system


class Noted(Fact, frozen=True):
    """A fact made for these tests."""

    kind: ClassVar[str] = "test.noted"


async def doers(world: World) -> list[Any]:
    return await world.database.reader.values(
        "SELECT actor_id FROM events WHERE org_id = $1 AND kind = 'test.noted' ORDER BY seq",
        world.org_id,
    )


async def test_facts_belong_to_whoever_acts_in_the_block(world: World) -> None:
    colleague = await world.person()
    async with world.work.writing(world.owner.actor) as ctx:
        ctx.record(Noted(subject_id=new_id()))
        with ctx.acting_as(colleague.actor):
            assert ctx.actor == colleague.actor
            ctx.record(Noted(subject_id=new_id()))
            with ctx.acting_as(system(world.org_id)):
                ctx.record(Noted(subject_id=new_id()))
            ctx.record(Noted(subject_id=new_id()))
        ctx.record(Noted(subject_id=new_id()))
    assert await doers(world) == [
        world.owner.id,
        colleague.id,
        None,
        colleague.id,
        world.owner.id,
    ]


async def test_a_block_that_fails_ends_too(world: World) -> None:
    colleague = await world.person()
    async with world.work.writing(world.owner.actor) as ctx:
        with pytest.raises(ZeroDivisionError), ctx.acting_as(colleague.actor):
            raise ZeroDivisionError
        assert ctx.actor == world.owner.actor


async def test_nobody_acts_in_the_transaction_of_another_organization(world: World) -> None:
    stranger = await world.stranger()
    async with world.work.writing(world.owner.actor) as ctx:
        with pytest.raises(ValueError, match="one organization"), ctx.acting_as(stranger.actor):
            pass
        assert ctx.actor == world.owner.actor


async def test_who_acts_is_not_assigned(world: World) -> None:
    ctx = world.work.reading(world.owner.actor)
    with pytest.raises(AttributeError):
        ctx.actor = structs.replace(world.owner.actor, user_id=None)  # pyright: ignore[reportAttributeAccessIssue]

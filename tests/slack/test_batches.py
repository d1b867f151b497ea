"""A backlog of captures is carried out in one transaction, and each is still its own."""

from rytask.platform import outbox
from rytask.platform.worker import Runner
from tests.slack.conftest import Slack


async def carry_out_together(slack: Slack) -> None:
    """What a worker does with a batch: the captures that wait, all at once."""
    async with slack.world.database.transaction() as tx:
        due = await outbox.take_due(tx, ["slack.capture"], 100)
    await Runner(slack.world.tools).one_by_one([row.id for row in due])


async def doers(slack: Slack) -> list[list[str | None]]:
    """The titles of the items that were made, and whose deed it was, in the order of the feed."""
    async with slack.world.database.transaction() as tx:
        return await tx.values(
            "SELECT ARRAY[payload ->> 'title', actor_id::text] FROM events"
            " WHERE org_id = $1 AND kind = 'item.created' ORDER BY seq",
            slack.world.org_id,
        )


async def test_each_capture_of_a_batch_keeps_its_own_capturer(slack: Slack) -> None:
    owner = slack.world.owner
    slack.fake.add_user("U1", "olive", owner.email)
    await slack.world.run_job("slack.sync_all")
    for user, text in (("U1", "First"), ("U2", "Second"), ("U1", "Third"), ("U2", "Fourth")):
        await slack.type(text, user=user)
    await carry_out_together(slack)
    assert await doers(slack) == [
        ["First", str(owner.id)],
        ["Second", None],
        ["Third", str(owner.id)],
        ["Fourth", None],
    ]
    assert await slack.run_all_jobs() == []
    assert len(slack.fake.seen) == 4


async def test_a_capture_that_is_refused_takes_no_other_with_it(slack: Slack) -> None:
    for text in ("First", "#bug !high", "Third"):
        await slack.type(text)
    await carry_out_together(slack)
    assert await slack.run_all_jobs() == []
    assert sorted(item["title"] for item in await slack.items()) == ["First", "Third"]
    assert len(slack.fake.seen) == 3

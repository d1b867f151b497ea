"""Old rows go batch by batch; what a run leaves, the next one deletes."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.platform.sample_jobs import Lab
from tests.world import World

from rytask.platform import outbox
from rytask.platform.db import Tx
from rytask.platform.pruning import BATCH, prune


async def test_a_run_that_is_killed_half_way_is_continued_by_the_next(it: Lab) -> None:
    await it.sql(
        "INSERT INTO jobs (name, arg, max_attempts, state, due_at)"
        " SELECT 'lab.old', '1', 1, 'dead', now() - interval '40 days'"
        "   FROM generate_series(1, $1)",
        BATCH + 200,
    )
    batches: list[int] = []

    async def dies_in_the_second_batch(tx: Tx) -> int:
        batches.append(await outbox.purge_dead(tx, datetime.now(UTC) - timedelta(days=30)))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return batches[-1]

    with pytest.raises(KeyboardInterrupt):
        await prune(it.database, dies_in_the_second_batch)
    assert len(await it.jobs()) == 200
    await prune(it.database, dies_in_the_second_batch)
    assert batches == [BATCH, 200, 200, 0]
    assert await it.none_left()


async def test_more_than_a_batch_of_login_failures_is_deleted_in_one_run(world: World) -> None:
    async with world.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO login_failures (email, address, failures, first_at)"
            " SELECT n || '@old.example', '192.0.2.1', 1, now() - interval '2 days'"
            "   FROM generate_series(1, $1) n",
            BATCH + 1,
        )
    assert await world.run_job("identity.purge") == []
    assert not await world.database.reader.value(
        "SELECT count(*) FROM login_failures WHERE email LIKE '%@old.example'"
    )

"""A worker that lost a job's lease changes nothing of what another one does with the job."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from tests.locks import waiting
from tests.platform import sample_jobs
from tests.platform.sample_jobs import Lab

from rytask.platform import jobs, outbox
from rytask.platform.worker import Runner


async def pushed(it: Lab, name: str = "lab.write", arg: str = "x") -> outbox.QueuedJob:
    """A job on its way to the queue."""
    await it.ask(name, arg)
    return await pushed_again(it)


async def pushed_again(it: Lab) -> outbox.QueuedJob:
    """The only job, whose lease ends now: pushed by a relay."""
    await it.sql("UPDATE jobs SET due_at = now() - interval '1 second'")
    async with it.database.transaction() as tx:
        [row] = await outbox.take_due(tx, jobs.names(), 10)
    return row


async def claimed(it: Lab, ids: Sequence[int]) -> list[outbox.LeasedJob]:
    async with it.database.transaction() as tx:
        return await outbox.claim(tx, ids, jobs.names())


async def taken_over(it: Lab) -> tuple[outbox.LeasedJob, outbox.Job]:
    """The row as the first worker holds it, and the job that the second one runs by now."""
    row = await pushed(it)
    [lost] = await claimed(it, [row.id])
    await pushed_again(it)
    assert len(await claimed(it, [row.id])) == 1
    return lost, await outbox.job(it.database.reader, row.id)


async def fail(it: Lab, row: outbox.LeasedJob) -> None:
    async with it.database.transaction() as tx:
        await outbox.fail(tx, row, "too late", after=600)


async def release(it: Lab, row: outbox.LeasedJob | outbox.QueuedJob) -> None:
    async with it.database.transaction() as tx:
        await outbox.release(tx, [row])


async def extend(it: Lab, row: outbox.LeasedJob) -> None:
    async with it.database.transaction() as tx:
        await outbox.extend_leases(tx, [row], lease=600)


@pytest.mark.parametrize("settle", [fail, release, extend])
async def test_a_job_that_another_worker_runs_is_left_to_it(it: Lab, settle) -> None:
    lost, running = await taken_over(it)
    assert (running.state, running.attempts) == ("running", 2)
    await settle(it, lost)
    assert await outbox.job(it.database.reader, lost.id) == running


@pytest.mark.parametrize("settle", [fail, extend])
async def test_a_job_that_was_pushed_again_is_left_to_its_next_worker(it: Lab, settle) -> None:
    [lost] = await claimed(it, [(await pushed(it)).id])
    await pushed_again(it)
    queued = await outbox.job(it.database.reader, lost.id)
    assert (queued.state, queued.attempts) == ("queued", lost.attempts)
    await settle(it, lost)
    assert await outbox.job(it.database.reader, lost.id) == queued


@pytest.mark.parametrize("state", ["waiting", "dead"])
@pytest.mark.parametrize("settle", [fail, release, extend])
async def test_a_job_that_is_settled_already_stays_as_it_is(it: Lab, settle, state: str) -> None:
    [lost] = await claimed(it, [(await pushed(it)).id])
    await it.sql("UPDATE jobs SET state = $1, due_at = now() + interval '1 hour'", state)
    settled = await outbox.job(it.database.reader, lost.id)
    await settle(it, lost)
    assert await outbox.job(it.database.reader, lost.id) == settled


async def test_a_relay_takes_nothing_back_that_a_worker_has_begun(it: Lab) -> None:
    row = await pushed(it)
    assert len(await claimed(it, [row.id])) == 1
    running = await outbox.job(it.database.reader, row.id)
    await release(it, row)
    assert await outbox.job(it.database.reader, row.id) == running


async def test_a_row_that_is_pushed_twice_is_claimed_once(it: Lab) -> None:
    row = await pushed(it)
    async with it.database.transaction() as tx:
        assert len(await outbox.claim(tx, [row.id], jobs.names())) == 1
        # Inside the claim of the first: the second neither waits for it nor gets the row.
        assert await claimed(it, [row.id]) == []
    assert await claimed(it, [row.id]) == []
    assert (await outbox.job(it.database.reader, row.id)).attempts == 1


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("first_commits", [False, True])
async def test_two_that_run_the_same_job_at_once_have_one_effect(
    it: Lab, together: bool, first_commits: bool
) -> None:
    row = await pushed(it)
    [first] = await claimed(it, [row.id])
    await pushed_again(it)
    [second] = await claimed(it, [row.id])
    job = jobs.registered("lab.write")
    run_all = job.run_all
    assert run_all
    first_finished = asyncio.Event()

    async def run() -> None:
        await first_finished.wait()
        await (run_all(it.tools, [second]) if together else job.run(it.tools, second))

    running = asyncio.create_task(run())
    with suppress(InterruptedError):
        async with it.tools.transaction(it.org_id) as ctx:
            assert await outbox.finish(ctx.db, first.id)
            first_finished.set()
            await waiting(it.database, 1)
            if not first_commits:
                raise InterruptedError
            await sample_jobs.write(ctx, "x")
    await running
    assert await it.effects() == ["x"]
    assert await it.none_left()


async def test_a_worker_that_fails_late_does_not_settle_the_job_of_its_successor(it: Lab) -> None:
    sample_jobs.started["late"], sample_jobs.gates["late"] = asyncio.Event(), asyncio.Event()
    row = await pushed(it, "lab.wait_and_break", "late")
    late = asyncio.create_task(Runner(it.tools, sample_jobs.TIMING).together([row.id]))
    await sample_jobs.started["late"].wait()
    await pushed_again(it)
    assert len(await claimed(it, [row.id])) == 1
    running = await outbox.job(it.database.reader, row.id)
    sample_jobs.gates["late"].set()
    await late
    assert await outbox.job(it.database.reader, row.id) == running

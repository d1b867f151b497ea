import asyncio
import multiprocessing
import multiprocessing.process
from contextlib import AsyncExitStack
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import redis.asyncio as redis
from tests.platform import sample_jobs
from tests.platform.sample_jobs import TIMING, Lab, until

from rytask.platform import jobs, outbox, relay, schedule
from rytask.platform.errors import NotFound
from rytask.platform.events import Fact, RecordedFact
from rytask.platform.reactions import on
from rytask.platform.redis_client import RequestRedis
from rytask.platform.timing import PRODUCTION
from rytask.platform.work import Writing
from rytask.platform.worker_notifier import WorkerNotifier

TICK = [jobs.registered("lab.tick")]


def numbered(count: int) -> list[str]:
    return [f"{n:03}" for n in range(count)]


async def test_each_job_runs_exactly_once_however_many_workers_there_are(it: Lab) -> None:
    async with it.worker(), it.worker(), it.worker():
        await it.ask("lab.write", *numbered(200))
        await it.ask("lab.call", *numbered(50))
        await until(it.none_left)
    assert await it.effects() == sorted(numbered(200) + numbered(50))


async def test_a_job_that_fails_leaves_its_neighbours_alone_and_waits_with_its_reason(
    it: Lab,
) -> None:
    await it.ask("lab.break", "this")
    await it.ask("lab.write", *numbered(30))
    await it.ask("lab.break", "that")
    async with it.worker():

        async def only_the_broken_are_left() -> bool:
            return all(j.last_error for j in await it.jobs())

        await until(only_the_broken_are_left)
    assert await it.effects() == numbered(30)
    that, this = await it.jobs()
    assert (this.last_error, that.last_error) == (
        "ValueError: this is broken",
        "ValueError: that is broken",
    )
    assert {this.name, that.name} == {"lab.break"}


async def test_what_a_failed_job_wrote_is_undone_and_it_is_dead_after_its_attempts(it: Lab) -> None:
    await it.ask("lab.write_and_break", "x")
    async with it.worker():

        async def dead() -> bool:
            return bool(await it.jobs(state="dead"))

        await until(dead)
        assert await it.effects() == []
        [job] = await it.jobs()
        assert (job.attempts, job.max_attempts) == (2, 2)

        sample_jobs.gates["x"] = asyncio.Event()
        sample_jobs.gates["x"].set()
        async with it.database.transaction() as tx:
            assert await outbox.retry_dead(tx, "lab.write") == 0
            assert await outbox.retry_dead(tx, "lab.write_and_break") == 1
        await until(it.none_left)
    assert await it.effects() == ["x"]


async def test_a_job_that_is_asked_to_come_later_comes_later(it: Lab) -> None:
    await it.ask("lab.ask_again", "x")
    async with it.worker():

        async def settled() -> bool:
            return all(j.last_error for j in await it.jobs())

        await until(settled)
    [job] = await it.jobs()
    assert job.state == "waiting"
    assert 590 < (job.due_at - job.created_at).total_seconds() < 660


async def test_one_job_can_be_looked_at_and_run_again_now(it: Lab) -> None:
    await it.ask("lab.ask_again", "x")
    [job] = await it.jobs()
    assert await outbox.job(it.database.reader, job.id) == job
    await it.sql("UPDATE jobs SET state = 'dead', attempts = 25")
    async with it.database.transaction() as tx:
        assert await outbox.retry(tx, job.id)
        assert not await outbox.retry(tx, job.id + 1)
    again = await outbox.job(it.database.reader, job.id)
    assert (again.state, again.attempts) == ("waiting", 0)
    with pytest.raises(NotFound):
        await outbox.job(it.database.reader, job.id + 1)


async def test_counts_say_how_many_and_for_how_long(it: Lab) -> None:
    await it.ask("lab.write", *numbered(3))
    await it.sql("UPDATE jobs SET due_at = now() - interval '1 hour'")
    [count] = await outbox.counts(it.database.reader)
    assert (count.state, count.jobs) == ("waiting", 3)
    assert 3600 <= count.overdue < 3700


async def test_a_worker_that_died_loses_its_jobs_to_another(it: Lab) -> None:
    await it.ask("lab.write", "pushed", "running", "poison")
    await it.sql(
        "UPDATE jobs SET due_at = now() - interval '1 second',"
        "   state = CASE arg #>> '{}' WHEN 'pushed' THEN 'queued' ELSE 'running' END,"
        "   attempts = CASE arg #>> '{}' WHEN 'pushed' THEN 0 WHEN 'running' THEN 1 ELSE 50 END"
    )
    async with it.worker():

        async def only_the_poison_is_left() -> bool:
            return [j.state for j in await it.jobs()] == ["dead"]

        await until(only_the_poison_is_left)
    assert await it.effects() == ["pushed", "running"]
    [poison] = await it.jobs()
    assert poison.last_error == "its worker died while running it"


async def test_a_job_that_runs_longer_than_its_lease_is_not_taken_away(it: Lab) -> None:
    sample_jobs.started["long"], sample_jobs.gates["long"] = asyncio.Event(), asyncio.Event()
    async with it.worker(), it.worker():
        await it.ask("lab.wait", "long")
        await sample_jobs.started["long"].wait()
        await asyncio.sleep(TIMING.lease * 1.5)
        [job] = await it.jobs()
        assert (job.state, job.attempts) == ("running", 1)
        sample_jobs.gates["long"].set()
        await until(it.none_left)
    assert await it.effects() == ["long"]


async def test_an_emptied_redis_loses_nothing(it: Lab) -> None:
    client = redis.from_url(it.redis_url)
    async with it.worker():
        for part in range(10):
            await it.ask("lab.write_slowly", *(f"{part}-{n}" for n in numbered(20)))
            await client.flushdb()
        await until(it.none_left)
    await client.aclose()
    assert len(await it.effects()) == len(set(await it.effects())) == 200


class Line:
    """The wire to Redis, which can be cut."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return self._to._replace(
            netloc=f":{self._to.password or ''}@127.0.0.1:{self.port}"
        ).geturl()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._open |= {writer, back}
        await asyncio.gather(_carry(reader, back), _carry(there, writer))
        self._open -= {writer, back}


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while received := await source.read(65536):
            sink.write(received)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


async def test_a_job_that_gets_no_connection_waits_and_is_tried_again(it: Lab) -> None:
    name = urlsplit(it.url).path[1:]
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    before = await it.database.reader.value(ours)
    async with it.worker(PRODUCTION):

        async def relay_has_looked() -> bool:
            return await it.database.reader.value(ours) > before

        async def waits_with_its_reason() -> bool:
            return all(j.state == "waiting" and j.last_error for j in await it.jobs())

        await until(relay_has_looked)
        await it.sql(f"ALTER DATABASE {name} CONNECTION LIMIT 1")
        try:
            await it.ask("lab.write", "x")
            async with asyncio.timeout(PRODUCTION.lease / 2):
                await until(waits_with_its_reason)
        finally:
            await it.sql(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        await until(it.none_left)
    assert await it.effects() == ["x"]


async def test_jobs_wait_while_redis_is_away_and_complete_when_it_is_back(it: Lab) -> None:
    line = Line(it.redis_url)
    await line.connect()
    async with sample_jobs.worker(it.url, line.url):
        await it.ask("lab.write_slowly", *numbered(40))
        await it.ask("lab.call", "before")

        async def begun() -> bool:
            return bool(await it.effects())

        await until(begun)
        await line.cut()
        await it.ask("lab.write", "meanwhile")
        await asyncio.sleep(TIMING.lease * 1.5)
        await line.connect()
        await until(it.none_left)
    await line.cut()
    assert await it.effects() == sorted([*numbered(40), "before", "meanwhile"])


async def test_a_worker_starts_without_redis_and_stops_without_it(it: Lab) -> None:
    line = Line(it.redis_url)
    await line.connect()
    await line.cut()
    async with sample_jobs.worker(it.url, line.url):
        await it.ask("lab.write", "x")
        await asyncio.sleep(TIMING.poll_interval * 1.5)
        await line.connect()
        await until(it.none_left)
        await line.cut()
    assert await it.effects() == ["x"]


async def test_workers_killed_again_and_again_lose_nothing_and_double_nothing(it: Lab) -> None:
    processes = multiprocessing.get_context("forkserver")  # imports once, not for each worker
    processes.set_forkserver_preload(["tests.platform.sample_jobs"])

    def start() -> multiprocessing.process.BaseProcess:
        process = processes.Process(target=sample_jobs.run, args=(it.url, it.redis_url))
        process.start()
        return process

    workers = [start(), start()]
    try:
        await it.ask("lab.write_slowly", *numbered(200))

        async def begun() -> bool:
            return bool(await it.effects())

        await until(begun)
        for kill in range(5):
            workers[kill % 2].kill()
            workers[kill % 2].join()
            workers[kill % 2] = start()
            await asyncio.sleep(0.5)
        await until(it.none_left)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    assert await it.effects() == numbered(200)


async def test_a_stopped_worker_ends_what_runs_and_gives_back_the_rest(it: Lab) -> None:
    sample_jobs.started["held"], sample_jobs.gates["held"] = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as other:
        async with it.worker():
            await it.ask("lab.wait", "held")
            await sample_jobs.started["held"].wait()
            await it.ask("lab.write_slowly", *numbered(60))
            asyncio.get_running_loop().call_later(0.5, sample_jobs.gates["held"].set)
        assert "held" in await it.effects()
        assert {j.attempts for j in await it.jobs()} <= {0}
        assert not await it.jobs(state="running")
        await other.enter_async_context(it.worker())
        await until(it.none_left)
    assert await it.effects() == [*numbered(60), "held"]


async def test_a_stopped_worker_cuts_off_what_does_not_end(it: Lab) -> None:
    sample_jobs.started["stuck"], sample_jobs.gates["stuck"] = asyncio.Event(), asyncio.Event()
    async with it.worker():
        await it.ask("lab.wait", "stuck")
        await sample_jobs.started["stuck"].wait()
    [job] = await it.jobs()
    assert (job.state, job.attempts) == ("waiting", 0)


async def test_a_slot_fires_once_however_many_relays_look_and_a_missed_one_is_made_up_for(
    it: Lab,
) -> None:
    async def look() -> None:
        for _ in range(5):
            async with it.database.transaction() as tx:
                await schedule.advance(tx, TICK)

    async with it.database.transaction() as tx:
        await schedule.register(tx, TICK)
    await look()
    assert await it.jobs() == []

    await it.sql("UPDATE schedules SET next_at = now() - interval '40 days'")
    await asyncio.gather(look(), look(), look())
    assert [j.name for j in await it.jobs()] == ["lab.tick"]
    assert await it.database.reader.value(
        "SELECT extract(epoch FROM next_at) % (7 * 86400) = 0 AND next_at > now()"
        "   AND next_at <= now() + interval '7 days' FROM schedules"
    )
    async with it.worker():
        await until(it.none_left)
    assert await it.effects() == ["tick"]


async def test_a_slot_is_covered_by_a_job_that_still_waits(it: Lab) -> None:
    async with it.database.transaction() as tx:
        await schedule.register(tx, TICK)
        await schedule.run_now(tx, "lab.tick")
        await tx.execute("UPDATE schedules SET next_at = now()")
        assert await schedule.advance(tx, TICK) == 0
    assert len(await it.jobs()) == 1


async def test_only_a_scheduled_job_can_be_run_now(it: Lab) -> None:
    async with it.database.transaction() as tx:
        with pytest.raises(NotFound, match=r"lab\.tick"):
            await schedule.run_now(tx, "lab.write")


async def test_an_unknown_job_is_refused_when_it_is_asked_for(it: Lab) -> None:
    with pytest.raises(LookupError, match="no job is called"):
        await it.ask("lab.typo", "x")


async def test_jobs_of_a_newer_version_are_left_to_it(it: Lab) -> None:
    await it.ask("lab.write", "x")
    await it.sql("INSERT INTO jobs (name, arg, max_attempts) VALUES ('lab.newer', '1', 5)")
    async with it.worker():

        async def only_the_newer_is_left() -> bool:
            return [j.name for j in await it.jobs()] == ["lab.newer"]

        await until(only_the_newer_is_left)
    [job] = await it.jobs()
    assert (job.state, job.attempts) == ("waiting", 0)


async def test_workers_are_notified_and_it_costs_nothing_when_redis_is_away(it: Lab) -> None:
    client = redis.from_url(it.redis_url, decode_responses=True)
    async with client.pubsub(ignore_subscribe_messages=True) as channel:
        await channel.subscribe("rytask:hint")
        quick = RequestRedis(it.redis_url)
        await quick.start()
        notify = WorkerNotifier(quick)
        notify()
        notify()
        async with asyncio.timeout(60):
            while await channel.get_message(timeout=1.0) is None:
                pass
        await notify.close()
        await quick.close()
    await client.aclose()
    line = Line(it.redis_url)
    await line.connect()
    await line.cut()
    away = RequestRedis(line.url)
    nobody = WorkerNotifier(away)
    for _ in range(20):
        nobody()
        await asyncio.sleep(0.01)
    await nobody.close()
    await away.close()


class Happened(Fact, frozen=True):
    kind = "lab.happened"
    what: str


@on(Happened)
async def follow(ctx: Writing, recorded: RecordedFact, fact: Happened) -> None:
    await ctx.db.execute("INSERT INTO effects (what) VALUES ($1)", f"{fact.what} {recorded.kind}")


@on(Happened)
async def break_on_b(ctx: Writing, recorded: RecordedFact, fact: Happened) -> None:
    await ctx.db.execute("INSERT INTO effects (what) VALUES ($1)", f"{fact.what} also")
    if fact.what == "b":
        raise ValueError("it is broken")


async def test_a_reaction_runs_once_and_a_broken_one_holds_up_nobody_else(it: Lab) -> None:
    async def only_the_broken_one_is_left() -> bool:
        return [job.name for job in await it.jobs()] == ["test_jobs.break_on_b"]

    async with sample_jobs.opened(it.url, lambda: None) as tools, it.worker(), it.worker():
        for what in "abc":
            async with tools.transaction(it.org_id) as ctx:
                ctx.record(Happened(subject_id=UUID(int=1), what=what))
        await until(only_the_broken_one_is_left)
    happened = [f"{what} lab.happened" for what in "abc"]
    assert await it.effects() == sorted([*happened, "a also", "c also"])


async def test_facts_that_an_older_version_recorded_reach_every_subscriber(it: Lab) -> None:
    async with it.tools.transaction(it.org_id) as ctx:
        ctx.record(Happened(subject_id=UUID(int=1), what="a"))
    await it.sql("DELETE FROM jobs WHERE name = 'test_jobs.break_on_b'")
    assert await it.sql("UPDATE jobs SET name = 'facts.react' WHERE name = 'test_jobs.follow'") == 1
    async with it.worker():
        await until(it.none_left)
    assert await it.effects() == ["a also", "a lab.happened"]


async def test_a_moment_of_trouble_is_not_taken_for_a_refusal(it: Lab) -> None:
    await it.ask("lab.refuse_or_wait", "refused", "unavailable")
    async with it.worker():
        await until(it.none_left)
    assert await it.effects() == ["refused: no", "unavailable, then done"]


def test_batches_grow_with_the_backlog_and_what_failed_before_goes_alone() -> None:
    def sizes(fresh: int, tried: int) -> list[int]:
        rows = [
            outbox.QueuedJob(n, "lab.write", 0 if n < fresh else 1, "queued")
            for n in range(fresh + tried)
        ]
        return [len(batch) for batch in relay.batches(rows)]

    assert sizes(0, 0) == []
    assert sizes(1, 0) == [1]
    assert sizes(9, 3) == [6, 3, 1, 1, 1]
    assert sizes(1000, 0) == [25] * 40

"""Jobs to watch, and the workers that run them: in this process, or as one that can be killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import aiohttp

from rytask.platform import jobs, outbox
from rytask.platform.db import Database
from rytask.platform.errors import Invalid, Refused, Unavailable
from rytask.platform.ids import OrgId
from rytask.platform.reactions import subscribers
from rytask.platform.settings import Settings
from rytask.platform.timing import WorkerTiming
from rytask.platform.work import Work, Writing
from rytask.platform.worker import run_worker

TIMING = WorkerTiming(
    lease=2.0,
    heartbeat=0.5,
    poll_interval=0.25,
    drain_timeout=3.0,
    settle_delays=(0.0, 0.05, 0.25),
    queue_lock=2.0,
    queue_stalled_interval=1.0,
    queue_block=1.0,
    queue_retry_delay=0.25,
)
"""A worker's times, a fifth of production's: what waits for a lost lease waits less."""

gates: dict[str, asyncio.Event] = {}
started: dict[str, asyncio.Event] = {}


async def _write(ctx: Writing, what: str) -> None:
    await ctx.db.execute("INSERT INTO effects (what) VALUES ($1)", what)


@jobs.transactional("lab.write", attempts=50)
async def write(ctx: Writing, what: str) -> None:
    await _write(ctx, what)


@jobs.transactional("lab.write_slowly", attempts=50)
async def write_slowly(ctx: Writing, what: str) -> None:
    await _write(ctx, what)
    await asyncio.sleep(0.05)


@jobs.transactional("lab.write_and_break", attempts=2)
async def write_and_break(ctx: Writing, what: str) -> None:
    await _write(ctx, what)
    if what not in gates or not gates[what].is_set():
        raise ValueError("it is broken")


@jobs.transactional("lab.break", attempts=25)
async def break_(ctx: Writing, what: str) -> None:
    raise ValueError(f"{what}\x00 is broken")


_was_unavailable: set[str] = set()


async def _note_refusal(ctx: Writing, what: str, refusal: Refused) -> None:
    await _write(ctx, f"{what}: {refusal.message}")


@jobs.transactional("lab.refuse_or_wait", attempts=25, otherwise=_note_refusal)
async def refuse_or_wait(ctx: Writing, what: str) -> None:
    if what == "refused":
        raise Invalid("no")
    if what not in _was_unavailable:
        _was_unavailable.add(what)
        raise Unavailable("The database is away for a moment.")
    await _write(ctx, f"{what}, then done")


@jobs.job("lab.call", attempts=25)
async def call(tools: jobs.Tools, org_id: OrgId, what: str) -> None:
    async with tools.transaction(org_id) as ctx:
        await _write(ctx, what)


@jobs.job("lab.ask_again", attempts=25)
async def ask_again(tools: jobs.Tools, org_id: OrgId, what: str) -> None:
    raise jobs.TryAgain("the other side is busy", after=600)


@jobs.job("lab.wait", attempts=25)
async def wait(tools: jobs.Tools, org_id: OrgId, what: str) -> None:
    """Wait at a gate that the test opens."""
    started[what].set()
    await gates[what].wait()
    await call(tools, org_id, what)


@jobs.job("lab.wait_and_break", attempts=25)
async def wait_and_break(tools: jobs.Tools, org_id: OrgId, what: str) -> None:
    await wait(tools, org_id, what)
    raise ValueError("it is broken")


@jobs.every(timedelta(days=7), "lab.tick")
async def tick(tools: jobs.Tools) -> None:
    async with tools.work.database.transaction() as tx:
        await tx.execute("INSERT INTO effects (what) VALUES ('tick')")


@asynccontextmanager
async def opened(
    database_url: str, notify_workers: Callable[[], None]
) -> AsyncIterator[jobs.Tools]:
    database = await Database.connect(database_url)
    work = Work(
        database,
        subscribers=subscribers(),
        attempts=jobs.attempts_of,
        notify_workers=notify_workers,
    )
    try:
        async with aiohttp.ClientSession() as http:
            settings = Settings.read({"DATABASE_URL": database_url}, serving=False)
            yield jobs.Tools(work=work, http=http, settings=settings, mailer=None)
    finally:
        await database.close()


@asynccontextmanager
async def worker(
    database_url: str, redis_url: str, timing: WorkerTiming = TIMING
) -> AsyncIterator[None]:
    """A worker in this process, stopped as SIGTERM stops one."""
    wake, stop = asyncio.Event(), asyncio.Event()
    async with opened(database_url, wake.set) as tools:
        running = asyncio.create_task(
            run_worker(tools, redis_url, wake=wake, stop=stop, timing=timing)
        )
        try:
            yield
        finally:
            stop.set()
            await running


class Lab:
    """A database in which nothing runs but these jobs, and an organization in it."""

    def __init__(self, url: str, redis_url: str, tools: jobs.Tools, org_id: OrgId) -> None:
        self.url, self.redis_url, self.tools, self.org_id = url, redis_url, tools, org_id
        self.database: Database = tools.work.database

    def worker(self, timing: WorkerTiming = TIMING) -> AbstractAsyncContextManager[None]:
        return worker(self.url, self.redis_url, timing)

    async def ask(self, name: str, *args: str) -> None:
        async with self.tools.transaction(self.org_id) as ctx:
            for arg in args:
                ctx.enqueue(name, arg)

    async def effects(self) -> list[str]:
        return await self.database.reader.values("SELECT what FROM effects ORDER BY what")

    async def jobs(self, **wanted: object) -> list[outbox.Job]:
        return await outbox.jobs(self.database.reader, limit=1000, **wanted)  # type: ignore[arg-type]

    async def sql(self, statement: str, *args: object) -> int:
        async with self.database.transaction() as tx:
            return await tx.execute(statement, *args)  # type: ignore[arg-type]

    async def none_left(self) -> bool:
        return not await self.jobs()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, for a minute at most."""
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


def run(database_url: str, redis_url: str) -> None:
    """Be a worker until the process is killed."""

    async def work() -> None:
        async with worker(database_url, redis_url):
            await asyncio.Event().wait()

    asyncio.run(work())

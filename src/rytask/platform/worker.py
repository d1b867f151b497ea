"""The worker: takes batches from the queue, claims their rows, runs them and settles each.

One row's failure is its own. When the worker is stopped, what runs may end, and the rest goes
back at once for another worker.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import groupby
from time import perf_counter

import structlog
from prometheus_client import Counter, Histogram

from rytask.platform import jobs, outbox
from rytask.platform.errors import Unavailable
from rytask.platform.queue import Consumer, Queues
from rytask.platform.relay import Relay
from rytask.platform.timing import PRODUCTION, WorkerTiming
from rytask.platform.worker_notifier import listen

log = structlog.get_logger(__name__)

_runs = Counter("rytask_job_runs_total", "Runs of jobs by outcome", ["name", "outcome"])
_seconds = Histogram(
    "rytask_job_seconds", "How long a run of a job, or of several, takes", ["name"]
)


async def run_worker(
    tools: jobs.Tools,
    redis_url: str,
    *,
    wake: asyncio.Event,
    stop: asyncio.Event,
    timing: WorkerTiming = PRODUCTION,
) -> None:
    """Relay and run jobs until `stop` is set, then drain within ten seconds.

    `wake` makes the relay look at once: set it where this process commits work
    (`Work(notify_workers=…)`).
    """
    queues = Queues(redis_url)
    relay = Relay(tools.work.database, queues, wake, timing)
    runner = Runner(tools, timing)
    consumers = [
        Consumer(redis_url, "work", runner.one_by_one, timing),
        Consumer(redis_url, "calls", runner.together, timing),
    ]
    listening = asyncio.create_task(listen(redis_url, wake.set))
    stopping = asyncio.create_task(stop.wait())
    working = [
        asyncio.create_task(work)
        for work in (relay.run(), runner.keep_leases(), *(c.consume() for c in consumers))
    ]
    try:
        await asyncio.wait([stopping, listening, *working], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        listening.cancel()
        relay.stop()
        runner.stop()
        await asyncio.gather(
            runner.drain(within=timing.drain_timeout),
            *(c.close(within=timing.drain_timeout + 1) for c in consumers),
        )
        ends = await asyncio.gather(stopping, listening, *working, return_exceptions=True)
        await queues.close()
    for end in ends:
        if isinstance(end, Exception):
            raise end


class Runner:
    """Runs claimed rows, and keeps their leases while it does."""

    def __init__(self, tools: jobs.Tools, timing: WorkerTiming = PRODUCTION) -> None:
        self._tools, self._timing = tools, timing
        self._names = jobs.names()
        self._running: dict[int, outbox.LeasedJob] = {}
        self._batches: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._drained = asyncio.Event()

    async def one_by_one(self, ids: Sequence[int]) -> None:
        """Run a batch in its order: for rows that keep the database busy, not the network."""
        await self._in_a_task(self._batch(ids, self._in_order))

    async def together(self, ids: Sequence[int]) -> None:
        """Run a batch all at once: for rows that mostly wait for somebody else's answer."""
        await self._in_a_task(self._batch(ids, self._at_once))

    async def keep_leases(self) -> None:
        """Extend the leases of what is held, until all is drained."""
        while not self._drained.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.heartbeat):
                    await self._drained.wait()
            if self._running:
                try:
                    async with self._tools.work.database.transaction(
                        asynchronous_commit=True
                    ) as tx:
                        await outbox.extend_leases(
                            tx, self._running.values(), lease=self._timing.lease
                        )
                except Exception as error:
                    log.warning("jobs.leases_not_kept", why=_text(error))

    def stop(self) -> None:
        """Begin no more rows: what comes from here on goes back."""
        self._stopping = True

    async def drain(self, *, within: float) -> None:
        """Wait for the rows that run; after so many seconds they are cut off and go back."""
        if self._batches:
            await asyncio.wait(self._batches, timeout=within)
        for batch in self._batches:
            batch.cancel()
        if self._batches:
            await asyncio.wait(self._batches)
        self._drained.set()

    async def _in_a_task(self, batch: Coroutine[None, None, None]) -> None:
        """Run a batch so that `drain` may cut it off without cutting off the consumer."""
        task = asyncio.create_task(batch)
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _batch(
        self, ids: Sequence[int], run: Callable[[Sequence[outbox.LeasedJob]], Awaitable[None]]
    ) -> None:
        async with self._tools.work.database.transaction(asynchronous_commit=True) as tx:
            rows = await outbox.claim(tx, ids, self._names, lease=self._timing.lease)
        self._running.update((row.id, row) for row in rows)
        try:
            await run(rows)
        finally:
            unfinished = [row for row in rows if self._running.pop(row.id, None)]
            if unfinished:
                async with self._tools.work.database.transaction(asynchronous_commit=True) as tx:
                    await outbox.release(tx, unfinished)

    async def _in_order(self, rows: Sequence[outbox.LeasedJob]) -> None:
        """Run rows of the same job and organization in one transaction, if nothing goes wrong."""
        rows = sorted(rows, key=lambda row: (row.name, str(row.org_id), row.id))
        for (name, org_id), run in groupby(rows, key=lambda row: (row.name, row.org_id)):
            alike = list(run)
            if len(alike) > 1 and org_id is not None and not self._stopping:
                alike = await self._run_all(name, alike)
            for row in alike:
                if self._stopping:
                    return
                await self._run(row)

    async def _run_all(
        self, name: str, rows: Sequence[outbox.LeasedJob]
    ) -> Sequence[outbox.LeasedJob]:
        """Run rows together; what is left to run one by one: all of them if one failed."""
        run_all = jobs.registered(name).run_all
        if run_all is None:
            return rows
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timing.job_timeout):
                await run_all(self._tools, rows)
        except Exception as error:
            log.info("jobs.one_by_one", name=name, jobs=len(rows), why=_text(error))
            return rows
        _runs.labels(name, "done").inc(len(rows))
        _seconds.labels(name).observe(perf_counter() - started)
        for row in rows:
            self._running.pop(row.id, None)
        return ()

    async def _at_once(self, rows: Sequence[outbox.LeasedJob]) -> None:
        if self._stopping:
            return
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(self._run(row))

    async def _run(self, row: outbox.LeasedJob) -> None:
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timing.job_timeout):
                await jobs.registered(row.name).run(self._tools, row)
        except Exception as error:
            await self._fail(row, error)
        else:
            _runs.labels(row.name, "done").inc()
        _seconds.labels(row.name).observe(perf_counter() - started)
        self._running.pop(row.id, None)

    async def _fail(self, row: outbox.LeasedJob, error: Exception) -> None:
        outcome = "again" if row.attempts < row.max_attempts else "dead"
        _runs.labels(row.name, outcome).inc()
        expected = isinstance(error, jobs.TryAgain | Unavailable)
        log_outcome = log.error if outcome == "dead" else log.info if expected else log.warning
        log_outcome(
            f"job.{outcome}",
            job=row.id,
            name=row.name,
            attempt=row.attempts,
            why=_text(error),
            exc_info=None if expected else error,
        )
        after = error.after if isinstance(error, jobs.TryAgain) else None
        why = ""
        for pause in self._timing.settle_delays:
            await asyncio.sleep(pause)
            try:
                # By a connection that the claim has left, where PostgreSQL lets no more in.
                async with self._tools.work.database.transaction(asynchronous_commit=True) as tx:
                    return await outbox.fail(tx, row, _text(error), after=after)
            except Exception as trouble:
                why = _text(trouble)
        # Its lease ends soon, and then it is tried again.
        log.warning("job.unsettled", job=row.id, name=row.name, why=why)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

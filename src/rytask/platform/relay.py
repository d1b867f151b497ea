"""The relay: pushes due jobs from PostgreSQL to the queue. It runs in every worker.

A lone job goes at once; the longer the backlog, the bigger the batches. It pushes no more than the
consumers can start well within a lease, and nothing while Redis is away.
"""

import asyncio
import math
from collections import Counter as Counted
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import structlog
from prometheus_client import Counter

from rytask.platform import jobs, outbox, schedule
from rytask.platform.db import Database, Tx
from rytask.platform.errors import Unavailable
from rytask.platform.queue import Queues
from rytask.platform.timing import PRODUCTION, WorkerTiming

log = structlog.get_logger(__name__)

_pushed = Counter("rytask_jobs_pushed_total", "Jobs pushed to the queue", ["queue"])
_MIN_PAUSE = 0.01  # between two looks: under load, jobs that come meanwhile make a batch
_FULL_QUEUE_PAUSE = 0.05
_LIMIT_PER_NAME = 200
_MAX_BATCH = 25
_MAX_DEPTH: dict[jobs.Queue, int] = {"work": 40, "calls": 10}  # batches


class Relay:
    """Looks for due jobs each second, and whenever `wake` is set."""

    def __init__(
        self,
        database: Database,
        queues: Queues,
        wake: asyncio.Event,
        timing: WorkerTiming = PRODUCTION,
    ) -> None:
        self._database, self._queues, self._wake = database, queues, wake
        self._timing = timing
        self._names = {queue: jobs.names(queue) for queue in _MAX_DEPTH}
        self._schedules = jobs.scheduled()
        self._registered = False
        self._unavailable = False
        self._stopping = False

    async def run(self) -> None:
        """Relay until `stop`, through outages of PostgreSQL and of Redis."""
        while not self._stopping:
            self._wake.clear()
            try:
                pause = await self._poll()
                if self._unavailable:
                    log.info("relay.resumed")
                self._unavailable = False
            except Unavailable as error:
                if not self._unavailable:
                    log.warning("relay.paused", why=error.message)
                self._unavailable = True
                await asyncio.sleep(self._timing.poll_interval)
                continue
            except Exception:
                log.exception("relay.failed")
                await asyncio.sleep(self._timing.poll_interval)
                continue
            await asyncio.sleep(_MIN_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def _poll(self) -> float:
        """Push what is due; for how many seconds to rest, unless woken."""
        waiting = await self._queues.waiting()
        open_ = [queue for queue, max_depth in _MAX_DEPTH.items() if waiting[queue] < max_depth]
        names = [name for queue in open_ for name in self._names[queue]]
        async with self._database.transaction(asynchronous_commit=True) as tx:
            await self._fire_schedules(tx)
            taken = await outbox.take_due(tx, names, _LIMIT_PER_NAME, lease=self._timing.lease)
        due = []
        for row in taken:
            if row.state == "dead":
                log.error("job.dead", job=row.id, name=row.name, attempts=row.attempts)
            else:
                due.append(row)
        await self._push(due)
        if any(count == _LIMIT_PER_NAME for count in Counted(row.name for row in taken).values()):
            return 0.0
        return self._timing.poll_interval if len(open_) == len(_MAX_DEPTH) else _FULL_QUEUE_PAUSE

    async def _fire_schedules(self, tx: Tx) -> None:
        if not self._registered:
            await schedule.register(tx, self._schedules)
            self._registered = True
        await schedule.advance(tx, self._schedules)

    async def _push(self, due: list[outbox.QueuedJob]) -> None:
        by_queue: dict[jobs.Queue, list[outbox.QueuedJob]] = defaultdict(list)
        for row in due:
            by_queue[jobs.registered(row.name).queue].append(row)
        try:
            for queue, rows in by_queue.items():
                await self._queues.push(queue, batches(rows))
                _pushed.labels(queue).inc(len(rows))
        except Unavailable:
            async with self._database.transaction(asynchronous_commit=True) as tx:
                await outbox.release(tx, due)
            raise


def batches(rows: Sequence[outbox.QueuedJob]) -> list[list[int]]:
    """Ids in batches that grow with the backlog. A job that failed before goes alone.

    Alone, because it may be the one that kills its worker, and its neighbours with it.
    """
    fresh = [row.id for row in rows if row.attempts == 0]
    size = min(_MAX_BATCH, 2 * math.isqrt(len(fresh)) or 1)
    return [fresh[start : start + size] for start in range(0, len(fresh), size)] + [
        [row.id] for row in rows if row.attempts > 0
    ]

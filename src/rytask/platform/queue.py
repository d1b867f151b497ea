"""The queue: BullMQ on Redis, carrying batches of ids of the table of jobs. Nothing else uses it.

Losing the queue loses nothing: the relay pushes again whatever was not done when its lease ends.
A BullMQ job costs about 0.7 ms of CPU (2026-11), hence the batches.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any

import bullmq
import structlog
from bullmq.redis_connection import RedisConnection
from prometheus_client import Counter

from rytask.platform.errors import Unavailable
from rytask.platform.ids import new_id
from rytask.platform.jobs import Queue
from rytask.platform.timing import PRODUCTION, WorkerTiming
from rytask.platform.worker_notifier import REDIS_ERRORS, connect

log = structlog.get_logger(__name__)

_events = Counter(
    "rytask_queue_events_total",
    "What went wrong in BullMQ: error, failed, stalled, lockRenewalFailed",
    ["queue", "event"],
)
_Worker: Any = bullmq.Worker  # its hints ask for a Future where a coroutine is meant
# Batches at a time. Jobs of one project wait for each other's numbers, so more would only hold
# connections; calls wait for somebody else.
_CONCURRENCY: dict[Queue, int] = {"work": 3, "calls": 10}
_CONSUMER: dict[str, Any] = {
    "autorun": False,
    "maxStalledCount": 1000,
    "removeOnComplete": {"age": 86_400, "count": 1_000},
    "removeOnFail": {"age": 1_209_600, "count": 10_000},
}


class _RedisErrorsTranslated:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(error, REDIS_ERRORS):
            raise Unavailable("Redis is away for a moment.") from error


class Queues:
    """The pushing side of every queue. Raises Unavailable, within half a second, without Redis."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, timeout=0.5)
        self._queues: dict[Queue, bullmq.Queue] = {
            name: bullmq.Queue(_queue_name(name), {"connection": self._redis})
            for name in ("work", "calls")
        }

    async def waiting(self) -> dict[Queue, int]:
        """Count the batches that wait for a consumer, by queue."""
        pipe = self._redis.pipeline(transaction=False)
        for queue in self._queues.values():
            pipe.llen(queue.toKey("wait"))
        with _RedisErrorsTranslated():
            return dict(zip(self._queues, await pipe.execute(), strict=True))

    async def push(self, queue: Queue, batches: Sequence[Sequence[int]]) -> None:
        """Add batches of ids. After an exception some of them may have been added."""
        added = [
            {"name": "batch", "data": list(ids), "opts": {"jobId": f"b_{new_id().hex}"}}
            for ids in batches
        ]
        with _RedisErrorsTranslated():
            if len(added) == 1:
                await self._queues[queue].add(**added[0])
            else:
                await self._queues[queue].addBulk(added)

    async def close(self) -> None:
        await self._redis.aclose()


class Consumer:
    """Takes batches from one queue, several at a time, and gives each to `run`."""

    def __init__(
        self,
        url: str,
        queue: Queue,
        run: Callable[[Sequence[int]], Awaitable[None]],
        timing: WorkerTiming = PRODUCTION,
    ) -> None:
        self._url = url
        self._timing = timing
        self._queue: Queue = queue
        self._run = run
        self._closing = False
        self._worker: bullmq.Worker | None = None
        self._running: asyncio.Task[None] | None = None

    async def consume(self) -> None:
        """Consume until `close`. Redis may come and go."""
        while not self._closing:
            self._worker = self._open()
            self._running = asyncio.create_task(self._worker.run())
            (end,) = await asyncio.gather(self._running, return_exceptions=True)
            if not self._closing:
                if not isinstance(end, REDIS_ERRORS):
                    log.error("queue.consumer_ended", queue=self._queue, why=repr(end))
                await self._shut(within=0.0)
                await asyncio.sleep(self._timing.queue_retry_delay)

    async def close(self, *, within: float) -> None:
        """Take no more batches, and give those in hand so many seconds to end."""
        self._closing = True
        await self._shut(within=within)

    def _open(self) -> bullmq.Worker:
        worker = _Worker(
            _queue_name(self._queue),
            self._take,
            {
                **_CONSUMER,
                "drainDelay": self._timing.queue_block,
                "lockDuration": round(self._timing.queue_lock * 1000),
                "stalledInterval": round(self._timing.queue_stalled_interval * 1000),
                "runRetryDelay": round(self._timing.queue_retry_delay * 1000),
                "concurrency": _CONCURRENCY[self._queue],
                "connection": connect(self._url, timeout=2.0),
            },
        )
        # A read that blocks outlives the time-out of every other command.
        worker.backend.blocking_connection = RedisConnection(
            connect(self._url, timeout=self._timing.queue_block + 3.0)
        )
        for event in ("error", "failed", "stalled", "lockRenewalFailed"):
            worker.on(event, self._watch(event))
        return worker

    async def _take(self, job: bullmq.Job, token: str) -> None:
        await self._run(job.data)

    def _watch(self, event: str) -> Callable[..., None]:
        counter = _events.labels(self._queue, event)

        def watch(*about: object) -> None:
            counter.inc()
            errors = [error for error in about if isinstance(error, Exception)]
            if not any(isinstance(error, (*REDIS_ERRORS, Unavailable)) for error in errors):
                log.warning("queue.trouble", queue=self._queue, event_name=event, errors=errors)

        return watch

    async def _shut(self, *, within: float) -> None:
        """BullMQ's close waits, deaf to cancellation, and retries without a pause without Redis."""
        worker, running = self._worker, self._running
        if worker is None or running is None:
            return
        closing = asyncio.create_task(worker.close())
        await asyncio.wait({closing, running}, timeout=within)
        worker.cancelProcessing()
        await asyncio.wait({closing, running}, timeout=1.0)
        # A batch that was on its way while it closed has opened its connection again.
        await worker.backend.close(force=True)


def _queue_name(queue: Queue) -> str:
    return f"rytask-{queue}"

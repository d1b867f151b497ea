"""The waits of a worker's parts: one value, so that tests of crashes wait less."""

import msgspec


class WorkerTiming(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a worker, in seconds. What is held is lost when its lease is not extended."""

    lease: float = 10.0
    heartbeat: float = 3.0
    poll_interval: float = 1.0
    job_timeout: float = 60.0  # a job that hangs must not hold its place for ever
    drain_timeout: float = 8.0
    settle_delays: tuple[float, ...] = (0.0, 0.2, 1.0)
    """Before each try to write down that a job failed."""
    queue_lock: float = 10.0
    queue_stalled_interval: float = 5.0
    queue_block: float = 5.0
    queue_retry_delay: float = 1.0


PRODUCTION = WorkerTiming()

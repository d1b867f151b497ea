"""Captures from end to end: Slack's command is answered, kept, carried out and confirmed."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import asyncpg
from tests.fake_slack import FakeSlack, signed

from bench import rig
from bench.load import Request, Seen, closed, paced, request
from rytask.platform.redis_client import RequestRedis
from rytask.platform.worker_notifier import CHANNEL

PATH = "/api/v1/integrations/slack/commands"
_LINE = "Fix login {} @olive ~2h #bug !high ^friday"
_PATIENCE = 180.0


@dataclass(frozen=True)
class Backlog:
    """How fast workers carry out what waits."""

    workers: int
    captures: int
    rate: float
    """Confirmations seen in Slack, a second."""
    cpu_ms: float
    """Of all workers together, for each capture."""


def commands(slack: FakeSlack, count: int | None = None) -> Request:
    """Signed commands, each another delivery."""
    numbers: Iterator[int] = itertools.count() if count is None else iter(range(count))

    def make() -> bytes | None:
        number = next(numbers, None)
        if number is None:
            return None
        body = slack.command(_LINE.format(number))
        return request("POST", PATH, signed(rig.SLACK_SECRET, body), body)

    return make


async def wait_until_idle(env: Mapping[str, str], slack: FakeSlack, port: int) -> None:
    """Carry out what waits, the first look at the people in Slack included."""
    with rig.worker(env) as worker:
        await worker.ready()
        await asyncio.sleep(2)
        await closed(port, commands(slack, 20))
        await _confirmed(slack, 20)


async def backlog(
    env: Mapping[str, str], slack: FakeSlack, port: int, *, workers: int, captures: int
) -> Backlog:
    """Accept captures while no worker runs, then let workers loose on them."""
    slack.seen.clear()
    slack.calls.clear()
    accepted = await closed(port, commands(slack, captures))
    assert accepted.good == captures, accepted.statuses
    connection = await asyncpg.connect(env["DATABASE_URL"])
    redis = RequestRedis(env["REDIS_URL"])
    try:
        await connection.execute("UPDATE jobs SET due_at = now() + interval '1 day'")
        with ExitStack() as stack:
            cores = rig.SERVER if workers == 1 else rig.CORES
            started = [stack.enter_context(rig.worker(env, cores)) for _ in range(workers)]
            await asyncio.gather(*(one.ready() for one in started))
            await asyncio.sleep(2)  # it has nothing to do yet
            before = sum(one.cpu for one in started)
            await connection.execute("UPDATE jobs SET due_at = now() WHERE name = 'slack.capture'")
            began = time.perf_counter()
            await redis.call("PUBLISH", CHANNEL, "")
            await _confirmed(slack, captures)
            seconds = time.perf_counter() - began
            cpu = sum(one.cpu for one in started) - before
        items = await connection.fetchval(
            "SELECT count(*) FROM slack_captures c JOIN work_items w ON w.capture_id = c.id"
        )
        assert items >= captures, items
    finally:
        await redis.close()
        await connection.close()
    return Backlog(workers, captures, captures / seconds, cpu / captures * 1000)


async def acknowledged(
    env: Mapping[str, str], slack: FakeSlack, port: int, *, rate: float, seconds: float
) -> Seen:
    """Commands at a steady rate, while a worker carries them out on the other core."""
    slack.seen.clear()
    with rig.worker(env, rig.REST) as worker:
        await worker.ready()
        await asyncio.sleep(1)
        seen = await paced(port, commands(slack), rate=rate, seconds=seconds)
        await _confirmed(slack, seen.good)
    return seen


async def _confirmed(slack: FakeSlack, count: int) -> None:
    """Wait until somebody in Slack sees so many confirmations; each but once."""
    end = time.monotonic() + _PATIENCE
    while len(slack.seen) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(slack.seen)} of {count} captures are confirmed")
        await asyncio.sleep(0.005)
    assert len(slack.seen) == count, f"{len(slack.seen)} confirmations of {count} captures"

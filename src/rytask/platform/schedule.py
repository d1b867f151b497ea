"""Schedules live in PostgreSQL: N workers fire each slot once, and a missed slot is not lost."""

from collections.abc import Sequence

from rytask.platform import jobs
from rytask.platform.db import Reader, Tx
from rytask.platform.errors import NotFound


async def advance(tx: Tx, schedules: Sequence[jobs.RegisteredJob]) -> int:
    """Ask for the jobs whose slot has come, and move each to its next slot; how many were asked.

    A job that still waits for its turn covers the new slot too.
    """
    return await tx.execute(
        "WITH due AS ("
        "  SELECT s.name, d.period, d.attempts FROM schedules s"
        "    JOIN unnest($1::text[], $2::float8[], $3::int[]) AS d (name, period, attempts)"
        "   USING (name)"
        "   WHERE s.next_at <= now() FOR UPDATE OF s SKIP LOCKED"
        " ), advanced AS ("
        "  UPDATE schedules s SET next_at = to_timestamp("
        "      (floor(extract(epoch FROM now())::float8 / due.period) + 1) * due.period)"
        "    FROM due WHERE s.name = due.name RETURNING s.name, due.attempts"
        " )"
        " INSERT INTO jobs (name, arg, max_attempts)"
        " SELECT a.name, 'null', a.attempts FROM advanced a WHERE NOT EXISTS ("
        "   SELECT FROM jobs j WHERE j.name = a.name AND j.state IN ('waiting', 'queued'))",
        [schedule.name for schedule in schedules],
        [schedule.every.total_seconds() for schedule in schedules if schedule.every],
        [schedule.attempts for schedule in schedules],
    )


async def register(tx: Tx, schedules: Sequence[jobs.RegisteredJob]) -> None:
    """Give each schedule that is new its first slot."""
    await tx.execute(
        "INSERT INTO schedules (name, next_at)"
        " SELECT name, to_timestamp("
        "     (floor(extract(epoch FROM now())::float8 / period) + 1) * period)"
        "   FROM unnest($1::text[], $2::float8[]) AS d (name, period)"
        " ON CONFLICT (name) DO NOTHING",
        [schedule.name for schedule in schedules],
        [schedule.every.total_seconds() for schedule in schedules if schedule.every],
    )


async def late(db: Reader) -> float | None:
    """Seconds since the next slot should have been fired; None before any worker has started.

    A worker looks every second, so that more than a few mean that none runs.
    """
    return await db.value("SELECT extract(epoch FROM now() - min(next_at))::float8 FROM schedules")


async def run_now(tx: Tx, name: str) -> None:
    """Ask for a scheduled job without waiting for its slot; its schedule stays as it is."""
    by_name = {schedule.name: schedule for schedule in jobs.scheduled()}
    if name not in by_name:
        raise NotFound(f"No scheduled job is called {name!r}. There are: {', '.join(by_name)}.")
    await tx.execute(
        "INSERT INTO jobs (name, arg, max_attempts) VALUES ($1, 'null', $2)",
        name,
        by_name[name].attempts,
    )

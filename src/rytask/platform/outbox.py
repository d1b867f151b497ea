"""The table of jobs: PostgreSQL is the truth, and the queue only carries ids of its rows.

waiting → queued (pushed) → running → deleted when done. A failure waits again with a backoff, or
is 'dead' once its attempts are used up. `due_at` of a queued or running row is the end of a lease:
whoever dies holding it loses it, and the relay pushes the row again. Attempts are counted, and
committed, before the run, so that a job that kills its process is bounded too.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, LiteralString

import msgspec

from rytask.platform.db import Reader, Tx, Where
from rytask.platform.errors import NotFound
from rytask.platform.ids import OrgId
from rytask.platform.pruning import BATCH
from rytask.platform.timing import PRODUCTION

State = Literal["waiting", "queued", "running", "dead"]

INSERT: LiteralString = "INSERT INTO jobs (org_id, name, arg, max_attempts)"
"""For a statement that asks for jobs itself, where a unit of work would cost too much."""


class QueuedJob(msgspec.Struct, frozen=True):
    """A row that is due, on its way to the queue; or 'dead', when its last worker died with it."""

    id: int
    name: str
    attempts: int
    state: State


class LeasedJob(msgspec.Struct, frozen=True):
    """A row that is ours to run until its lease ends."""

    id: int
    org_id: OrgId | None
    name: str
    arg: msgspec.Raw
    attempts: int
    max_attempts: int


async def take_due(
    tx: Tx, names: Sequence[str], limit: int, *, lease: float = PRODUCTION.lease
) -> list[QueuedJob]:
    """Lease what is due under these names, at most `limit` rows of each, so none starves another.

    Jobs that this version does not know are left to one that does.
    """
    return await tx.all(
        QueuedJob,
        "WITH due AS MATERIALIZED ("
        "  SELECT j.id FROM unnest($1::text[]) AS n (name) CROSS JOIN LATERAL ("
        "    SELECT id FROM jobs"
        "     WHERE jobs.name = n.name AND state <> 'dead' AND due_at <= now()"
        "     ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS j)"
        " UPDATE jobs SET due_at = now() + make_interval(secs => $3::float8),"
        "   state = CASE WHEN attempts < max_attempts THEN 'queued' ELSE 'dead' END,"
        "   last_error = CASE WHEN attempts < max_attempts THEN last_error"
        "                     ELSE coalesce(last_error, 'its worker died while running it') END"
        "  FROM due WHERE jobs.id = due.id"
        " RETURNING jobs.id, jobs.name, jobs.attempts, jobs.state",
        names,
        limit,
        lease,
    )


async def claim(
    tx: Tx, ids: Sequence[int], names: Sequence[str], *, lease: float = PRODUCTION.lease
) -> list[LeasedJob]:
    """Claim pushed rows in order to run them; those that somebody else holds are left out."""
    return await tx.all(
        LeasedJob,
        "UPDATE jobs SET state = 'running', attempts = attempts + 1,"
        "   due_at = now() + make_interval(secs => $3::float8)"
        " WHERE id = ANY (ARRAY("
        "   SELECT id FROM jobs WHERE id = ANY ($1::bigint[]) AND state = 'queued'"
        "      AND name = ANY ($2::text[]) ORDER BY id FOR UPDATE SKIP LOCKED))"
        " RETURNING id, org_id, name, arg, attempts, max_attempts",
        ids,
        names,
        lease,
    )


async def extend_leases(
    tx: Tx, leased: Iterable[LeasedJob], *, lease: float = PRODUCTION.lease
) -> None:
    """Extend the leases that are still held. A row that is locked is in its last transaction."""
    ids, attempts = _ids_and_attempts(leased)
    await tx.execute(
        "UPDATE jobs SET due_at = now() + make_interval(secs => $3::float8) WHERE id = ANY (ARRAY("
        "  SELECT jobs.id FROM jobs"
        "    JOIN unnest($1::bigint[], $2::int[]) AS held (id, attempts) USING (id, attempts)"
        "   WHERE state = 'running' ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED))",
        ids,
        attempts,
        lease,
    )


async def finish(db: Reader, job_id: int) -> bool:
    """Delete a job that is done; False when somebody else has done it already."""
    return await db.value("DELETE FROM jobs WHERE id = $1 RETURNING true", job_id) or False


async def finish_all(tx: Tx, ids: Sequence[int]) -> set[int]:
    """Delete jobs that are done with this transaction; those that were still there to be done."""
    return set(await tx.values("DELETE FROM jobs WHERE id = ANY ($1::bigint[]) RETURNING id", ids))


async def fail(tx: Tx, job: LeasedJob, error: str, *, after: float | None = None) -> None:
    """Let a failed job wait: `after` seconds, or an exponential backoff with full jitter.

    It is dead when its attempts are used up. Nothing changes when somebody else holds it by now.
    """
    await tx.execute(
        "UPDATE jobs SET last_error = $3,"
        "   state = CASE WHEN attempts < max_attempts THEN 'waiting' ELSE 'dead' END,"
        "   due_at = now() + make_interval(secs =>"
        "     coalesce($4::float8 + random(), random() * least(900, 2.0 ^ (attempts - 1))))"
        " WHERE id = $1 AND attempts = $2 AND state = 'running'",
        job.id,
        job.attempts,
        error.replace("\x00", "")[:2000],
        after,
    )


async def release(tx: Tx, leased: Iterable[QueuedJob | LeasedJob]) -> None:
    """Return rows that were not run, or not to the end: due at once, no attempt counted."""
    ids, attempts = _ids_and_attempts(leased)
    await tx.execute(
        "UPDATE jobs SET state = 'waiting', due_at = now(),"
        "   attempts = jobs.attempts - (state = 'running')::int"
        "  FROM unnest($1::bigint[], $2::int[]) AS held (id, attempts)"
        " WHERE jobs.id = held.id AND jobs.attempts = held.attempts"
        "   AND state IN ('queued', 'running')",
        ids,
        attempts,
    )


def _ids_and_attempts(leased: Iterable[QueuedJob | LeasedJob]) -> tuple[list[int], list[int]]:
    rows = list(leased)
    return [row.id for row in rows], [row.attempts for row in rows]


class Job(msgspec.Struct, frozen=True, rename="camel"):
    """A job as the operator sees it."""

    id: int
    org_id: OrgId | None
    name: str
    arg: msgspec.Raw
    state: State
    attempts: int
    max_attempts: int
    due_at: datetime
    last_error: str | None
    created_at: datetime


class Count(msgspec.Struct, frozen=True, rename="camel"):
    """The number of jobs in a state, and the seconds that the oldest of them has been due."""

    state: State
    jobs: int
    overdue: float


_JOB: LiteralString = (
    "SELECT id, org_id, name, arg, state, attempts, max_attempts, due_at, last_error, created_at"
    "  FROM jobs"
)


async def jobs(
    db: Reader, *, state: State | None = None, name: str | None = None, limit: int = 50
) -> list[Job]:
    """The newest jobs first."""
    where = Where()
    if state is not None:
        where.add("state = {}", state)
    if name is not None:
        where.add("name = {}", name)
    limited = where.param(limit)
    return await db.all(
        Job, f"{_JOB} WHERE {where.sql} ORDER BY id DESC LIMIT {limited}", *where.args
    )


async def job(db: Reader, job_id: int) -> Job:
    """One job. A job that is done is not kept."""
    found = await db.maybe(Job, f"{_JOB} WHERE id = $1", job_id)
    if found is None:
        raise NotFound(f"There is no job {job_id}: it never was, or it is done.")
    return found


class Dead(msgspec.Struct, frozen=True, rename="camel"):
    """The number of jobs of a name that failed for good, and the newest one's error."""

    name: str
    jobs: int
    last_error: str | None


async def dead(db: Reader) -> list[Dead]:
    """Count jobs that failed for good, by name."""
    return await db.all(
        Dead,
        "SELECT name, count(*) AS jobs, (array_agg(last_error ORDER BY id DESC))[1] AS last_error"
        "  FROM jobs WHERE state = 'dead' GROUP BY name ORDER BY name",
    )


_RETRY: LiteralString = "UPDATE jobs SET state = 'waiting', attempts = 0, due_at = now()"


async def retry(tx: Tx, job_id: int) -> bool:
    """Run a dead or a waiting job now, with all its attempts; False when there is no such job."""
    return await tx.execute(f"{_RETRY} WHERE id = $1 AND state IN ('dead', 'waiting')", job_id) == 1


async def retry_dead(tx: Tx, name: str | None = None) -> int:
    """Run every dead job (of one name) now; how many."""
    if name is None:
        return await tx.execute(f"{_RETRY} WHERE state = 'dead'")
    return await tx.execute(f"{_RETRY} WHERE state = 'dead' AND name = $1", name)


async def purge_dead(tx: Tx, older_than: datetime) -> int:
    """Delete a batch of jobs that failed for good before; how many."""
    return await tx.execute(
        "DELETE FROM jobs WHERE ctid = ANY (ARRAY(SELECT ctid FROM jobs"
        "   WHERE state = 'dead' AND due_at < $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        older_than,
        BATCH,
    )


async def counts(db: Reader) -> list[Count]:
    """Every state that has jobs. Reads the whole table: for metrics and the doctor."""
    return await db.all(
        Count,
        "SELECT state, count(*) AS jobs,"
        "   greatest(0, extract(epoch FROM now() - min(due_at)))::float8 AS overdue"
        "  FROM jobs GROUP BY state ORDER BY state",
    )

"""Latencies at size, each held against its budget: one client, one request at a time, over HTTP."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import aiohttp
import asyncpg

from bench import rig, size_rows
from bench.load import closed
from bench.size_rows import Client, Row, Subjects
from rytask import demo
from rytask.demo.organization import PROJECT

_MOST_SECONDS = 3.0
"""A row that takes longer gets fewer samples."""
WRITE_MS = 30.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One row; in ms."""

    name: str
    items: int
    samples: int
    p50: float
    p95: float
    budget: float
    failed: int

    @property
    def over(self) -> bool:
        return self.failed > 0 or self.p95 > self.budget


@dataclass(frozen=True, kw_only=True)
class Filled:
    """How long the demo took to be filled."""

    items: int
    seconds: float


def read_budget(items: int) -> float:
    """At most so many ms at the 95th percentile."""
    return 50.0 if items <= 100_000 else 100.0


async def fill(env: Mapping[str, str], url: str, items: int) -> Filled:
    """Fill a demo, and give its founder a full inbox."""
    began = time.monotonic()
    command = [sys.executable, "-m", "rytask", "demo", "--size", str(items)]
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, rig.CORES)
    try:
        await asyncio.to_thread(subprocess.run, command, env={**os.environ, **env}, check=True)
    finally:
        os.sched_setaffinity(0, ours)
    seconds = time.monotonic() - began
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_INBOX, demo.EMAIL, min(items, 100_000), timeout=600)
        await connection.execute(_MEMBER, demo.EMAIL, _MEMBER_EMAIL)
        await connection.execute("VACUUM (ANALYZE)", timeout=600)
    finally:
        await connection.close()
    return Filled(items=items, seconds=seconds)


async def measure(
    env: Mapping[str, str],
    items: int,
    *,
    wanted: Callable[[str], bool],
    progress: Callable[[str], None],
) -> list[Latency]:
    """Measure every row on a filled demo. What changes very many items comes last."""
    found: list[Latency] = []
    with ExitStack() as stack:
        api = stack.enter_context(rig.api(env))
        await api.ready()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}") as http:
            client = Client(http, demo.EMAIL, demo.PASSWORD)
            await client.sign_in()
            about = await size_rows.subjects(client, str(PROJECT))
            async for row in _rows(client, about, env, stack):
                if wanted(row.name):
                    progress(f"{row.name} at {items:,} items")
                    found.append(await _latency(api.port, row, items))
                await client.sign_in_again()
    return found


async def _rows(
    client: Client, about: Subjects, env: Mapping[str, str], stack: ExitStack
) -> AsyncIterator[Row]:
    async for row in size_rows.reads(client, about):
        yield row
    member = Client(client.http, _MEMBER_EMAIL, demo.PASSWORD)
    await member.sign_in()
    for row in size_rows.member_reads(member):
        yield row
    async for row in size_rows.writes(client, about):
        yield row
    await _add_projects(env["DATABASE_URL"])
    for row in size_rows.many_projects_reads(client):
        yield row
    worker = stack.enter_context(rig.worker(env, rig.REST))
    await worker.ready()
    async for row in size_rows.bulk(client, about):
        yield row


async def _latency(port: int, row: Row, items: int) -> Latency:
    turn = iter(row.requests)
    seen = await closed(port, lambda: next(turn, None), connections=1, seconds=_MOST_SECONDS)
    counted = seen.latencies[row.warm_up :] or seen.latencies
    ordered = sorted(counted)
    return Latency(
        name=row.name,
        items=items,
        samples=len(ordered),
        p50=statistics.median(ordered) * 1e3,
        p95=ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1e3,
        budget=WRITE_MS if row.writes else read_budget(items),
        failed=seen.count - seen.good,
    )


async def _add_projects(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_PROJECTS, demo.EMAIL)
        await connection.execute("ANALYZE projects")
    finally:
        await connection.close()


def latency_lines(fills: Sequence[Filled], latencies: Sequence[Latency]) -> list[str]:
    """Every row beside its budget; what is over it is marked."""
    lines = [
        f"filled {one.items:,} items in {one.seconds:.0f} s ({one.items / one.seconds:,.0f}/s)"
        for one in fills
    ]
    lines += ["", f"{'request':<44}{'items':>10}{'p50 ms':>9}{'p95 ms':>9}{'budget':>8}{'n':>5}"]
    for one in latencies:
        mark = "  over budget" if one.over else ""
        failed = f"  {one.failed} failed" if one.failed else ""
        lines.append(
            f"{one.name:<44}{one.items:>10,}{one.p50:9.1f}{one.p95:9.1f}{one.budget:8.0f}"
            f"{one.samples:5}{mark}{failed}"
        )
    over = sum(one.over for one in latencies)
    return [*lines, "", f"{over} of {len(latencies)} rows are over their budget."]


_MEMBER_EMAIL = "hugo@rytask.example"

# Somebody who is no admin, and signs in with the founder's password.
_MEMBER = """
UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE email = $1)
 WHERE email = $2
"""

# Three of ten notices are unread.
_INBOX = """
INSERT INTO notifications (id, org_id, recipient_id, type, entity_type, entity_id, project_id,
    payload, dedupe_key, read_at, created_at)
SELECT gen_random_uuid(), w.org_id, u.id, 'STATUS_CHANGED', 'work_item', w.id, w.project_id,
       jsonb_build_object('key', w.key, 'title', w.title, 'projectId', w.project_id,
                          'projectName', p.name),
       'bench:' || w.id, CASE WHEN w.number % 10 > 2 THEN w.updated_at END, w.updated_at
  FROM work_items w JOIN projects p ON p.id = w.project_id
  JOIN users u ON u.org_id = w.org_id AND u.email = $1
 ORDER BY w.updated_at DESC LIMIT $2
"""

_PROJECTS = """
WITH project AS (
  INSERT INTO projects (id, org_id, workspace_id, name, key_prefix)
  SELECT gen_random_uuid(), m.org_id, m.workspace_id, 'Project ' || n, 'Q' || n
    FROM generate_series(1, 1000) n, memberships m JOIN users u ON u.id = m.user_id
   WHERE u.email = $1
  RETURNING id, org_id
), counter AS (
  INSERT INTO project_counters (org_id, project_id) SELECT org_id, id FROM project
)
INSERT INTO statuses (id, org_id, project_id, name, category, position)
SELECT gen_random_uuid(), org_id, id, 'To Do', 'UNSTARTED', 0 FROM project
"""

"""What is measured and what it stands on: processes, the cores they run on, and the ground."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import aiohttp
import asyncpg
from tests.fake_slack import FakeSlack

from rytask.platform.migrate import migrate

CORES = set(os.sched_getaffinity(0))
SERVER, REST = {min(CORES)}, {max(CORES)}
"""What is measured has one core to itself; the load, PostgreSQL and Redis share the other."""

EMAIL, PASSWORD = "olive@example.com", "correct horse battery"
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 120.0


@dataclass(frozen=True)
class Memory:
    """In MiB. `pss` counts a page that others have too by our part of it."""

    rss: float
    pss: float


@dataclass(frozen=True)
class Process:
    """A program that is measured."""

    pid: int
    port: int

    @property
    def cpu(self) -> float:
        """Seconds of CPU that all its threads have used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory(self) -> Memory:
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]
        mib = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        return Memory(mib["Rss"], mib["Pss"])

    async def ready(self, path: str = "/readyz") -> None:
        """Wait until it answers 200."""
        end = time.monotonic() + _PATIENCE
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as http:
            while time.monotonic() < end:
                with suppress(aiohttp.ClientError):
                    async with http.get(path) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.005)
        raise TimeoutError(f"{path} of process {self.pid} did not become 200")


@dataclass(frozen=True)
class PostgresServer:
    """The processes of a PostgreSQL server on this machine; without any when it is on another."""

    postmaster: int | None

    @classmethod
    async def of(cls, database_url: str) -> "PostgresServer":
        """Find the server of a database by one of its backends."""
        connection = await asyncpg.connect(database_url)
        try:
            backend = Path(f"/proc/{connection.get_server_pid()}")
            with suppress(OSError):
                if (backend / "cmdline").read_text().startswith("postgres:"):
                    return cls(_parent(backend))
        finally:
            await connection.close()
        return cls(None)

    @property
    def cpu(self) -> Mapping[int, float]:
        """Seconds of CPU that each process has used, by its id."""
        used: dict[int, float] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it may end while we look
                if self.postmaster in (int(folder.name), _parent(folder)):
                    used[int(folder.name)] = (
                        int((folder / "schedstat").read_text().split()[0]) / 1e9
                    )
        return used

    def cpu_since(self, before: Mapping[int, float]) -> float | None:
        """Seconds of CPU that all processes have used since then; what has ended is not counted."""
        if self.postmaster is None:
            return None
        return sum(used - before.get(pid, 0.0) for pid, used in self.cpu.items())


def _parent(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(") ")[2].split()[1])


@contextmanager
def process(
    *command: str, env: Mapping[str, str], port: int, cores: set[int] = SERVER
) -> Iterator[Process]:
    """Run `python -m command…` on these cores for the length of the block."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # what is started inherits it, with all its threads
    program = subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, **env})
    os.sched_setaffinity(0, ours)
    try:
        yield Process(program.pid, port)
    finally:
        program.terminate()
        try:
            program.wait(15)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


@contextmanager
def api(env: Mapping[str, str]) -> Iterator[Process]:
    """Run an API process."""
    port = free_port()
    with process("rytask", "serve", env={**env, "PORT": str(port)}, port=port) as started:
        yield started


@contextmanager
def worker(env: Mapping[str, str], cores: set[int] = SERVER) -> Iterator[Process]:
    """Run a worker; its port is the one of its probes."""
    port = free_port()
    env = {**env, "WORKER": "1", "METRICS_PORT": str(port)}
    with process("rytask", "serve", env=env, port=port, cores=cores) as started:
        yield started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(database_url: str, redis_url: str, slack: FakeSlack) -> dict[str, str]:
    """The settings of every process that is measured: no limit is to be in the way."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET": "the bench: Kf83-hd92-Lm40-qwErTy-and-more",
        "LOG_LEVEL": "WARNING",
        "THROTTLE_MAX_REQUESTS": "1000000",
        "AUTH_THROTTLE_MAX_REQUESTS": "1000000",
        "SLACK_CLIENT_ID": "1.2",
        "SLACK_CLIENT_SECRET": "slack client secret of the bench",
        "SLACK_SIGNING_SECRET": SLACK_SECRET,
        "SLACK_TOKEN_ENC_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "SLACK_API_BASE_URL": slack.api_base_url,
    }


@asynccontextmanager
async def database(server_url: str, name: str) -> AsyncIterator[str]:
    """A database of our own with the schema, gone after the block."""
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(drop)
        await connection.execute(f"CREATE DATABASE {name}")
        await migrate(url)
        yield url
    finally:
        await connection.execute(drop)
        await connection.close()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One organization with one project full of items, and the keys to it."""

    database_url: str
    items: int
    org_id: UUID
    user_id: UUID
    project_id: UUID
    label_id: UUID
    item_ids: list[UUID]
    last_seq: int
    pat: str

    async def sign_in(self, port: int) -> str:
        """A fresh access token."""
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            credentials = {"email": EMAIL, "password": PASSWORD}
            return (await _json(http, "POST", "/auth/login", credentials))["accessToken"]

    async def delete_new_rows(self) -> None:
        """Take away what the load has made, so that the table stays as large as it was."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("DELETE FROM jobs")
            await connection.execute("DELETE FROM idempotency_keys")
            await connection.execute("DELETE FROM slack_captures")
            await connection.execute("DELETE FROM notifications")
            await connection.execute("DELETE FROM events WHERE seq > $1", self.last_seq)
            await connection.execute("DELETE FROM work_items WHERE number > $1", self.items)
            await connection.execute("VACUUM (ANALYZE)")
        finally:
            await connection.close()


async def prepare(database_url: str, port: int, slack: FakeSlack, items: int) -> Dataset:
    """Set an empty installation up through its API, connect Slack, and fill it with SQL."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        owner = {
            "organizationName": "Bench",
            "ownerName": "Olive Owner",
            "ownerEmail": EMAIL,
            "ownerPassword": PASSWORD,
        }
        signed_in = await _json(http, "POST", "/setup", owner)
        http.headers["authorization"] = f"Bearer {signed_in['accessToken']}"
        project = (await _json(http, "GET", "/projects"))["data"][0]["id"]
        label = (await _json(http, "POST", "/labels", {"name": "bug"}))["data"]["id"]
        for name in ("infra", "design"):
            await _json(http, "POST", "/labels", {"name": name})
        pat = (await _json(http, "POST", "/api-tokens", {"name": "bench"}))["secret"]
        await _connect(http, slack)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_FILL.format(project=project, items=items))
        await connection.execute("VACUUM (ANALYZE)")
        org_id, user_id = await connection.fetchrow("SELECT org_id, user_id FROM memberships")
        last_seq = await connection.fetchval("SELECT last_value FROM events_seq")
        item_ids = await connection.fetch(
            "SELECT id FROM work_items WHERE number % $1 = 0", max(items // 1000, 1)
        )
    finally:
        await connection.close()
    return Dataset(
        database_url=database_url,
        items=items,
        org_id=org_id,
        user_id=user_id,
        project_id=UUID(project),
        label_id=UUID(label),
        item_ids=[row["id"] for row in item_ids],
        last_seq=last_seq,
        pat=pat,
    )


async def _connect(http: aiohttp.ClientSession, slack: FakeSlack) -> None:
    """Install the app as an admin does, and come back from Slack."""
    install = await _json(http, "GET", "/integrations/slack/install")
    state = parse_qs(urlsplit(install["url"]).query)["state"][0]
    slack.codes.add("bench")
    async with http.get(
        "/integrations/slack/oauth/callback",
        params={"code": "bench", "state": state},
        allow_redirects=False,
    ) as answer:
        assert answer.headers["location"].endswith("?connected=1"), answer.headers["location"]


async def _json(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with http.request(method, f"/api/v1{path}", json=body) as answer:
        assert answer.status < 300, f"{method} {path}: {answer.status} {await answer.text()}"
        return await answer.json()


# Twenty people, statuses in turn, labels on every third item, a description on each.
_FILL = """
INSERT INTO users (id, org_id, email, name)
SELECT gen_random_uuid(), p.org_id, 'person' || n || '@example.com', 'Person ' || n
  FROM projects p, generate_series(1, 20) n WHERE p.id = '{project}';

INSERT INTO memberships (org_id, user_id, role, workspace_id)
SELECT u.org_id, u.id, 'MEMBER', w.id FROM users u JOIN workspaces w USING (org_id)
 WHERE u.password_hash IS NULL;

INSERT INTO project_members (org_id, project_id, user_id, role)
SELECT u.org_id, '{project}', u.id, 'MEMBER' FROM users u WHERE u.password_hash IS NULL;

INSERT INTO work_items (id, org_id, project_id, number, key, title, description, status_id,
    priority, source, assignee_id, reporter_id, label_ids, estimate_value, due_date, position,
    completed_at, closed_at, created_at, updated_at)
SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || left(md5(n::text), 12))::uuid,
    p.org_id, p.id, n, p.key_prefix || '-' || n,
    'Fix login on ' || left(md5(n::text), 8) || ' when the clock is wrong',
    repeat('It fails on ' || left(md5((n + 1)::text), 16) || ' after an hour. ', 5),
    s.ids[n % s.size + 1], (enum_range(NULL::priority))[n % 5 + 1], 'API',
    CASE WHEN n % 4 > 0 THEN u.ids[n % u.size + 1] END, u.ids[1],
    CASE WHEN n % 3 = 0 THEN ARRAY[l.ids[n % l.size + 1]] ELSE '{{}}' END,
    CASE WHEN n % 2 = 0 THEN n % 16 END, CASE WHEN n % 5 = 0 THEN current_date + n % 60 END,
    n * 1024.0,
    CASE WHEN s.done[n % s.size + 1] THEN t.at END, CASE WHEN s.done[n % s.size + 1] THEN t.at END,
    t.at, t.at
  FROM generate_series(1, {items}) n
 CROSS JOIN projects p
 CROSS JOIN (SELECT array_agg(id ORDER BY position) AS ids, count(*)::int AS size,
                    array_agg(category = 'COMPLETED' ORDER BY position) AS done FROM statuses) s
 CROSS JOIN (SELECT array_agg(id ORDER BY id) AS ids, count(*)::int AS size FROM users) u
 CROSS JOIN (SELECT array_agg(id) AS ids, count(*)::int AS size FROM labels) l
 CROSS JOIN LATERAL (SELECT now() - make_interval(mins => {items} - n) AS at) t;

INSERT INTO work_item_watchers (org_id, item_id, user_id, reason)
SELECT org_id, id, reporter_id, 'AUTHOR' FROM work_items;

INSERT INTO events (org_id, seq, kind, project_id, subject_id, actor_id, source, payload, at)
SELECT org_id, nextval('events_seq'), 'work_item.created', project_id, id, reporter_id, source,
       jsonb_build_object('key', key, 'title', title), created_at
  FROM work_items ORDER BY number;

UPDATE project_counters SET last_number = {items}, last_position = {items} * 1024.0;
"""

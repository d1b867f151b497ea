"""PostgreSQL and Valkey, made ready and running."""

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import Signals

from rytask.platform.engines.binaries import find
from rytask.platform.engines.data_dir import DataDir
from rytask.platform.engines.supervisor import Program, answer, kept_running, run_once
from rytask.platform.errors import CannotRun

_OLDEST_POSTGRES = 15
_MAX_CONNECTIONS = 300  # a dozen processes; as in compose.yaml
_GRACE = 30.0

# Nothing of ours: an engine needs no secret of the application.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


# What they say at each start and at each end, and a warning about large machines.
_POSTGRES_CHATTER = re.compile(
    rb"^LOG:  (starting PostgreSQL|listening on|database system was shut down at|"
    rb"database system is ready|aborting any active|shutting down)"
)
_VALKEY_CHATTER = re.compile(
    rb"Reading config from stdin|Memory overcommit must be enabled|signal-handler|ready to exit"
)


@dataclass(frozen=True, kw_only=True)
class Engines:
    """Addresses of a running PostgreSQL and Valkey."""

    database_url: str
    redis_url: str


@asynccontextmanager
async def embedded(data: DataDir, *, connections: int = 0) -> AsyncIterator[Engines]:
    """Run both engines on this data directory; they are restarted when they die.

    PostgreSQL lets at least so many `connections` in.
    """
    postgres, database_url = await postgres_program(data, connections=connections)
    valkey, redis_url = valkey_program(data)
    async with kept_running([postgres, valkey], lock=data.lock, grace=_GRACE):
        data.keep({"DATABASE_URL": database_url, "REDIS_URL": redis_url})
        yield Engines(database_url=database_url, redis_url=redis_url)


async def postgres_program(data: DataDir, *, connections: int = 0) -> tuple[Program, str]:
    """Return PostgreSQL's program on this data directory, made if need be; and its URL."""
    user = data.user
    binary = find("postgres", user)
    major = _major(binary)
    password = data.password("POSTGRES_PASSWORD")
    port = data.port("POSTGRES_PORT")
    if not (data.path / "postgres").exists():
        await _make_cluster(data, binary, major, password)
    cluster = data.made("postgres", user)
    made_by = int((cluster / "PG_VERSION").read_text())
    if made_by != major:
        raise CannotRun(
            f"{cluster} was made by PostgreSQL {made_by} and this is PostgreSQL {major}: install "
            f"{made_by} again, or dump with {made_by} and restore into a new data directory"
        )
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": max(connections, _MAX_CONNECTIONS),
        "shared_buffers": "64MB",
        "jit": "off",
        "max_logical_replication_workers": 0,
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "",
        "log_checkpoints": "off",
        # Refused statements are answered to the client; the log keeps what concerns the server.
        "log_min_messages": "log",
    }
    if major >= 18:
        settings["io_method"] = "sync"  # three fewer idle processes
    program = Program(
        name="postgres",
        argv=[
            str(binary),
            "-D",
            data.here,
            *(f"--{key}={value}" for key, value in settings.items()),
        ],
        env=_ENVIRONMENT,
        user=user,
        cwd=cluster,
        stop=Signals.SIGINT,
        orphaned=Signals.SIGQUIT,
        before_start=partial(_forget_reused_pid, cluster),
        ready=partial(_postgres_is_ready, cluster),
        chatter=_POSTGRES_CHATTER,
    )
    return program, f"postgresql://rytask:{password}@127.0.0.1:{port}/rytask"


async def _make_cluster(data: DataDir, binary: Path, major: int, password: str) -> None:
    """Make it aside and move it into place, so that what is in place is whole."""
    if major < _OLDEST_POSTGRES:
        raise CannotRun(f"PostgreSQL {_OLDEST_POSTGRES} or newer is needed, and this is {major}")
    shutil.rmtree(data.path / "postgres.new", ignore_errors=True)
    draft = data.made("postgres.new", data.user)
    locale = ["--locale=C.UTF-8", "--encoding=UTF8"]
    if major >= 17:
        locale.append("--locale-provider=builtin")  # sorts the same after any system upgrade
    initdb = Program(
        name="initdb",
        argv=[
            str(binary.with_name("initdb")),
            "-D",
            data.here,
            "-U",
            "postgres",
            "-A",
            "reject",
            *locale,
        ],
        env=_ENVIRONMENT,
        user=data.user,
        cwd=draft,
    )
    await run_once(initdb, lock=data.lock, quiet=True)
    # Nobody can log in as the superuser: it has no password, and there is no socket.
    (draft / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    owner = f"CREATE ROLE rytask LOGIN CREATEDB PASSWORD '{password}'\n"
    database = "CREATE DATABASE rytask OWNER rytask\n"
    setup = Program(
        name="postgres",
        argv=[str(binary), "--single", "-D", data.here, "--exit_on_error=on", "postgres"],
        env=_ENVIRONMENT,
        user=data.user,
        cwd=draft,
        stdin=(owner + database).encode(),
    )
    await run_once(setup, lock=data.lock, quiet=True)
    draft.rename(data.path / "postgres")


def _major(binary: Path) -> int:
    asked = subprocess.run([binary, "--version"], capture_output=True, text=True)  # noqa: S603
    found = re.search(r"\(PostgreSQL\) (\d+)", asked.stdout)
    if not found:
        raise CannotRun(f"{binary} does not work: {asked.stderr.strip()}")
    return int(found[1])


def _forget_reused_pid(cluster: Path) -> None:
    """Remove a stale lock whose pid is another program's by now, which PostgreSQL itself obeys."""
    lock = cluster / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return
    except ValueError:
        lock.unlink()  # torn by a power cut
        return
    works_in = Path(f"/proc/{pid}/cwd")
    if not works_in.exists():
        return
    if works_in.samefile(cluster):
        raise CannotRun(f"another PostgreSQL (process {pid}) runs on {cluster}: stop it first")
    lock.unlink()


async def _postgres_is_ready(cluster: Path, pid: int) -> bool:
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(pid)] and lines[7:8] == ["ready   "]


def valkey_program(data: DataDir) -> tuple[Program, str]:
    """Return Valkey's program on this data directory, and its URL."""
    user = data.user
    password = data.password("VALKEY_PASSWORD")
    port = data.port("VALKEY_PORT")
    settings = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f"dir {data.here}",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "loglevel warning",
    ]
    program = Program(
        name="valkey",
        argv=[str(find("valkey-server", user)), "-"],
        env=_ENVIRONMENT,
        user=user,
        cwd=data.made("valkey", user),
        stdin="\n".join(settings).encode(),
        ready=partial(_valkey_is_ready, port, password),
        chatter=_VALKEY_CHATTER,
    )
    return program, f"redis://:{password}@127.0.0.1:{port}/0"


async def _valkey_is_ready(port: int, password: str, pid: int) -> bool:
    return b"+PONG" in await answer("127.0.0.1", port, f"AUTH {password}\r\nPING\r\n".encode())

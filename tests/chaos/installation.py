"""A whole installation under our hand: each part a process that is killed and started as told."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, LiteralString, Self
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from rytask.platform.engines.data_dir import DataDir, claimed
from rytask.platform.engines.servers import postgres_program, valkey_program
from rytask.platform.engines.supervisor import Program, launched
from rytask.platform.migrate import migrate
from tests.chaos.proxy import HOST, Line
from tests.fake_slack import FakeSlack
from tests.world import environ

OWNER = "founder@rytask.local"
PASSWORD = "correct horse battery"
_TO_START, _TO_STOP = 60.0, 20.0


class Part:
    """One process. What it prints is appended to its log."""

    def __init__(self, program: Program, log: Path) -> None:
        self.name = program.name
        self._program = program
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process it is, if it runs."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        program = self._program
        program.before_start()
        with self._log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *launched(program.argv, program.user, program.orphaned),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                env=program.env,
                cwd=program.cwd,
                start_new_session=True,
            )
        if process.stdin is not None:
            process.stdin.write(program.stdin)
            process.stdin.close()
        async with asyncio.timeout(_TO_START):
            while not await program.ready(process.pid):
                if process.returncode is not None:
                    raise RuntimeError(f"{self.name} did not start; see {self._log}")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it as a crash of the machine would."""
        await self._end(signal.SIGKILL)

    async def stop(self, by: signal.Signals | None = None) -> int:
        """Ask it to end, and wait until it has; its exit code. After 20 s it is killed."""
        return await self._end(by or self._program.stop)

    async def _end(self, by: signal.Signals) -> int:
        if self._process is None:
            return 0
        with suppress(ProcessLookupError):
            self._process.send_signal(by)
        try:
            async with asyncio.timeout(_TO_STOP):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What an installation is made of."""

    apis: int = 2
    workers: int = 2
    redis_through_line: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


_TWO_OF_EACH = Shape()


@dataclass
class Installation:
    """Engines, API processes, workers and a stand-in for Slack, with an owner signed in."""

    folder: Path
    environ: dict[str, str]
    postgres: Part
    valkey: Part
    redis_line: Line
    apis: dict[str, Part]
    """By their URL."""
    workers: list[Part]
    slack: FakeSlack
    http: aiohttp.ClientSession
    token: str = ""
    project_id: str = ""

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path | None = None, shape: Shape = _TWO_OF_EACH
    ) -> AsyncIterator[Self]:
        """Run one for the length of the block; logs stay behind in a `folder` that is given."""
        async with AsyncExitStack() as stack:
            if folder is None:
                folder = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix="rytask-chaos-"))
                )
            data = stack.enter_context(claimed(folder / "data"))
            yield await cls._started(stack, folder, data, shape)

    @classmethod
    async def _started(
        cls, stack: AsyncExitStack, folder: Path, data: DataDir, shape: Shape
    ) -> Self:
        def part(program: Program) -> Part:
            made = Part(program, folder / f"{program.name}.log")
            stack.push_async_callback(made.stop)
            return made

        postgres_, database_url = await postgres_program(data)
        valkey_, redis_url = valkey_program(data)
        postgres, valkey = part(postgres_), part(valkey_)
        await asyncio.gather(postgres.start(), valkey.start())
        await migrate(database_url)

        line = Line(urlsplit(redis_url).port or 0)
        if shape.redis_through_line:
            await stack.enter_async_context(line.running())
            redis_url = redis_url.replace(f":{line.upstream}/", f":{line.port}/")
        urls = [f"http://{HOST}:{data.port(f'API_{number}')}" for number in range(shape.apis)]
        slack = FakeSlack()
        slack.url = f"http://{HOST}:{data.port('SLACK')}"
        env = {
            **os.environ,
            **environ(database_url, redis_url, 9),
            "APP_BASE_URL": urls[0],
            "SLACK_API_BASE_URL": slack.api_base_url,
            **shape.settings,
        }
        probes = [str(data.port(f"PROBES_{number}")) for number in range(shape.workers)]
        apis = {
            url: part(_served(f"api-{number}", env, PORT=_port(url)))
            for number, url in enumerate(urls)
        }
        workers = [
            part(_served(f"worker-{number}", env, WORKER="1", METRICS_PORT=port))
            for number, port in enumerate(probes)
        ]
        served = [part(_stand_in(_port(slack.url))), *apis.values(), *workers]
        await asyncio.gather(*(one.start() for one in served))
        http = await stack.enter_async_context(_client())
        made = cls(folder, env, postgres, valkey, line, apis, workers, slack, http)
        await made._set_up()
        return made

    @property
    def urls(self) -> list[str]:
        return list(self.apis)

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def _set_up(self) -> None:
        founder = {
            "organizationName": "Chaos",
            "ownerName": "Founder",
            "ownerEmail": OWNER,
            "ownerPassword": PASSWORD,
        }
        self.token = (await self.post("/api/v1/setup", founder))["accessToken"]
        projects = await self.get("/api/v1/projects")
        self.project_id = projects["data"][0]["id"]

    async def connect_slack(self) -> None:
        """Install the Slack app as the owner would, in a browser."""
        install = await self.get("/api/v1/integrations/slack/install")
        async with self.http.get(install["url"], allow_redirects=False) as consent:
            back = consent.headers["location"]
        async with self.http.get(back, allow_redirects=False) as connected:
            if "connected=1" not in connected.headers["location"]:
                raise RuntimeError(f"Slack is not connected: {connected.headers['location']}")

    async def get(self, path: str, url: str = "") -> Any:
        """The answer of the first API process (or of another) to the owner."""
        async with self.http.get((url or self.urls[0]) + path, headers=self.bearer) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def post(self, path: str, body: object, url: str = "", **headers: str) -> Any:
        """The same, of a POST."""
        async with self.http.post(
            (url or self.urls[0]) + path, json=body, headers={**self.bearer, **headers}
        ) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            return await answer.json()

    async def rows(self, sql: LiteralString, *args: object) -> list[asyncpg.Record]:
        """Ask the database itself."""
        connection = await asyncpg.connect(self.environ["DATABASE_URL"], timeout=10)
        try:
            return await connection.fetch(sql, *args)
        finally:
            await connection.close()

    async def value(self, sql: LiteralString, *args: object) -> Any:
        return (await self.rows(sql, *args))[0][0]

    async def restart_postgres(self) -> None:
        """Stop PostgreSQL at once, as its `immediate` mode does, and start it again."""
        await self.postgres.stop(signal.SIGQUIT)
        await self.postgres.start()

    async def kill_valkey(self, *, wipe: bool = False) -> None:
        """Kill it and start it again, with or without what it kept."""
        await self.valkey.kill()
        if wipe:
            for kept in (self.folder / "data" / "valkey").iterdir():
                shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
        await self.valkey.start()

    async def misbehave(self, **faults: float) -> None:
        """Let Slack fail so often, in shares of 1."""
        async with self.http.post(f"{self.slack.url}/_faults", json=faults) as answer:
            answer.raise_for_status()

    async def seen_in_slack(self) -> list[dict[str, Any]]:
        """Every message that a person in Slack sees."""
        async with self.http.get(f"{self.slack.url}/_seen") as answer:
            return (await answer.json())["messages"]


async def until(holds: Callable[[], Awaitable[bool]], *, within: float, every: float = 0.1) -> bool:
    """Wait until it holds; False when it does not within so many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not await holds():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(every)
    return True


def _client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=20),
    )


def _port(url: str) -> str:
    return str(urlsplit(url).port)


def _served(name: str, env: dict[str, str], **own: str) -> Program:
    port = own.get("METRICS_PORT") or own["PORT"]
    return Program(
        name=name,
        argv=[sys.executable, "-m", "rytask", "serve"],
        env={**env, **own},
        ready=partial(_answers, f"http://{HOST}:{port}/healthz"),
        orphaned=signal.SIGKILL,
    )


def _stand_in(port: str) -> Program:
    return Program(
        name="slack",
        argv=[sys.executable, "-m", "tests.fake_slack", "--port", port],
        env=dict(os.environ),
        ready=partial(_answers, f"http://{HOST}:{port}/_seen"),
        orphaned=signal.SIGKILL,
    )


async def _answers(url: str, pid: int) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False

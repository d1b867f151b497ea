"""The whole of RyTask on one machine: engines, migrations, API processes and workers."""

import asyncio
import base64
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from rytask.platform.connections import max_connections
from rytask.platform.engines.data_dir import DataDir, claimed, is_free
from rytask.platform.engines.servers import Engines, embedded
from rytask.platform.engines.supervisor import (
    Program,
    answer,
    kept_running,
    launched,
    run_once,
    run_until_signalled,
)
from rytask.platform.errors import CannotRun

_RYTASK = (sys.executable, "-m", "rytask")
_GRACE = 10.0
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - listening there is what is warned of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The processes of `up`. `command` is how this program is called.

    Without a `host`, that of the environment counts, else this machine alone is served.
    """

    port: int
    data_dir: Path
    api: int
    workers: int
    demo: bool
    environ: Mapping[str, str]
    command: Sequence[str] = _RYTASK
    host: str | None = None

    @property
    def listens_on(self) -> str:
        return self.host or self.environ.get("HOST") or "127.0.0.1"


def run_engines(data_dir: Path, say: Callable[[str], None]) -> None:
    """Run the engines until a signal comes, and print their addresses as two settings."""

    async def serve(data: DataDir) -> None:
        async with embedded(data) as engines:
            say(f"DATABASE_URL={engines.database_url}\nREDIS_URL={engines.redis_url}")
            await asyncio.Event().wait()

    with claimed(data_dir) as data:
        run_until_signalled(serve(data))


@contextmanager
def running(data_dir: Path) -> Iterator[Engines]:
    """Have engines in a process of their own. They end with the block, or with this thread."""
    command = launched([*_RYTASK, "engines", "--data-dir", str(data_dir)])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:  # noqa: S603
        try:
            lines = islice(supervisor.stdout or (), 2)
            printed = dict(line.strip().split("=", 1) for line in lines)
            if len(printed) < 2:
                raise CannotRun("the engines did not start; their own words are above")
            yield Engines(database_url=printed["DATABASE_URL"], redis_url=printed["REDIS_URL"])
        finally:
            supervisor.terminate()


def run_up(plan: Plan, say: Callable[[str], None]) -> None:
    """Run everything until a signal comes, and say when it is ready.

    A PostgreSQL and a Redis named in the environment are used instead of our own.
    """
    given = [name for name in ("DATABASE_URL", "REDIS_URL") if _has(plan.environ, name)]
    if len(given) == 1:
        raise CannotRun(
            f"only {given[0]} is set: set both DATABASE_URL and REDIS_URL to use servers of your "
            "own, or neither to have them run here"
        )
    with claimed(plan.data_dir) as data:
        if not is_free(plan.listens_on, plan.port):
            raise CannotRun(
                f"port {plan.port} is taken by another program: stop that one, "
                "or choose another with --port"
            )
        run_until_signalled(_up(plan, data, say, external=bool(given)))


async def _up(plan: Plan, data: DataDir, say: Callable[[str], None], *, external: bool) -> None:
    async with _urls(plan, data, external=external) as urls:
        env = {
            "LOG_MAIL_LINKS": "1",
            "APP_BASE_URL": f"http://localhost:{plan.port}",
            "LOG_FORMAT": "TEXT" if sys.stderr.isatty() else "JSON",
            **plan.environ,
            **_secrets(data, plan.environ),
            **urls,
            "HOST": plan.listens_on,
            "PORT": str(plan.port),
        }
        env.pop("WORKER", None)
        migrate = Program(name="migrate", argv=[*plan.command, "migrate"], env=env)
        await run_once(migrate, lock=data.lock)
        demo = Program(name="demo", argv=[*plan.command, "demo"], env=env)
        serve = [*plan.command, "serve"]
        ready = partial(_answers, plan.listens_on, plan.port)
        programs = [
            *(
                Program(name=f"api.{number}", argv=serve, env=env, ready=ready)
                for number in range(1, plan.api + 1)
            ),
            *(
                Program(name=f"worker.{number}", argv=serve, env=env | {"WORKER": "1"})
                for number in range(1, plan.workers + 1)
            ),
        ]
        # The demo loads while the others start.
        loading = asyncio.create_task(_loaded(demo, data, wanted=plan.demo))
        try:
            async with kept_running(programs, lock=data.lock, grace=_GRACE):
                invitation = await loading
                ready_at = f"RyTask is ready: http://localhost:{plan.port}"
                say("\n".join(filter(None, (ready_at, invitation.strip(), _exposure(plan)))))
                await asyncio.Event().wait()
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


async def _loaded(demo: Program, data: DataDir, *, wanted: bool) -> str:
    """Load the demo, if it is wanted, and return its output."""
    return await run_once(demo, lock=data.lock, quiet=True) if wanted else ""


@asynccontextmanager
async def _urls(plan: Plan, data: DataDir, *, external: bool) -> AsyncIterator[dict[str, str]]:
    if external:
        yield {}
    else:
        async with embedded(data, connections=_connections(plan)) as engines:
            yield {"DATABASE_URL": engines.database_url, "REDIS_URL": engines.redis_url}


def _connections(plan: Plan) -> int:
    """Add up connections: the processes', and some for commands and people."""
    size = plan.environ.get("DATABASE_POOL_SIZE", "")
    each = max_connections(int(size)) if size.isdecimal() else max_connections()
    return (plan.api + plan.workers) * each + 20


def _secrets(data: DataDir, environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets the environment does not bring, made once for this data directory."""
    makers = {
        "JWT_SECRET": lambda: secrets.token_urlsafe(48),
        "SLACK_TOKEN_ENC_KEY": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    return {name: data.kept(name, make) for name, make in makers.items() if not _has(environ, name)}


def _has(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name) or environ.get(f"{name}_FILE"))


def _exposure(plan: Plan) -> str:
    """A sentence about who can reach it; nothing where only this machine can."""
    host = plan.listens_on
    if host.startswith("127.") or host in ("::1", "localhost"):
        return ""
    where = "every address of this machine" if host in _EVERYWHERE else host
    warning = (
        " The demo's password is published: change it before anybody else finds this."
        if plan.demo
        else ""
    )
    return f"It listens on {where}.{warning}"


async def _answers(host: str, port: int, pid: int) -> bool:
    request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return (await answer(_reachable(host), port, request)).startswith(
        (b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")
    )


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in _EVERYWHERE else host

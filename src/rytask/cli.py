"""The command line: one function per command."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rytask.platform import outbox, schedule
from rytask.platform.db import Database
from rytask.platform.engines import Plan, kept, run_engines, run_up
from rytask.platform.settings import Settings

app = App(name="rytask", help="RyTask: an issue tracker your team hosts itself.")

Port = Annotated[int, Parameter(env_var="PORT", validator=Number(gte=1, lte=65535))]
AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1, lte=64))]
NoneOrMore = Annotated[int, Parameter(validator=Number(gte=0, lte=64))]
DataDir = Annotated[Path, Parameter(env_var="RYTASK_DATA_DIR")]

_tell = partial(print, flush=True)
jobs = App(name="jobs", help="Look at the jobs of the workers, and run them again.")
app.command(jobs)


@app.command
def up(
    *,
    port: Port = 3001,
    data_dir: DataDir = Path(".rytask"),
    api: AtLeastOne = 1,
    workers: NoneOrMore = 1,
    demo: bool = False,
) -> None:
    """Run all of RyTask on this machine, with a PostgreSQL and a Valkey of its own.

    Needs no configuration. With DATABASE_URL and REDIS_URL set, those are used instead.

    Parameters
    ----------
    port
        Where the web server listens.
    data_dir
        Where the data and the secrets are kept.
    api
        How many web server processes share the port.
    workers
        How many processes do the work in the background.
    demo
        Load the demo data first.
    """
    plan = Plan(
        port=port, data_dir=data_dir, api=api, workers=workers, demo=demo, environ=os.environ
    )
    run_up(plan, _tell)


@app.command
def engines(*, data_dir: DataDir = Path(".rytask")) -> None:
    """Run only the PostgreSQL and the Valkey, and print where they are.

    Parameters
    ----------
    data_dir
        Where the data and the passwords are kept.
    """
    run_engines(data_dir, _tell)


@app.command
def serve() -> None:
    """Run the HTTP server, or with WORKER=1 the jobs. Configured by the environment."""
    from rytask.serve import serve

    serve(Settings.read(os.environ), dict(os.environ))


@app.command
def migrate() -> None:
    """Bring the database's schema up to date. Run it before a new version serves."""
    from rytask.platform.migrate import migrate

    settings = Settings.read(os.environ, serving=False)
    applied = asyncio.run(migrate(settings.database_url))
    _tell(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")


@app.command
def demo(*, size: Annotated[int, Parameter(validator=Number(gte=0, lte=1_000_000))] = 0) -> None:
    """Load the demo: a project with three items, and as many more as --size asks for.

    Run again, it adds what is missing and nothing twice.

    Parameters
    ----------
    size
        How many items there are to be in all.
    """
    from rytask import app
    from rytask.demo import EMAIL, PASSWORD, load

    async def run() -> None:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Items", total=max(size, 3))
            async with app.bare(Settings.read(_environ(), serving=False)) as (work, passwords):
                await load(work, passwords, size=size, advance=lambda n: progress.advance(task, n))
        _tell(f"The demo is there: sign in as {EMAIL} with {PASSWORD}.")

    asyncio.run(run())


@app.command
def openapi() -> None:
    """Print the OpenAPI document of every route."""
    from rytask.app import document

    sys.stdout.buffer.write(
        msgspec.json.format(msgspec.json.encode(document(version("rytask"))), indent=2) + b"\n"
    )


@jobs.command(name="list")
def list_jobs(
    *,
    state: Literal["waiting", "queued", "running", "dead"] | None = None,
    name: str | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 50,
) -> None:
    """List jobs that are not done, the newest first, and count them.

    Parameters
    ----------
    state
        Only these: waiting (for their time), queued, running, or dead (failed for good).
    name
        Only jobs of this name, such as slack.capture.
    limit
        At most so many.
    """

    async def run() -> None:
        async with _database() as database:
            found = await outbox.jobs(database.reader, state=state, name=name, limit=limit)
            counts = await outbox.counts(database.reader)
        table = Table("id", "name", "state", "attempts", "due", "last error", box=None)
        for job in found:
            table.add_row(
                str(job.id),
                job.name,
                job.state,
                f"{job.attempts} of {job.max_attempts}",
                f"{job.due_at:%Y-%m-%d %H:%M:%S}",
                (job.last_error or "")[:80],
            )
        if found:
            Console().print(table)
        _tell(", ".join(f"{count.jobs} {count.state}" for count in counts) or "No jobs wait.")

    asyncio.run(run())


@jobs.command
def show(job_id: int) -> None:
    """Show one job, whole."""

    async def run() -> None:
        async with _database() as database:
            found = await outbox.job(database.reader, job_id)
        _tell(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())

    asyncio.run(run())


@jobs.command
def retry(job_id: int | None = None, *, dead: bool = False, name: str | None = None) -> None:
    """Run a job again now, or with --dead all that failed for good.

    Parameters
    ----------
    job_id
        The job.
    dead
        Every dead job instead.
    name
        With --dead: only jobs of this name.
    """
    if (job_id is None) != dead:
        raise SystemExit("rytask: name one job, or say --dead for all that failed for good")

    async def run() -> None:
        async with _database() as database, database.transaction() as tx:
            if job_id is None:
                count = await outbox.retry_dead(tx, name)
            else:
                count = int(await outbox.retry(tx, job_id))
        _tell(f"{count} will run now." if count else "Nothing to run again.")

    asyncio.run(run())


@jobs.command(name="run")
def run_job(name: str) -> None:
    """Run a scheduled job now, such as notifications.due_scan. A worker does it."""
    from rytask import app as _every_module  # noqa: F401 - registers the jobs

    async def run() -> None:
        async with _database() as database, database.transaction() as tx:
            await schedule.run_now(tx, name)
        _tell(f"{name} will run now.")

    asyncio.run(run())


def _environ() -> dict[str, str]:
    """The environment; what it leaves open, `rytask up` may have kept in its data directory."""
    return {**kept(Path(os.environ.get("RYTASK_DATA_DIR", ".rytask"))), **os.environ}


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    settings = Settings.read(_environ(), serving=False)
    database = await Database.connect(settings.database_url, size=2, name="rytask-cli")
    try:
        yield database
    finally:
        await database.close()

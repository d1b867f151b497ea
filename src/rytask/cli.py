"""The command line: one function per command, which imports what it needs: `--help` is quick."""

import gc
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import App, Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from rytask.platform.db import Database

app = App(name="rytask", help="RyTask: an issue tracker your team hosts itself.")

Port = Annotated[int, Parameter(env_var="PORT", validator=Number(gte=1, lte=65535))]
AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1, lte=64))]
NoneOrMore = Annotated[int, Parameter(validator=Number(gte=0, lte=64))]
DataDir = Annotated[Path, Parameter(env_var="RYTASK_DATA_DIR")]

T = TypeVar("T")

_print = partial(print, flush=True)
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
    host: str | None = None,
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
    host
        The address to listen on: 127.0.0.1, this machine alone, unless HOST or this says otherwise;
        0.0.0.0 is every address.
    """
    from rytask.platform.engines import Plan, run_up

    plan = Plan(
        port=port,
        data_dir=data_dir,
        api=api,
        workers=workers,
        demo=demo,
        environ=os.environ,
        host=host,
    )
    run_up(plan, _print)


@app.command
def engines(*, data_dir: DataDir = Path(".rytask")) -> None:
    """Run only the PostgreSQL and the Valkey, and print where they are.

    Parameters
    ----------
    data_dir
        Where the data and the passwords are kept.
    """
    from rytask.platform.engines import run_engines

    run_engines(data_dir, _print)


@app.command
def serve() -> None:
    """Run the HTTP server, or with WORKER=1 the jobs. Configured by the environment."""
    gc.disable()  # what is imported stays: looking for garbage in it would be a fifth of the start
    from rytask.platform.settings import Settings
    from rytask.serve import serve

    serve(Settings.read(os.environ), dict(os.environ))


@app.command
def migrate() -> None:
    """Bring the database's schema up to date. Run it before a new version serves."""
    from rytask.platform.migrate import migrate
    from rytask.platform.settings import Settings

    settings = Settings.read(os.environ, serving=False)
    applied = _run(migrate(settings.database_url))
    _print(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")


@app.command
def setup(*, organization: str, owner_name: str, owner_email: str) -> None:
    """Found an organization, after the first run too, and print its owner's first password.

    Parameters
    ----------
    organization
        Its name.
    owner_name
        Who owns it.
    owner_email
        What the owner signs in with.
    """
    from rytask import app, first_run
    from rytask.platform.settings import Settings

    async def run() -> None:
        async with app.cli_tools(Settings.read(_environ(), serving=False)) as (work, passwords):
            password = await first_run.set_up(
                work,
                passwords,
                organization=organization,
                owner_name=owner_name,
                owner_email=owner_email,
            )
        _print(f"Sign in as {owner_email} with {password}, and change it.")

    _run(run())


@app.command
def demo(*, size: Annotated[int, Parameter(validator=Number(gte=0, lte=1_000_000))] = 0) -> None:
    """Load the demo: a project with three items, and as many more as --size asks for.

    A larger demo has more projects, people and labels, too. Run again, it adds what is missing and
    nothing twice, so it may be interrupted; what you have deleted stays deleted.

    Parameters
    ----------
    size
        How many items there are to be in all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from rytask import app
    from rytask.demo import EMAIL, PASSWORD, load
    from rytask.platform.settings import Settings

    async def run() -> None:
        columns = ("Items", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Items", total=max(size, 3))
            async with app.cli_tools(Settings.read(_environ(), serving=False)) as (
                work,
                passwords,
            ):
                await load(work, passwords, size=size, advance=lambda n: progress.advance(task, n))
        _print(f"The demo is there: sign in as {EMAIL} with {PASSWORD}.")

    try:
        _run(run())
    except KeyboardInterrupt:
        raise SystemExit("rytask: interrupted; run it again to go on") from None


@app.command
def doctor(*, online: bool = False, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Say what is wrong with this installation, and what to do. Fails when something is.

    Parameters
    ----------
    online
        Ask Slack, too, whether it takes our tokens.
    json
        Print the findings for a program to read.
    """
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rytask.doctor import examine

    findings = _run(examine(_environ(), data_dir=_data_dir(), online=online))
    if json:
        _print(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        looks = {"ok": "green", "warn": "yellow", "problem": "bold red"}
        for finding in findings:
            said = f"{finding.found}\n→ {finding.advice}" if finding.advice else finding.found
            table.add_row(Text(finding.level, looks[finding.level]), finding.about, Text(said))
        Console().print(table)
    if any(finding.level == "problem" for finding in findings):
        raise SystemExit(1)


@app.command
def openapi() -> None:
    """Print the OpenAPI document of every route."""
    from importlib.metadata import version

    import msgspec

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
    from rich.console import Console
    from rich.table import Table

    from rytask.platform import outbox

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
        _print(", ".join(f"{count.jobs} {count.state}" for count in counts) or "No jobs wait.")

    _run(run())


@jobs.command
def show(job_id: int) -> None:
    """Show one job, whole."""
    import msgspec

    from rytask.platform import outbox

    async def run() -> None:
        async with _database() as database:
            found = await outbox.job(database.reader, job_id)
        _print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())

    _run(run())


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
    from rytask.platform import outbox

    async def run() -> None:
        async with _database() as database, database.transaction() as tx:
            if job_id is None:
                count = await outbox.retry_dead(tx, name)
            else:
                count = int(await outbox.retry(tx, job_id))
        _print(f"{count} will run now." if count else "Nothing to run again.")

    _run(run())


@jobs.command(name="run")
def run_job(name: str) -> None:
    """Run a scheduled job now, such as notifications.due_scan. A worker does it."""
    from rytask import app as _every_module  # noqa: F401 - registers the jobs
    from rytask.platform import schedule

    async def run() -> None:
        async with _database() as database, database.transaction() as tx:
            await schedule.run_now(tx, name)
        _print(f"{name} will run now.")

    _run(run())


def _run(work: "Coroutine[None, None, T]") -> "T":
    import asyncio

    return asyncio.run(work)


def _environ() -> dict[str, str]:
    """The environment; what it leaves open, `rytask up` may have kept in its data directory."""
    from rytask.platform.engines import saved_settings

    return {**saved_settings(_data_dir()), **os.environ}


def _data_dir() -> Path:
    return Path(os.environ.get("RYTASK_DATA_DIR", ".rytask"))


@asynccontextmanager
async def _database() -> AsyncIterator["Database"]:
    from rytask.platform.db import Database
    from rytask.platform.settings import Settings

    settings = Settings.read(_environ(), serving=False)
    database = await Database.connect(settings.database_url, size=2, name="rytask-cli")
    try:
        yield database
    finally:
        await database.close()

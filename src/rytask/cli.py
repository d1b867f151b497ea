"""The command line: one function per command."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from rytask.platform.engines import Plan, run_engines, run_up
from rytask.platform.settings import Settings

app = App(name="rytask", help="RyTask: an issue tracker your team hosts itself.")

Port = Annotated[int, Parameter(env_var="PORT", validator=Number(gte=1, lte=65535))]
Count = Annotated[int, Parameter(validator=Number(gte=0, lte=64))]
DataDir = Annotated[Path, Parameter(env_var="RYTASK_DATA_DIR")]

_tell = partial(print, flush=True)


@app.command
def up(
    *,
    port: Port = 3001,
    data_dir: DataDir = Path(".rytask"),
    api: Count = 1,
    workers: Count = 1,
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
def openapi() -> None:
    """Print the OpenAPI document of every route."""
    from rytask.app import document

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n")

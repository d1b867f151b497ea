"""`python -m tests.chaos`: run the proofs and print one table. Exits with 1 if a promise broke."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from rytask.platform.engines.supervisor import run_until_signalled
from tests.chaos import drain, keys, postgres_away, redis_away, storm, two
from tests.chaos.installation import Installation
from tests.chaos.report import Report

Size = Literal["short", "full"]
Name = Literal["captures", "redis", "postgres", "keys", "drain", "two"]
Proof = Callable[[Report, Size, Path | None], Awaitable[None]]

app = App(name="chaos", help="Prove what may die while RyTask keeps its promises.")


@app.default
def main(
    *,
    size: Size = "full",
    only: tuple[Name, ...] = (),
    captures: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    keep: Path | None = None,
) -> None:
    """Run every proof.

    Parameters
    ----------
    size
        short: a few minutes. full: the figures of the promises.
    only
        Only these proofs.
    captures
        Type so many commands in the storm instead.
    keep
        Keep the data and the logs of every part in this directory.
    """
    report = Report()
    done = False

    async def run() -> None:
        nonlocal done
        for name, proof in _proofs(captures).items():
            if not only or name in only:
                folder = keep and keep.absolute() / name
                if folder:
                    folder.mkdir(parents=True)
                try:
                    await proof(report, size, folder)
                except Exception as error:
                    report.console.print_exception()
                    report.check("the proof itself", repr(error), "comes to its end", False)
        done = True

    run_until_signalled(run())
    report.print()
    sys.exit(0 if done and not report.broken else 1)


def _proofs(captures: int) -> dict[Name, Proof]:
    def plan(size: Size) -> storm.Plan:
        if captures:
            return replace(storm.THOUSAND, captures=captures)
        return storm.SHORT if size == "short" else storm.FULL

    async def typed(report: Report, size: Size, folder: Path | None) -> None:
        async with Installation.running(folder) as installation:
            await storm.prove(report, installation, plan(size))

    async def redis(report: Report, size: Size, folder: Path | None) -> None:
        plan = redis_away.SHORT if size == "short" else redis_away.FULL
        async with Installation.running(folder, redis_away.SHAPE) as installation:
            await redis_away.prove(report, installation, plan)

    async def postgres(report: Report, size: Size, folder: Path | None) -> None:
        plan = postgres_away.SHORT if size == "short" else postgres_away.FULL
        async with Installation.running(folder) as installation:
            await postgres_away.prove(report, installation, plan)

    async def ten_times(report: Report, size: Size, folder: Path | None) -> None:
        async with Installation.running(folder, keys.SHAPE) as installation:
            await keys.prove(report, installation, 100 if size == "short" else 1000)

    async def drained(report: Report, size: Size, folder: Path | None) -> None:
        plan = drain.SHORT if size == "short" else drain.FULL
        async with Installation.running(folder) as installation:
            await drain.prove(report, installation, plan)

    async def two_of_each(report: Report, size: Size, folder: Path | None) -> None:
        plan = two.SHORT if size == "short" else two.FULL
        async with Installation.running(folder, two.SHAPE) as installation:
            await two.prove(report, installation, plan)

    return {
        "captures": typed,
        "redis": redis,
        "postgres": postgres,
        "keys": ten_times,
        "drain": drained,
        "two": two_of_each,
    }


if __name__ == "__main__":
    app()

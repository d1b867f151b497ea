"""`python -m tests.chaos`: run the proofs and print one table. Exits with 1 if a promise broke."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from rytask.platform.engines.supervisor import run_until_signalled
from tests.chaos import storm
from tests.chaos.installation import Installation
from tests.chaos.report import Report

Size = Literal["short", "full"]
Name = Literal["captures"]
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
                await proof(report, size, folder)
        done = True

    run_until_signalled(run())
    report.print()
    sys.exit(0 if done and not report.broken else 1)


def _proofs(captures: int) -> dict[Name, Proof]:
    async def typed(report: Report, size: Size, folder: Path | None) -> None:
        plan = storm.SHORT if size == "short" else storm.FULL
        if captures:
            plan = replace(storm.THOUSAND if captures > 500 else plan, captures=captures)
        async with Installation.running(folder) as installation:
            await storm.prove(report, installation, plan)

    return {"captures": typed}


if __name__ == "__main__":
    app()

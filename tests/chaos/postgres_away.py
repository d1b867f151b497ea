"""PostgreSQL stops, and requests are told to come again; when it is back, so is everything."""

import asyncio
import signal
import time
from dataclasses import dataclass, field

from tests.chaos.calls import Answer, ask, create
from tests.chaos.captures import Sender, next_confirmed, outcome, quiet
from tests.chaos.installation import Installation
from tests.chaos.report import Report

_STOPS = {"stopped": signal.SIGINT, "stopped at once": signal.SIGQUIT, "killed": signal.SIGKILL}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How PostgreSQL ends, and for how many seconds it is away."""

    stops: tuple[str, ...]
    seconds: float


SHORT = Plan(stops=("stopped at once",), seconds=3.0)
FULL = Plan(stops=("stopped", "stopped at once", "killed"), seconds=8.0)


@dataclass
class _Asked:
    health: list[Answer] = field(default_factory=list)
    readiness: list[Answer] = field(default_factory=list)
    requests: list[Answer] = field(default_factory=list)


async def prove(report: Report, installation: Installation, plan: Plan) -> None:
    """Ask all the time while PostgreSQL is away, and until it is back."""
    await installation.connect_slack()
    url = installation.urls[0]
    item_id = (await create(installation, url, "Read me", None)).read()["data"]["id"]
    sender = Sender(installation)
    served = [*installation.apis.values(), *installation.workers]
    for how in plan.stops:
        report.begin(f"postgres {how}")
        await sender.send(10)
        pids = [part.pid for part in served]
        await installation.postgres.stop(_STOPS[how])
        asked = await _ask_for(installation, item_id, plan.seconds)
        await installation.postgres.start()
        began, at = time.perf_counter(), time.time()
        await asyncio.gather(*(_works(installation, one, item_id) for one in installation.urls))
        report.within("requests work again after", time.perf_counter() - began, 5.0)
        await sender.send(10)
        await quiet(installation, within=60)
        report.within("a capture is confirmed after", await next_confirmed(installation, at), 15.0)
        _compare(report, asked)
        ended = sum(part.pid != pid for part, pid in zip(served, pids, strict=True))
        report.equal("processes that ended", ended, 0)
    found = await outcome(installation)
    report.equal("captures with one item", len(found.items) - found.doubled(), sender.accepted)


async def _ask_for(installation: Installation, item_id: str, seconds: float) -> _Asked:
    """Ask each process for everything, over and over."""
    asked = _Asked()
    until = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until:
        for url in installation.urls:
            turn += 1
            asked.health.append(await ask(installation, "GET", f"{url}/healthz"))
            asked.readiness.append(await ask(installation, "GET", f"{url}/readyz"))
            asked.requests += await asyncio.gather(
                ask(installation, "GET", f"{url}/api/v1/work-items/{item_id}"),
                ask(installation, "GET", f"{url}/api/v1/projects"),
                create(installation, url, "Not now", f"not-now-{turn}-{until}"),
                create(installation, url, "Not now", None),
            )
        await asyncio.sleep(0.1)
    return asked


async def _works(installation: Installation, url: str, item_id: str) -> None:
    """Wait until a process reads, writes and says that it is ready."""
    while True:
        answers = await asyncio.gather(
            ask(installation, "GET", f"{url}/api/v1/work-items/{item_id}"),
            create(installation, url, "Now", None),
            ask(installation, "GET", f"{url}/readyz"),
        )
        if all(answer.good for answer in answers):
            return
        await asyncio.sleep(0.05)


def _compare(report: Report, asked: _Asked) -> None:
    for what, answers, wanted in (
        ("healthz", asked.health, 200),
        ("readyz", asked.readiness, 503),
        ("requests", asked.requests, 503),
    ):
        said = {answer.status for answer in answers}
        report.check(f"{what}, {len(answers)} times", said, str(wanted), said == {wanted})
    with_retry_after = sum("retry-after" in answer.headers for answer in asked.requests)
    report.equal("requests with Retry-After", with_retry_after, len(asked.requests))
    slowest = max(answer.seconds for answer in asked.requests)
    report.within("slowest refusal", slowest, 6.0)

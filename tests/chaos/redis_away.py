"""Redis is off, hangs or is slow, and requests do not notice."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.calls import Answer, Steady, ask, create, effects, steady
from tests.chaos.captures import Sender, outcome, quiet
from tests.chaos.installation import Installation, Shape, until
from tests.chaos.proxy import Mode
from tests.chaos.report import Report, duration, percentile

SHAPE = Shape(workers=1, redis_through_line=True)
_MODES: tuple[Mode, ...] = ("off", "hanging", "slow")
_FIRST = 3
_MAY_PAY = 0.025
_NOTHING = 0.005


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often Redis goes away, and for how long requests come meanwhile."""

    rounds: int
    seconds: float
    rate: float
    captures: int


SHORT = Plan(rounds=3, seconds=4.0, rate=30.0, captures=20)
FULL = Plan(rounds=7, seconds=15.0, rate=50.0, captures=100)


async def prove(report: Report, installation: Installation, plan: Plan) -> None:
    """Compare the same requests with Redis well and away."""
    await installation.connect_slack()
    sender = Sender(installation)
    url = installation.urls[0]
    item_id = (await create(installation, url, "Read me", None)).read()["data"]["id"]
    await steady(installation, item_id, name="warm", seconds=2.0, rate=plan.rate)
    report.begin("redis")
    well = await steady(installation, item_id, name="well", seconds=plan.seconds, rate=plan.rate)
    report.note("Redis well: p50, p99, longest", _figures(well.seconds))
    for mode in _MODES:
        report.begin(f"redis {mode}")
        await _first_requests(report, installation, plan, mode, item_id)
        await installation.redis_line.become(mode)
        for one in installation.urls:
            for _ in range(_FIRST):
                await ask(installation, "GET", f"{one}/api/v1/work-items/{item_id}")
        typed = await sender.send(plan.captures)
        away = await steady(installation, item_id, name=mode, seconds=plan.seconds, rate=plan.rate)
        readiness = [await ask(installation, "GET", f"{one}/readyz") for one in installation.urls]
        await _come_back(report, installation)
        report.equal("requests that failed", away.failures.total(), 0)
        _compare(report, well, away)
        says = {(answer.status, answer.read()["status"]) for answer in readiness}
        report.check("readyz", says, "200 degraded", says == {(200, "degraded")})
        report.equal("captures accepted", sum(one.accepted for one in typed), plan.captures)
        began = time.perf_counter()
        await quiet(installation, within=60)
        report.within("captures complete after", time.perf_counter() - began, 15.0)
        await _exactly_once(report, installation, away)
    found = await outcome(installation)
    report.begin("redis, all told")
    report.equal("captures with one item", len(found.items) - found.doubled(), sender.accepted)
    report.equal("captures with one confirmation", len(found.confirmed), sender.accepted)


async def _first_requests(
    report: Report, installation: Installation, plan: Plan, mode: Mode, item_id: str
) -> None:
    """What the first requests of each process pay when Redis goes away: medians of the rounds."""

    async def read(url: str, _: str) -> Answer:
        return await ask(installation, "GET", f"{url}/api/v1/work-items/{item_id}")

    async def write(url: str, key: str) -> Answer:
        return await create(installation, url, key, key)

    for kind, request in (("read", read), ("keyed create", write)):
        paid: list[list[float]] = [[] for _ in range(2 * _FIRST)]
        for number in range(plan.rounds):
            for url in installation.urls:
                name = f"first-{mode}-{number}-{url}"
                before = [(await request(url, f"{name}-b{turn}")).seconds for turn in range(20)]
                await installation.redis_line.become(mode)
                for turn, costs in enumerate(paid):
                    answer = await request(url, f"{name}-{turn}")
                    costs.append(answer.seconds - median(before))
                await _back(installation)
        each = [median(costs) for costs in paid]
        report.within(f"first three of a process, {kind}: added", max(each[:_FIRST]), _MAY_PAY)
        report.within(f"the next ones, {kind}: added", max(each[_FIRST:]), _NOTHING)


async def _back(installation: Installation) -> None:
    await installation.redis_line.become("well")

    async def all_well() -> bool:
        answers = [await ask(installation, "GET", f"{url}/readyz") for url in installation.urls]
        return all(answer.good and answer.read()["status"] == "ok" for answer in answers)

    if not await until(all_well, within=30):
        raise RuntimeError("an API process has not found Redis again in 30 s")


async def _come_back(report: Report, installation: Installation) -> None:
    began = time.perf_counter()
    await _back(installation)
    report.within("found again after", time.perf_counter() - began, 15.0)


def _compare(report: Report, well: Steady, away: Steady) -> None:
    report.note("p50, p99, longest", _figures(away.seconds))
    report.note(
        "added to p50", duration(percentile(away.seconds, 0.5) - percentile(well.seconds, 0.5))
    )
    added = percentile(away.seconds, 0.99) - percentile(well.seconds, 0.99)
    report.within("added to p99", added, 0.02)


async def _exactly_once(report: Report, installation: Installation, away: Steady) -> None:
    """Send keys again, now that Redis is back, and look at what all of them have done."""
    for key in list(away.keyed)[:20]:
        away.keyed[key].append(await create(installation, installation.urls[-1], key, key))
    found = await effects(installation, away.keyed)
    report.equal("keys with one effect", found.once, len(away.keyed))
    report.equal("keys with unequal answers", found.unequal, 0)


def _figures(seconds: Sequence[float]) -> str:
    figures = (percentile(seconds, 0.5), percentile(seconds, 0.99), max(seconds))
    return ", ".join(duration(figure) for figure in figures)

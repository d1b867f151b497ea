"""Processes are told to stop under load, and neither a request nor a job is lost."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass

import aiohttp

from tests.chaos.calls import Answer, ask
from tests.chaos.captures import Sender, outcome, quiet
from tests.chaos.installation import OWNER, PASSWORD, Installation
from tests.chaos.proxy import HOST, Balancer
from tests.chaos.report import Report, duration, percentile

_RATE = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often each API process is restarted, and how many captures a worker is stopped in."""

    rolls: int
    captures: int


SHORT = Plan(rolls=1, captures=100)
FULL = Plan(rolls=4, captures=600)


async def prove(report: Report, installation: Installation, plan: Plan) -> None:
    await _roll(report, installation, plan)
    await _stop_a_worker(report, installation, plan)


async def _roll(report: Report, installation: Installation, plan: Plan) -> None:
    """Restart the API processes in turn, behind a balancer, while requests come."""
    report.begin(f"rolling restart at {_RATE:g} requests/s")
    answers: list[tuple[str, Answer]] = []
    rolling = True
    stops: list[float] = []
    codes: list[int] = []
    ports = [int(url.rpartition(":")[2]) for url in installation.urls]

    async def request(base: str, number: int, http: aiohttp.ClientSession) -> None:
        kinds = ("read", "keyed create", "create", "list", "login")
        kind = "login" if number % 20 == 0 else kinds[number % 4]
        path, body = f"{base}/api/v1/work-items", None
        if kind == "login":
            path, body = f"{base}/api/v1/auth/login", {"email": OWNER, "password": PASSWORD}
        elif "create" in kind:
            body = {"title": f"Rolled {number}", "projectId": installation.project_id}
        elif kind == "read":
            path = f"{base}/api/v1/projects/{installation.project_id}"
        key = f"rolled-{number}" if kind == "keyed create" else None
        method = "POST" if body else "GET"
        answers.append((kind, await ask(installation, method, path, body, key=key, http=http)))

    async def load(base: str) -> None:
        fresh = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(connector=fresh) as http,
            asyncio.TaskGroup() as group,
        ):
            for number in itertools.count():
                if not rolling:
                    return
                group.create_task(request(base, number, http))
                await asyncio.sleep(1 / _RATE)

    async with Balancer.running(ports) as balancer, asyncio.TaskGroup() as group:
        group.create_task(load(f"http://{HOST}:{balancer.port}"))
        await asyncio.sleep(1)
        for _ in range(plan.rolls):
            for part in installation.apis.values():
                began = time.perf_counter()
                codes.append(await part.stop())
                stops.append(time.perf_counter() - began)
                await part.start()
                await asyncio.sleep(0.5)
        rolling = False
    failed = Counter(f"{kind} {answer.status}" for kind, answer in answers if not answer.good)
    report.check(f"of {len(answers)} requests failed", dict(failed) or 0, "0", not failed)
    report.check("exit codes", sorted(set(codes)), "[0]", set(codes) == {0})
    report.within("slowest stop", max(stops), 10.0)
    seconds = [answer.seconds for _, answer in answers]
    report.note(
        "p50, p99, longest",
        ", ".join(duration(percentile(seconds, share)) for share in (0.5, 0.99, 1.0)),
    )
    created = sum("create" in kind and answer.good for kind, answer in answers)
    items = await installation.value("SELECT count(*) FROM work_items WHERE title LIKE 'Rolled %'")
    report.equal("items of the creates", items, created)


async def _stop_a_worker(report: Report, installation: Installation, plan: Plan) -> None:
    """Tell one of two workers to stop in the middle of a backlog."""
    report.begin(f"a worker stops within {plan.captures} captures")
    await installation.connect_slack()
    sender = Sender(installation)
    first, second = installation.workers
    await asyncio.gather(first.stop(), second.stop())
    await sender.send(plan.captures)
    await asyncio.gather(first.start(), second.start())
    began = time.perf_counter()
    await asyncio.sleep(0.2)
    code = await first.stop()
    report.within("it stopped after", time.perf_counter() - began - 0.2, 10.0)
    left = await installation.value("SELECT count(*) FROM jobs WHERE name LIKE 'slack.%'")
    settled = await quiet(installation, within=60)
    report.check("the other one did the rest", settled, "True", settled)
    report.note("jobs left for it, done after", f"{left}, {duration(time.perf_counter() - began)}")
    report.equal("its exit code", code, 0)
    found = await outcome(installation)
    report.equal("captures with one item", len(found.items) - found.doubled(), sender.accepted)
    report.equal("captures with one confirmation", len(found.confirmed), sender.accepted)
    report.equal("confirmations posted twice", found.reposted + found.confirmed_twice(), 0)
    await first.start()

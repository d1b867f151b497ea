"""Commands are typed in Slack while every part is killed in turn, and none is lost or doubled."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from tests.chaos.captures import (
    FORGERIES,
    Capture,
    Sender,
    next_confirmed,
    outcome,
    quiet,
)
from tests.chaos.installation import Installation, Part
from tests.chaos.report import Report, duration, percentile

_FAILING = {"limited": 0.08, "broken": 0.06, "hanging": 0.06, "late": 0.5, "hang": 0.3}
_KILL_A_WORKER_EVERY = 2.0
_SETTLES = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many commands, how many a second, and what dies meanwhile, in this order."""

    captures: int
    rate: float
    faults: str
    """R: Redis is killed, W: and wiped; P: PostgreSQL restarts; A: an API process is killed."""
    patience: float = 120.0

    @property
    def seconds(self) -> float:
        return self.captures / self.rate


SHORT = Plan(captures=300, rate=30.0, faults="RAPW")
THOUSAND = Plan(captures=1000, rate=25.0, faults="RARPWAP")
FULL = Plan(captures=10_000, rate=50.0, faults="RAPRAPWARPARA", patience=300.0)


@dataclass(frozen=True)
class Outage:
    """A part that was away from one moment to another."""

    what: str
    began: float
    back: float
    stops_answers: bool
    """Whether requests may fail or wait meanwhile. Redis is no reason to."""


async def prove(
    report: Report, installation: Installation, plan: Plan, *, timed: bool = True
) -> None:
    """Run a storm and compare what was accepted with what there is; and how quick it was."""
    report.begin(f"captures: {plan.captures} at {plan.rate:g}/s, faults {plan.faults}")
    await installation.connect_slack()
    await installation.misbehave(**_FAILING)
    sender = Sender(installation)
    storm = _Storm(installation, sender, plan)
    await storm.rage()
    settled = await quiet(installation, within=plan.patience)
    async with asyncio.TaskGroup() as group:
        for capture in storm.again_later:
            group.create_task(sender.deliver(capture))
            await asyncio.sleep(1 / plan.rate)
    settled = await quiet(installation, within=plan.patience) and settled
    report.note("workers killed", storm.kills)
    report.check("all settled", "yes" if settled else "no", "yes", settled)
    await _compare(report, installation, sender)
    if timed:
        await _time(report, installation, sender, storm.outages)


@dataclass
class _Storm:
    installation: Installation
    sender: Sender
    plan: Plan
    kills: int = 0
    outages: list[Outage] = field(default_factory=list)
    again_later: list[Capture] = field(default_factory=list)
    """What is to be delivered again after it was completed."""
    _sending: bool = True

    async def rage(self) -> None:
        """Type everything, and meanwhile kill everything."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill_workers(group))
            group.create_task(self._break_parts())
            await self._type()
            self._sending = False

    async def _type(self) -> None:
        dice = random.Random(self.plan.captures)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.captures):
                await asyncio.sleep(max(0.0, began + number / self.plan.rate - time.monotonic()))
                capture, fate = self.sender.type(), dice.random()
                group.create_task(self.sender.deliver(capture))
                if fate < 0.05:
                    group.create_task(self._deliver_again(capture, 3 * dice.random()))
                elif fate < 0.10:
                    self.again_later.append(capture)
                if dice.random() < 0.05:
                    group.create_task(self.sender.forge(number, dice.choice(FORGERIES)))

    async def _deliver_again(self, capture: Capture, after: float) -> None:
        await asyncio.sleep(after)
        await self.sender.deliver(capture)

    async def _kill_workers(self, group: asyncio.TaskGroup) -> None:
        up: dict[Part, asyncio.Task[None]] = {}
        for worker in itertools.cycle(self.installation.workers):
            # On a slow machine it may still be starting: there is no work yet to kill it at.
            if worker in up:
                await up[worker]
            await asyncio.sleep(_KILL_A_WORKER_EVERY)
            if not self._sending:
                return
            await worker.kill()
            self.kills += 1
            up[worker] = group.create_task(worker.start())

    async def _break_parts(self) -> None:
        began = time.monotonic()
        for number, fault in enumerate(self.plan.faults, 1):
            due = began + self.plan.seconds * number / (len(self.plan.faults) + 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.outages.append(await _break(self.installation, fault, number))


async def _break(installation: Installation, fault: str, turn: int) -> Outage:
    api = list(installation.apis.values())[turn % len(installation.apis)]
    faults: dict[str, tuple[str, Callable[[], Awaitable[None]]]] = {
        "R": ("Redis killed", installation.kill_valkey),
        "W": ("Redis killed and wiped", partial(installation.kill_valkey, wipe=True)),
        "P": ("PostgreSQL restarted", installation.restart_postgres),
        "A": ("API process killed", partial(_kill, api)),
    }
    what, happen = faults[fault]
    began = time.time()
    await happen()
    return Outage(what, began, time.time(), fault in "PA")


async def _kill(part: Part) -> None:
    await part.kill()
    await part.start()


async def _compare(report: Report, installation: Installation, sender: Sender) -> None:
    found = await outcome(installation)
    accepted = {capture.number for capture in sender.captures if capture.accepted}
    answered = sum(sender.forged.values()) - sender.forged["no answer"]
    report.note("typed, of these accepted", f"{len(sender.captures)}, {len(accepted)}")
    report.equal("work items", found.items.total(), len(accepted | found.kept.keys()))
    report.equal("confirmations that are seen", len(found.confirmed), found.items.total())
    report.equal("lost: accepted without an item", len(accepted - found.items.keys()), 0)
    report.equal("lost: accepted, not confirmed", len(accepted - found.confirmed.keys()), 0)
    report.equal("doubled: more than one item", found.doubled(), 0)
    report.equal("doubled: more than one confirmation", found.confirmed_twice(), 0)
    report.equal("forged or stale, answered 401", sender.forged["401"], answered)
    report.equal("forged: left something behind", found.strange, 0)
    report.equal("jobs given up", found.dead_jobs, 0)
    statuses = Counter(status for _, status in sender.refused)
    refused = ", ".join(f"{count} × {status or 'nothing'}" for status, count in statuses.items())
    report.note("deliveries not accepted at once", refused or "none")
    report.note("kept although Slack got no answer", len(found.kept.keys() - accepted))
    report.note("confirmations posted over themselves", found.reposted)


async def _time(
    report: Report, installation: Installation, sender: Sender, outages: list[Outage]
) -> None:
    calm = [
        waited
        for sent, waited in sender.answers
        if not any(
            outage.stops_answers and outage.began - waited <= sent <= outage.back + _SETTLES
            for outage in outages
        )
    ]
    report.note("acceptance p50 outside outages", duration(percentile(calm, 0.50)))
    report.within("acceptance p99 outside outages", percentile(calm, 0.99), 0.2)
    for outage in outages:
        recovered = await next_confirmed(installation, outage.back)
        away = duration(outage.back - outage.began)
        report.within(f"{outage.what}, back after {away}: recovery", recovered, 15.0)
        if outage.stops_answers:
            others = [other for other in outages if other is not outage and other.stops_answers]
            late = [
                at - outage.back
                for at, _ in sender.refused
                if at > outage.back and not any(one.began - 1 < at < one.back + 5 for one in others)
            ]
            report.within("  last refusal after that", max(late, default=0.0), 5.0)
    ways = await installation.rows(
        "SELECT extract(epoch FROM posted_at - created_at)::float8 AS took FROM slack_captures"
        " WHERE posted_at IS NOT NULL"
    )
    took = [row["took"] for row in ways]
    report.note(
        "typed to confirmed: p50, p99, longest",
        f"{duration(percentile(took, 0.5))}, {duration(percentile(took, 0.99))}, "
        f"{duration(max(took, default=0.0))}",
    )

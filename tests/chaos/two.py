"""Two API processes and two workers are one: limits, revocation and notices hold across them."""

import asyncio
import math
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from urllib.parse import urlsplit

from tests.chaos.calls import Answer, ask
from tests.chaos.installation import PASSWORD, Installation, Shape, until
from tests.chaos.report import Report

LIMIT, WINDOW = 50, 60
SHAPE = Shape(
    settings={"THROTTLE_MAX_REQUESTS": str(LIMIT), "THROTTLE_WINDOW_SECONDS": str(WINDOW)}
)
_PEOPLE, _ITEMS = 3, 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often each revocation is tried, and how many scans for what is due run at once."""

    rounds: int
    scans: int


SHORT = Plan(rounds=1, scans=4)
FULL = Plan(rounds=5, scans=12)


@dataclass(frozen=True)
class _Member:
    id: str
    token: str


async def prove(report: Report, installation: Installation, plan: Plan) -> None:
    await _limit(report, installation)
    await _revoke(report, installation, plan)
    await _tell_what_is_due(report, installation, plan)


async def _limit(report: Report, installation: Installation) -> None:
    """Spend one person's allowance on both processes at once."""
    report.begin(f"one limit of {LIMIT} for two API processes")
    member = await _join(installation, "spender")
    began = time.perf_counter()
    answers = await asyncio.gather(
        *(
            ask(installation, "GET", f"{url}/api/v1/projects", token=member.token)
            for _ in range(2 * LIMIT)
            for url in installation.urls
        )
    )
    restored = math.ceil((time.perf_counter() - began) * LIMIT / WINDOW)
    passed = sum(answer.good for answer in answers)
    most = LIMIT + restored
    report.check(
        f"passed, of {len(answers)}", passed, f"{LIMIT} to {most}", LIMIT <= passed <= most
    )
    refused = [answer for answer in answers if answer.status == 429]
    report.equal("refused with 429", len(refused), len(answers) - passed)
    notified = sum("retry-after" in answer.headers for answer in refused)
    report.equal("of these with Retry-After", notified, len(refused))


async def _revoke(report: Report, installation: Installation, plan: Plan) -> None:
    """Revoke at one process, and see how long the other still lets the bearer in."""
    report.begin("revoked at one API process, refused by the other")
    here, there = installation.urls
    took: dict[str, list[float]] = defaultdict(list)
    for number in range(plan.rounds):
        removed = await _join(installation, f"removed.{number}")
        path = f"{here}/api/v1/memberships/{removed.id}"
        took["a member is removed"].append(
            await _until_refused(installation, there, removed.token, ("DELETE", path, None))
        )
        leaving = await _join(installation, f"leaving.{number}")
        path = f"{here}/api/v1/auth/logout"
        took["somebody logs out"].append(
            await _until_refused(installation, there, leaving.token, ("POST", path, leaving.token))
        )
        bearing = await _join(installation, f"bearing.{number}")
        path = f"{here}/api/v1/api-tokens"
        made = await ask(installation, "POST", path, {"name": "chaos"}, token=bearing.token)
        path = f"{path}/{made.read()['id']}"
        pat = made.read()["secret"]
        took["an API token is revoked"].append(
            await _until_refused(installation, there, pat, ("DELETE", path, bearing.token))
        )
    for what, seconds in took.items():
        report.within(f"{what}: refused after", max(seconds), 1.0)


async def _until_refused(
    installation: Installation, url: str, token: str, revoke: tuple[str, str, str | None]
) -> float:
    """For how many seconds after the answer to `revoke` a token still works."""
    path = f"{url}/api/v1/auth/whoami"
    for _ in range(3):
        _expect(await ask(installation, "GET", path, token=token), 200)
    method, where, by = revoke
    _expect(await ask(installation, method, where, token=by), 204)
    began = time.perf_counter()

    async def is_refused() -> bool:
        return (await ask(installation, "GET", path, token=token)).status == 401

    if not await until(is_refused, within=5, every=0.05):
        return math.inf
    return time.perf_counter() - began


async def _tell_what_is_due(report: Report, installation: Installation, plan: Plan) -> None:
    """Scan for what is due many times at once, on two workers."""
    people = [await _join(installation, f"busy.{number}") for number in range(_PEOPLE)]
    report.begin(f"{plan.scans} scans for what is due at once, two workers")
    url = installation.urls[0]
    today = datetime.now(UTC).date()
    for person in people:
        path = f"{url}/api/v1/projects/{installation.project_id}/members"
        _expect(await ask(installation, "POST", path, {"userId": person.id}), 201)
        for number in range(_ITEMS):
            due = today + timedelta(days=1 if number % 2 else -1)
            item = {
                "title": f"Due {number}",
                "projectId": installation.project_id,
                "assigneeId": person.id,
                "dueDate": due.isoformat(),
            }
            path = f"{url}/api/v1/work-items"
            _expect(await ask(installation, "POST", path, item, token=person.token), 201)
    await installation.rows("UPDATE users SET notify_at = '00:00'")
    await asyncio.gather(*(_scan(installation) for _ in range(plan.scans)))
    wanted = _PEOPLE * _ITEMS

    async def notified() -> bool:
        due = await installation.value(
            "SELECT count(*) FROM jobs WHERE name = 'notifications.scan'"
            "    OR name = 'notifications.due_scan' AND due_at < now() + interval '1 minute'"
        )
        return due == 0 and await _count(installation) >= wanted

    settled = await until(notified, within=60)
    report.check("all scans ended", settled, "True", settled)
    report.equal("notices", await _count(installation), wanted)
    distinct = await installation.value(
        f"SELECT count(DISTINCT (recipient_id, entity_id, type)) FROM notifications {_DUE}"
    )
    report.equal("items and people told of, each once", distinct, wanted)


_DUE: LiteralString = "WHERE type IN ('DUE_SOON', 'OVERDUE')"


async def _count(installation: Installation) -> int:
    return await installation.value(f"SELECT count(*) FROM notifications {_DUE}")


async def _scan(installation: Installation) -> None:
    """Ask for a scan as an operator does."""
    command = [sys.executable, "-m", "rytask", "jobs", "run", "notifications.due_scan"]
    process = await asyncio.create_subprocess_exec(
        *command, env=installation.environ, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise RuntimeError(f"{' '.join(command)} failed")


async def _join(installation: Installation, name: str) -> _Member:
    """Somebody who is invited and accepts."""
    url = installation.urls[0]
    invite = {"email": f"{name}@example.com", "role": "MEMBER"}
    invited = _expect(await ask(installation, "POST", f"{url}/api/v1/invites", invite), 201).read()
    secret = urlsplit(invited["acceptUrl"]).path.rpartition("/")[2]
    accepted = _expect(
        await ask(
            installation,
            "POST",
            f"{url}/api/v1/invites/{secret}/accept",
            {"name": name, "password": PASSWORD},
            token="",
        ),
        200,
    ).read()
    return _Member(accepted["user"]["id"], accepted["accessToken"])


def _expect(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise RuntimeError(f"{answer.status} instead of {status}: {answer.body[:500]!r}")
    return answer

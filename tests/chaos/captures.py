"""What is typed in Slack, delivered as Slack does, and what has become of it."""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import aiohttp

from tests.chaos.installation import Installation, until
from tests.fake_slack import signed

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
Forgery = Literal["wrong secret", "stale", "changed"]
FORGERIES: tuple[Forgery, ...] = ("wrong secret", "stale", "changed")
_PATH = "/api/v1/integrations/slack/commands"
_PATIENCE = 3.0
_PAUSES = (1.0, 2.0, 4.0)
_TITLE = re.compile(r"Fix login (\d+)")


@dataclass
class Capture:
    """One command that somebody typed."""

    number: int
    body: bytes
    accepted: bool = False
    """Whether Slack was told so."""

    @property
    def trigger(self) -> str:
        return f"typed.{self.number}"


@dataclass
class Sender:
    """Delivers commands to the API processes in turn, and again when there is no answer in 3 s.

    As behind any balancer, a process that takes no connection is passed over.
    """

    installation: Installation
    captures: list[Capture] = field(default_factory=list)
    answers: list[tuple[float, float]] = field(default_factory=list)
    """When an accepted delivery was sent, and for how many seconds it waited for its answer."""
    refused: list[tuple[float, int]] = field(default_factory=list)
    """When another one was sent, and what it was answered; 0: nothing."""
    forged: Counter[str] = field(default_factory=Counter)
    """What forged deliveries were answered."""
    _turn: int = 0

    @property
    def accepted(self) -> int:
        return sum(capture.accepted for capture in self.captures)

    def type(self) -> Capture:
        """Somebody types the next command."""
        number = len(self.captures) + 1
        text = f"Fix login {number} @founder ~2h #bug !high ^friday"
        capture = Capture(number, b"")
        capture.body = self.installation.slack.command(text, trigger=capture.trigger)
        self.captures.append(capture)
        return capture

    async def send(self, count: int, *, rate: float = 50.0) -> list[Capture]:
        """Type and deliver so many commands, at so many a second."""
        typed = []
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                typed.append(self.type())
                group.create_task(self.deliver(typed[-1]))
                await asyncio.sleep(1 / rate)
        return typed

    async def deliver(self, capture: Capture) -> None:
        """Deliver a command, up to four times until it is accepted."""
        for pause in (*_PAUSES, 0.0):
            sent = time.time()
            status, text = await self._post(capture.body, signed(SECRET, capture.body))
            if status == 200 and "On it" in text:
                self.answers.append((sent, time.time() - sent))
                capture.accepted = True
                return
            self.refused.append((sent, status))
            await asyncio.sleep(pause)

    async def forge(self, number: int, how: Forgery) -> None:
        """Deliver a command that Slack did not sign, or not now, or not like this."""
        body = self.installation.slack.command(f"Forged {number}", trigger=f"forged.{number}")
        match how:
            case "wrong secret":
                headers = signed("somebody else's secret", body)
            case "stale":
                headers = signed(SECRET, body, time.time() - 400)
            case "changed":
                headers = signed(SECRET, body)
                body = body.replace(b"Forged", b"Forger")
        status, _ = await self._post(body, headers)
        self.forged[str(status or "no answer")] += 1

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """The status and the answer; 0 when there is none in time."""
        for _ in self.installation.urls:
            self._turn += 1
            url = self.installation.urls[self._turn % len(self.installation.urls)]
            try:
                async with self.installation.http.post(
                    url + _PATH,
                    data=body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=_PATIENCE),
                ) as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, TimeoutError):
                break
        return 0, ""


@dataclass(frozen=True)
class Outcome:
    """What there is of the captures: numbers of commands, each as often as it was found."""

    kept: Counter[int]
    items: Counter[int]
    confirmed: Counter[int]
    reposted: int
    """How often a confirmation that was seen already was posted over itself."""
    strange: int
    """Work items and captures that nobody typed."""
    dead_jobs: int

    def doubled(self) -> int:
        """Commands that made more than one item."""
        return sum(count > 1 for count in self.items.values())

    def confirmed_twice(self) -> int:
        """Commands of which a person sees more than one confirmation."""
        return sum(count > 1 for count in self.confirmed.values())


async def quiet(installation: Installation, *, within: float) -> bool:
    """Wait until every capture is carried out and confirmed."""

    async def is_quiet() -> bool:
        try:
            return await installation.value(
                "SELECT NOT EXISTS (SELECT FROM slack_captures"
                "                    WHERE state = 'accepted' OR posted_at IS NULL)"
                "   AND NOT EXISTS (SELECT FROM jobs WHERE state <> 'dead' AND name LIKE 'slack.%')"
            )
        except OSError:
            return False

    return await until(is_quiet, within=within)


async def outcome(installation: Installation) -> Outcome:
    """Ask the database and Slack what there is."""
    rows = await installation.rows(
        "SELECT c.trigger, count(w.id) AS items FROM slack_captures c"
        "  LEFT JOIN work_items w ON w.org_id = c.org_id AND w.capture_id = c.id"
        " GROUP BY c.trigger"
    )
    kept: Counter[int] = Counter()
    strange = 0
    for row in rows:
        if row["trigger"].startswith("typed."):
            kept[int(row["trigger"].removeprefix("typed."))] += 1
        else:
            strange += 1
    items: Counter[int] = Counter()
    for row in await installation.rows("SELECT title FROM work_items WHERE source = 'SLACK'"):
        found = _TITLE.match(row["title"])
        if found:
            items[int(found[1])] += 1
        else:
            strange += 1
    confirmed: Counter[int] = Counter()
    reposted = 0
    for message in await installation.seen_in_slack():
        found = _TITLE.search(message["message"].get("text", ""))
        if found:
            confirmed[int(found[1])] += 1
            reposted += message["times"] - 1
        else:
            strange += 1
    dead = await installation.value("SELECT count(*) FROM jobs WHERE state = 'dead'")
    return Outcome(kept, items, confirmed, reposted, strange, dead)


async def next_confirmed(installation: Installation, since: float) -> float:
    """How long after a moment the next command was confirmed in Slack."""
    at = datetime.fromtimestamp(since, UTC)
    posted: datetime | None = await installation.value(
        "SELECT min(posted_at) FROM slack_captures WHERE posted_at > $1", at
    )
    return (posted - at).total_seconds() if posted else float("inf")

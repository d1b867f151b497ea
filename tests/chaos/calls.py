"""Requests to the API, and the figures of many of them."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from tests.chaos.installation import Installation


@dataclass(frozen=True)
class Answer:
    """What came back. Status 0: nothing did."""

    status: int
    seconds: float
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def read(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(
    installation: Installation,
    method: str,
    url: str,
    body: object = None,
    *,
    token: str | None = None,
    key: str | None = None,
    http: aiohttp.ClientSession | None = None,
) -> Answer:
    """Ask as the owner, or with another token, or an empty one for none. Never raises."""
    token = installation.token if token is None else token
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if key is not None:
        headers["idempotency-key"] = key
    began = time.perf_counter()
    try:
        async with (http or installation.http).request(
            method, url, json=body, headers=headers
        ) as answer:
            read = await answer.read()
            return Answer(answer.status, time.perf_counter() - began, read, answer.headers)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(0, time.perf_counter() - began, repr(error).encode())


async def create(installation: Installation, url: str, title: str, key: str | None) -> Answer:
    """Create a work item."""
    body = {"title": title, "projectId": installation.project_id}
    return await ask(installation, "POST", f"{url}/api/v1/work-items", body, key=key)


@dataclass
class Steady:
    """What a steady mix of reads and keyed creates has seen."""

    answers: list[Answer] = field(default_factory=list)
    keyed: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    """The answers of each key. The item is called as the key."""

    @property
    def seconds(self) -> list[float]:
        return [answer.seconds for answer in self.answers]

    @property
    def failures(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers if not answer.good)


async def steady(
    installation: Installation, item_id: str, *, name: str, seconds: float, rate: float
) -> Steady:
    """Read an item and create items, in turn, at a fixed rate over all API processes.

    Every fifth create is sent to two processes at once, under one key.
    """
    seen = Steady()
    urls = installation.urls

    async def read(url: str) -> None:
        path = f"{url}/api/v1/work-items/{item_id}"
        seen.answers.append(await ask(installation, "GET", path))

    async def write(url: str, key: str) -> None:
        answer = await create(installation, url, key, key)
        seen.answers.append(answer)
        seen.keyed[key].append(answer)

    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * rate)):
            url, other = urls[number % len(urls)], urls[(number + 1) % len(urls)]
            if number // len(urls) % 2:
                group.create_task(read(url))
            else:
                key = f"{name}-{number}"
                group.create_task(write(url, key))
                if number % 5 == 0:
                    group.create_task(write(other, key))
            await asyncio.sleep(1 / rate)
    return seen


@dataclass(frozen=True)
class Effects:
    """What there is of keys."""

    once: int
    doubled: int
    unequal: int
    """Keys whose answers are not all good and the same."""


async def effects(installation: Installation, keyed: Mapping[str, list[Answer]]) -> Effects:
    """Ask the database how often each key had its effect, and compare its answers."""
    rows = await installation.rows(
        "SELECT title, count(*) AS items FROM work_items WHERE title = ANY ($1) GROUP BY title",
        list(keyed),
    )
    counts = [row["items"] for row in rows]
    unequal = sum(
        not all(answer.good and answer.body == answers[0].body for answer in answers)
        for answers in keyed.values()
    )
    return Effects(counts.count(1), sum(count > 1 for count in counts), unequal)

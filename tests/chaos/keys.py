"""Requests that are sent ten times at once, over two processes, have one effect and one answer."""

import asyncio
from collections import Counter

from tests.chaos.calls import Answer, create, effects
from tests.chaos.installation import Installation, Shape
from tests.chaos.report import Report

SHAPE = Shape(workers=0)
_TIMES = 10
_AT_ONCE = 4


async def prove(report: Report, installation: Installation, keys: int) -> None:
    """Send each key ten times at once, a few keys at a time."""
    report.begin(f"keys: {keys} × {_TIMES}")
    keyed: dict[str, list[Answer]] = {}
    refused: Counter[int] = Counter()
    few = asyncio.Semaphore(_AT_ONCE)

    async def send(key: str, turn: int) -> Answer:
        url = installation.urls[turn % len(installation.urls)]
        while True:
            answer = await create(installation, url, key, key)
            if answer.good:
                return answer
            refused[answer.status] += 1
            if answer.status != 409 or "retry-after" not in answer.headers:
                return answer
            await asyncio.sleep(int(answer.headers["retry-after"]))

    async def send_all(key: str) -> None:
        async with few:
            keyed[key] = await asyncio.gather(*(send(key, turn) for turn in range(_TIMES)))

    async with asyncio.TaskGroup() as group:
        for number in range(keys):
            group.create_task(send_all(f"key-{number}"))
    found = await effects(installation, keyed)
    report.equal("effects", found.once, keys)
    report.equal("doubled", found.doubled, 0)
    report.equal("keys with unequal answers", found.unequal, 0)
    broken = {status: count for status, count in refused.items() if status != 409}
    report.check("5xx, or no answer", broken or "none", "none", not broken)
    report.note("told to ask again (409)", refused[409])
    replayed = sum(
        "idempotent-replayed" in answer.headers for answers in keyed.values() for answer in answers
    )
    report.equal("answers that were replayed", replayed, keys * (_TIMES - 1))

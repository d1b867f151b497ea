"""How long a process waits for the rest of a body, and how much of it it keeps."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rytask.platform.bodies import Bodies, BodyLimits
from rytask.platform.errors import Busy, TooLarge, TooManyUnfinished, TooSlow

HURRIED = BodyLimits(seconds=0.3, seconds_when_full=0.05)


class Caller:
    """Somebody who sends a body piece by piece."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def send(self, body: bytes, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def hang_up(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        return await self._messages.get()


class Reading:
    """A body that is being read."""

    def __init__(self, bodies: Bodies, network: str = "1.1.1.1", limit: int = 1000) -> None:
        self.caller = Caller()
        self.task = asyncio.create_task(bodies.read(self.caller.receive, network, limit))

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def unfinished(bodies: Bodies, count: int, network: str = "1.1.1.1") -> list[Reading]:
    readings = [Reading(bodies, network) for _ in range(count)]
    for reading in readings:
        reading.caller.send(b"a")
        await reading.settle()
    return readings


@pytest.fixture
async def ended() -> AsyncIterator[Callable[..., None]]:
    readings: list[Reading] = []
    yield readings.extend
    for reading in readings:
        reading.task.cancel()
    await asyncio.gather(*(reading.task for reading in readings), return_exceptions=True)


async def test_a_body_is_read_whole_and_leaves_nothing_behind() -> None:
    bodies = Bodies()
    reading = Reading(bodies)
    for part in (b"a", b"", b"bc"):
        reading.caller.send(part)
        await reading.settle()
    reading.caller.send(b"d", more=False)
    assert await reading.task == b"abcd"
    assert (bodies.unfinished, bodies._networks, bodies._total.bytes) == (0, {}, 0)


async def test_who_stops_sending_is_not_waited_for() -> None:
    bodies = Bodies(HURRIED)
    reading = Reading(bodies)
    reading.caller.send(b"a")
    with pytest.raises(TooSlow):
        await reading.task
    assert (bodies.unfinished, bodies._networks, bodies._total.bytes) == (0, {}, 0)


async def test_who_sends_a_byte_now_and_then_is_not_waited_for_either() -> None:
    reading = Reading(Bodies(HURRIED))
    for _ in range(8):
        reading.caller.send(b"a")
        await asyncio.sleep(0.05)
    with pytest.raises(TooSlow):
        await reading.task


async def test_a_long_body_has_time_as_long_as_it_keeps_coming() -> None:
    reading = Reading(Bodies(BodyLimits(seconds=0.2, rate=10)))
    for _ in range(8):
        reading.caller.send(b"ab")
        await asyncio.sleep(0.05)
    reading.caller.send(b"", more=False)
    assert len(await reading.task) == 16


async def test_one_network_may_leave_only_so_many_unfinished(ended: Callable[..., None]) -> None:
    bodies = Bodies(BodyLimits(seconds_when_full=0.05, requests_per_network=3))
    ended(await unfinished(bodies, 3))
    with pytest.raises(TooManyUnfinished):
        await (await unfinished(bodies, 1))[0].task
    whole, elsewhere = Reading(bodies), (await unfinished(bodies, 1, "2.2.2.2"))[0]
    whole.caller.send(b"ab", more=False)
    assert await whole.task == b"ab"
    await asyncio.sleep(0.1)
    elsewhere.caller.send(b"c", more=False)
    assert await elsewhere.task == b"ac"


async def test_a_process_has_only_so_many_unfinished(ended: Callable[..., None]) -> None:
    bodies = Bodies(BodyLimits(seconds_when_full=0.05, requests=3))
    for network in range(3):
        ended(await unfinished(bodies, 1, f"2.2.2.{network}"))
    with pytest.raises(Busy):
        await (await unfinished(bodies, 1))[0].task
    whole = Reading(bodies)
    whole.caller.send(b"ab", more=False)
    assert await whole.task == b"ab"


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        (BodyLimits(bytes_per_network=100), TooManyUnfinished),
        (BodyLimits(bytes=100), Busy),
    ],
)
async def test_only_so_much_is_kept_of_unfinished_bodies(
    ended: Callable[..., None], limits: BodyLimits, refused: type[Exception]
) -> None:
    bodies = Bodies(limits)
    first, second = Reading(bodies), Reading(bodies)
    ended([first])
    first.caller.send(b"a" * 60)
    await first.settle()
    second.caller.send(b"a" * 60)
    with pytest.raises(refused):
        await second.task
    assert bodies._total.bytes == 60
    whole = Reading(bodies)
    whole.caller.send(b"a" * 60, more=False)
    assert len(await whole.task) == 60


async def test_a_body_that_grows_too_large_is_refused_on_the_way() -> None:
    reading = Reading(Bodies(), limit=10)
    reading.caller.send(b"a" * 11)
    with pytest.raises(TooLarge):
        await reading.task


async def test_chunks_are_passed_on_and_not_kept() -> None:
    bodies, caller = Bodies(BodyLimits(bytes=10)), Caller()
    chunks = bodies.chunks(caller.receive, "1.1.1.1", 1000)
    for part in (b"a" * 20, b"b" * 20):
        caller.send(part)
        assert await anext(chunks) == part
        assert bodies._total.bytes == 0
    caller.send(b"c", more=False)
    assert [chunk async for chunk in chunks] == [b"c"]
    assert bodies.unfinished == 0


async def test_a_caller_who_goes_is_no_error_of_ours() -> None:
    reading = Reading(Bodies())
    reading.caller.hang_up()
    with pytest.raises(ConnectionResetError):
        await reading.task

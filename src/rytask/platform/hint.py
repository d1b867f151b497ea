"""The hint: "there is work", told through Redis so that workers need not wait for their next look.

It carries nothing and may be lost; PostgreSQL knows what there is to do.
"""

import asyncio
from collections.abc import Callable

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_CHANNEL = "rytask:hint"
AWAY = (RedisError, OSError, TimeoutError)


def connect(url: str, *, timeout: float) -> redis.Redis:
    """A client that fails after `timeout` seconds, and at once when Redis is down."""
    return redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout,
        socket_connect_timeout=min(timeout, 1.0),
        retry=Retry(NoBackoff(), 0),
    )


class Hint:
    """Called after a commit. Returns at once, folds calls together, and is silent without Redis."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, timeout=0.05)
        self._due: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._quiet_until = 0.0

    def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        if self._due is None and loop.time() >= self._quiet_until:
            self._due = loop.call_later(0.005, self._send)

    def _send(self) -> None:
        self._due = None
        sending = asyncio.create_task(self._publish())
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _publish(self) -> None:
        try:
            await self._redis.publish(_CHANNEL, "")
        except AWAY:
            self._quiet_until = asyncio.get_running_loop().time() + 1.0

    async def close(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._send()
        await asyncio.gather(*self._sending)
        await self._redis.aclose()


async def listen(url: str, heard: Callable[[], None]) -> None:
    """Call `heard` at each hint, for ever. While Redis is away there are none."""
    client = connect(url, timeout=2.0)
    try:
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(_CHANNEL)
                    heard()
                    while True:
                        if await channel.get_message(timeout=30.0) is not None:
                            heard()
            except AWAY:
                await asyncio.sleep(1.0)
    finally:
        await client.aclose()

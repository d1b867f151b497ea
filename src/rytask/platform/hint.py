"""The hint: "there is work", told through Redis so that workers need not wait for their next look.

It carries nothing and may be lost; PostgreSQL knows what there is to do.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from rytask.platform.redis_client import Away, QuickRedis

CHANNEL = "rytask:hint"
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

    def __init__(self, redis: QuickRedis) -> None:
        self._redis = redis
        self._due: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(0.005, self._send)

    def _send(self) -> None:
        self._due = None
        with suppress(Away):
            self._redis.call("PUBLISH", CHANNEL, "").add_done_callback(_heard)

    async def close(self) -> None:
        """Send what was not sent yet."""
        if self._due is not None:
            self._due.cancel()
            with suppress(Away, ResponseError):
                await self._redis.call("PUBLISH", CHANNEL, "")


def _heard(reply: asyncio.Future[object]) -> None:
    """Whether it arrived does not matter."""
    if not reply.cancelled():
        reply.exception()


async def listen(url: str, heard: Callable[[], None]) -> None:
    """Call `heard` at each hint, for ever. While Redis is away there are none."""
    client = connect(url, timeout=2.0)
    try:
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    heard()
                    while True:
                        if await channel.get_message(timeout=30.0) is not None:
                            heard()
            except AWAY:
                await asyncio.sleep(1.0)
    finally:
        await client.aclose()

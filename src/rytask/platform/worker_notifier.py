"""Notifies workers through Redis that there is work, so that they need not wait to look again.

A notification carries nothing and may be lost; PostgreSQL knows what there is to do.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from rytask.platform.redis_client import RedisUnavailable, RequestRedis

CHANNEL = "rytask:hint"
REDIS_ERRORS = (RedisError, OSError, TimeoutError)


def connect(url: str, *, timeout: float) -> redis.Redis:
    """A client that fails after `timeout` seconds, and at once when Redis is down."""
    return redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout,
        socket_connect_timeout=min(timeout, 1.0),
        retry=Retry(NoBackoff(), 0),
    )


class WorkerNotifier:
    """Called after a commit. Returns at once, folds calls together, and is silent without Redis."""

    def __init__(self, redis: RequestRedis) -> None:
        self._redis = redis
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(0.005, self._send)

    def _send(self) -> None:
        self._timer = None
        with suppress(RedisUnavailable):
            self._redis.call("PUBLISH", CHANNEL, "").add_done_callback(_ignore_result)

    async def close(self) -> None:
        """Send what was not sent yet."""
        if self._timer is not None:
            self._timer.cancel()
            with suppress(RedisUnavailable, ResponseError):
                await self._redis.call("PUBLISH", CHANNEL, "")


def _ignore_result(reply: asyncio.Future[object]) -> None:
    """Whether it arrived does not matter."""
    if not reply.cancelled():
        reply.exception()


async def listen(url: str, on_notification: Callable[[], None]) -> None:
    """Call `on_notification` at each, for ever. While Redis is away there are none."""
    client = connect(url, timeout=2.0)
    try:
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    on_notification()
                    while True:
                        if await channel.get_message(timeout=30.0) is not None:
                            on_notification()
            except REDIS_ERRORS:
                await asyncio.sleep(1.0)
    finally:
        await client.aclose()

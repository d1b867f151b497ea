"""Rate limits: a token bucket per caller, shared by all processes while Redis answers.

The bucket is kept as one number, the time at which it will be full again (GCRA). Without Redis
each process keeps its own buckets: a caller gets at most one allowance per process.
"""

import hashlib
import time
from collections.abc import Callable

import msgspec
from redis.exceptions import NoScriptError, ResponseError

from rytask.platform.errors import TooMany
from rytask.platform.redis_client import RedisUnavailable, RequestRedis

MAX_BUCKETS = 10_000

# Times are whole microseconds: exact in Lua's doubles until the year 2255.
_SCRIPT = """
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local step = math.max(math.floor(window * 1000000 / limit), 1)
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local room = limit * step - (full - now)
if room < step then
  return {0, 0, full - now, step - room}
end
full = full + step
redis.call('SET', KEYS[1], string.format('%.0f', full),
           'PX', math.ceil((full - now) / 1000))
return {1, math.floor((room - step) / step), full - now, 0}
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Verdict(msgspec.Struct, frozen=True):
    """Whether a request may pass. `reset` is when all is restored; both times in whole seconds."""

    allowed: bool
    limit: int
    window: int
    remaining: int
    reset: int
    retry_after: int

    def require_allowed(self) -> None:
        """Raise TooMany unless it may pass."""
        if not self.allowed:
            raise TooMany(
                f"Too many requests: {self.limit} in {self.window} seconds are allowed.",
                retry_after=self.retry_after,
            )

    def headers(self, policy: str = "default") -> list[tuple[bytes, bytes]]:
        """The `RateLimit` fields (IETF draft), and `Retry-After` on a refusal."""
        name = policy.encode()
        fields = [
            (b"ratelimit-policy", b'"%s";q=%d;w=%d' % (name, self.limit, self.window)),
            (b"ratelimit", b'"%s";r=%d;t=%d' % (name, self.remaining, self.reset)),
        ]
        if not self.allowed:
            fields.append((b"retry-after", b"%d" % self.retry_after))
        return fields


class Limiter:
    """The limits of one process."""

    def __init__(self, redis: RequestRedis) -> None:
        self._redis = redis
        self._local = LocalBuckets()

    async def check(self, key: str, limit: int, window: int) -> Verdict:
        """Take one token of `limit` per `window` seconds. Never raises, and never waits long."""
        try:
            try:
                taken = await self._redis.call("EVALSHA", _SHA, 1, f"rate:{key}", limit, window)
            except NoScriptError:
                taken = await self._redis.call("EVAL", _SCRIPT, 1, f"rate:{key}", limit, window)
        except (RedisUnavailable, ResponseError):
            return self._local.check(key, limit, window)
        return _verdict(limit, window, *taken)


class LocalBuckets:
    """The same buckets in this process's memory; the least recently used are forgotten."""

    def __init__(
        self,
        size: int = MAX_BUCKETS,
        clock: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._size, self._clock = size, clock
        self._full: dict[str, int] = {}

    def check(self, key: str, limit: int, window: int) -> Verdict:
        now = self._clock()
        step = max(window * 1_000_000 // limit, 1)
        full = max(self._full.pop(key, 0), now)
        room = limit * step - (full - now)
        allowed = room >= step
        if allowed:
            full, room = full + step, room - step
        self._full[key] = full
        if len(self._full) > self._size:
            del self._full[next(iter(self._full))]
        wait = 0 if allowed else step - room
        return _verdict(limit, window, allowed, room // step, full - now, wait)

    def give_back(self, key: str, limit: int, window: int) -> None:
        """Return one token that was taken."""
        if key in self._full:
            self._full[key] -= max(window * 1_000_000 // limit, 1)


def _verdict(
    limit: int, window: int, allowed: int, remaining: int, full: int, wait: int
) -> Verdict:
    return Verdict(
        bool(allowed), limit, window, remaining, -(-full // 1_000_000), -(-wait // 1_000_000)
    )

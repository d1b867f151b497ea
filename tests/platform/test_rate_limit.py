from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rytask.platform.rate_limit import Limiter, LocalBuckets, Verdict
from rytask.platform.redis_client import RequestRedis


class Bucket:
    """The textbook token bucket, in exact microseconds: what the limiter must agree with."""

    def __init__(self, limit: int, step: int) -> None:
        self.limit, self.step, self.credit, self.at = limit, step, limit * step, 0

    def take(self, now: int) -> bool:
        self.credit = min(self.limit * self.step, self.credit + now - self.at)
        self.at = now
        if self.credit < self.step:
            return False
        self.credit -= self.step
        return True


@given(
    limit=st.integers(1, 50),
    window=st.integers(1, 120),
    pauses=st.lists(st.integers(0, 5_000_000), max_size=200),
)
def test_a_local_bucket_is_a_token_bucket(limit: int, window: int, pauses: list[int]) -> None:
    now = 1_000_000
    buckets = LocalBuckets(clock=lambda: now)
    oracle = Bucket(limit, max(window * 1_000_000 // limit, 1))
    for pause in pauses:
        now += pause
        allowed = oracle.take(now)
        verdict = buckets.check("a", limit, window)
        assert verdict.allowed == allowed
        assert verdict.remaining == oracle.credit // oracle.step
        if not allowed:
            assert verdict.retry_after == -(-(oracle.step - oracle.credit) // 1_000_000)


@given(limit=st.integers(1, 300), window=st.integers(1, 60))
def test_waiting_as_told_is_always_enough(limit: int, window: int) -> None:
    now = 0
    buckets = LocalBuckets(clock=lambda: now)
    while (refused := buckets.check("a", limit, window)).allowed:
        pass
    now += refused.retry_after * 1_000_000
    assert buckets.check("a", limit, window).allowed
    now += 2 * window * 1_000_000
    assert buckets.check("a", limit, window).remaining == limit - 1


def test_local_buckets_are_bounded_and_forget_the_least_recently_used() -> None:
    buckets = LocalBuckets(size=2, clock=lambda: 0)
    for key in ("a", "b", "a", "c"):
        buckets.check(key, 10, 60)
    assert buckets.check("a", 10, 60).remaining == 7
    assert buckets.check("b", 10, 60).remaining == 9


@pytest.fixture
async def redis(redis_url: str):
    redis = RequestRedis(redis_url, timeout=5)
    yield redis
    await redis.close()


@pytest.mark.parametrize(("limit", "window"), [(5, 3600), (20, 86400), (300, 86400), (7, 86400)])
async def test_all_processes_share_one_bucket(redis_url: str, limit: int, window: int) -> None:
    first, second = RequestRedis(redis_url, timeout=5), RequestRedis(redis_url, timeout=5)
    limiters = [Limiter(first), Limiter(second)]
    key = str(uuid4())
    verdicts = [await limiters[n % 2].check(key, limit, window) for n in range(limit + 2)]
    await first.close()
    await second.close()
    assert [v.allowed for v in verdicts] == [True] * limit + [False] * 2
    assert [v.remaining for v in verdicts] == [*range(limit - 1, -1, -1), 0, 0]
    assert 0 < verdicts[-1].retry_after <= -(-window // limit)
    assert window - 60 < verdicts[-1].reset <= window


async def test_a_bucket_in_redis_ends_by_itself(redis: RequestRedis) -> None:
    key = str(uuid4())
    for _ in range(8):
        await Limiter(redis).check(key, 5, 60)
    assert 0 < await redis.call("PTTL", f"rate:{key}") <= 60_000


async def test_a_redis_that_forgot_the_script_learns_it_again(redis: RequestRedis) -> None:
    key, limiter = str(uuid4()), Limiter(redis)
    await limiter.check(key, 5, 3600)
    await redis.call("SCRIPT", "FLUSH")
    assert (await limiter.check(key, 5, 3600)).remaining == 3


async def test_without_redis_each_process_counts_by_itself() -> None:
    redis = RequestRedis("redis://127.0.0.1:1")
    limiter = Limiter(redis)
    verdicts = [await limiter.check("a", 3, 3600) for _ in range(5)]
    await redis.close()
    assert [v.allowed for v in verdicts] == [True, True, True, False, False]


async def test_a_redis_that_refuses_to_write_stops_nobody(redis: RequestRedis) -> None:
    key = str(uuid4())
    await redis.call("RPUSH", f"rate:{key}", "not a number")
    await redis.call("EXPIRE", f"rate:{key}", 60)
    assert (await Limiter(redis).check(key, 3, 3600)).allowed


def test_headers_say_what_is_left_and_when_to_come_back() -> None:
    allowed = Verdict(True, 300, 60, 299, 30, 0)
    assert allowed.headers() == [
        (b"ratelimit-policy", b'"default";q=300;w=60'),
        (b"ratelimit", b'"default";r=299;t=30'),
    ]
    refused = Verdict(False, 20, 60, 0, 60, 3)
    assert refused.headers("auth")[-1] == (b"retry-after", b"3")

"""The rate of a key over several servers."""

import hashlib
import time

import pytest

from leanrec.integrations.redis import RedisCache
from leanrec.serving.security.api_keys import ApiKey

pytestmark = pytest.mark.system


def make_key(rate: float, name: str = "shop") -> ApiKey:
    return ApiKey(name, hashlib.sha256(b"secret").hexdigest(), "client", rate)


@pytest.fixture
def open_limits():
    opened: list[RedisCache] = []

    def make(url: str, key: ApiKey, n: int = 2, timeout_ms: float = 2_000):
        for _ in range(n):
            cache = RedisCache(url, lambda _: None, lambda _: None, timeout_ms)
            opened.append(cache)
            cache.lists.find(b"nobody", b"")  # which starts the thread
        limits = [cache.limit_rate(key) for cache in opened[-n:]]
        while url and not all(cache.connection.is_connected for cache in opened[-n:]):
            time.sleep(0.005)
        return limits

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize(("rate", "most"), [(200.0, 200), (3.0, 3), (0.5, 1)])
def test_two_servers_give_out_one_rate(server, open_limits, rate: float, most: int) -> None:
    limits = open_limits(server.url, make_key(rate))
    start, n_taken, waits = time.monotonic(), 0, []
    for turn in range(4 * most + 10):
        seconds = limits[turn % 2].take()
        n_taken += not seconds
        waits += [seconds] if seconds else []
    passed = time.monotonic() - start
    assert most - 20 * (most > 20) <= n_taken <= most + rate * passed + 1
    assert all(0 < seconds <= 1 / rate for seconds in waits)


def test_what_one_server_has_used_the_other_has_not(server, open_limits) -> None:
    first, second = open_limits(server.url, make_key(0.01))
    assert first.take() == 0
    assert 50 < second.take() <= 100
    assert 50 < second.take() <= 100  # without another question
    server.client.flushall()  # as at an eviction: the bucket is full again
    assert first.take() == 0


def test_a_token_comes_back_in_time(server, open_limits) -> None:
    first, second = open_limits(server.url, make_key(10.0))
    while not first.take():
        pass
    time.sleep(second.take() + 0.01)
    assert second.take() == 0


def test_other_keys_have_buckets_of_their_own(server, open_limits) -> None:
    (first,), (second,) = (open_limits(server.url, make_key(0.1, name), 1) for name in ("shop", "news"))
    assert first.take() == second.take() == 0
    assert not server.client.keys("*shop*")


def test_without_redis_each_server_has_the_rate_for_itself(own_server, open_limits) -> None:
    limits = open_limits(own_server.url, make_key(0.01), timeout_ms=20)
    own_server.stop()
    start = time.monotonic()
    for limit in limits:
        assert limit.take() == 0
        assert 50 < limit.take() <= 100
    assert time.monotonic() - start < 20  # without a time limit it would wait for ever

"""Lists in Redis: the contract of caches, two servers that share them, and what is in Redis."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts.cache import DATA, KEY, CacheContract, load_pipeline, without_id
from leanrec.errors import UnknownIdError
from leanrec.integrations.redis import RedisCache
from leanrec.pipeline.lists.list_cache import ListCache
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations

pytestmark = pytest.mark.system


def open_cache(url: str, outcomes: list[str] | None = None) -> RedisCache:
    cache = RedisCache(url, (lambda _: None) if outcomes is None else outcomes.append, print, timeout_ms=2_000)
    cache.lists.find(b"nobody", b"")  # which starts the thread
    while not cache.connection.is_connected:
        cache.connection.flush(1)
    return cache


@pytest.fixture
def redis_cache(server):
    outcomes: list[str] = []
    opened = open_cache(server.url, outcomes)
    outcomes.clear()
    opened.outcomes = outcomes
    yield opened
    opened.close()


class TestRedisLists(CacheContract):
    @pytest.fixture
    def make_cache(self, redis_cache):
        def make(pipeline):
            pipeline.share_lists(redis_cache.lists)
            shared, pipeline._shared = pipeline._shared, None  # the tests put and get by themselves
            return shared

        return make

    def settle(self, cache) -> None:
        assert cache.store._connection.flush(10)

    def test_misses_and_errors_are_counted_apart(self, cache, pipeline, redis_cache, server) -> None:
        self.get(cache, pipeline)
        self.put(cache, pipeline)
        self.get(cache, pipeline)
        (key,) = server.client.keys()
        for field in server.client.hkeys(key):
            server.client.hset(key, field, b"\xc1 no list")
        assert self.get(cache, pipeline) is None
        server.client.delete(key)
        server.client.set(key, "of another program")
        assert self.get(cache, pipeline) is None
        assert redis_cache.outcomes == ["miss", "hit", "hit", "damaged", "error"]

    def test_a_list_of_rows_that_are_none_is_damaged(self, cache, pipeline, redis_cache, server) -> None:
        self.put(cache, pipeline)
        (key,) = server.client.keys()
        (field,) = server.client.hkeys(key)
        content = server.client.hget(key, field)
        for wrong in (content[:-3], b"", content.replace(content[2:6], b"\xff\xff\xff\x7f"), content + b"x"):
            server.client.hset(key, field, wrong)
            assert self.get(cache, pipeline) is None

    def test_redis_has_no_ids_of_users_and_no_list_for_long(self, cache, pipeline, server) -> None:
        made = self.put(cache, pipeline)
        (key,) = server.client.keys()
        assert 0 < server.client.ttl(key) <= 60
        server.client.expire(key, 20)
        self.put(cache, pipeline, KEY._replace(n=3))
        assert server.client.ttl(key) <= 20  # the first list becomes no older by the second
        assert made.user.encode() not in key + b"".join(server.client.hgetall(key).values())
        assert server.client.hstrlen(key, server.client.hkeys(key)[0]) < 600
        for n in range(1, 40):
            cache.put(KEY._replace(n=n), pipeline._snapshot, None, made)
        self.settle(cache)
        assert server.client.hlen(key) <= 16

    def test_full_memory_keeps_the_old_lists(self, cache, pipeline, server) -> None:
        made = self.put(cache, pipeline)
        server.client.config_set("maxmemory", 1)
        try:
            self.put(cache, pipeline, KEY._replace(n=3))
            assert without_id(self.get(cache, pipeline)) == without_id(made)
            assert self.get(cache, pipeline, KEY._replace(n=3)) is None
        finally:
            server.client.config_set("maxmemory", 0)


def test_a_forgotten_user_who_comes_again_is_another_one(server, redis_cache, tmp_path) -> None:
    pipeline = load_pipeline(tmp_path)
    pipeline.share_lists(redis_cache.lists)
    user = DATA.users.ids[0]
    pipeline.recommend(user)
    assert redis_cache.connection.flush(10)
    assert server.client.hlen(server.client.keys()[0]) == 1
    assert pipeline.forget_user(user)
    assert redis_cache.connection.flush(10)
    assert server.client.hgetall(server.client.keys()[0]) == {b"": b"1"}
    server.client.flushall()
    pipeline.record_event(user, DATA.items.ids[3].item())
    again = pipeline.recommend(user)
    assert [event.id for event in pipeline.history(user)] == [DATA.items.ids[3].item()]
    assert DATA.items.ids[3].item() not in [item.id for item in again.items]


class TwoServers(RuleBasedStateMachine):
    """Two servers with logs of their own over one cache answer as two without, whatever happens in which order."""

    url: str

    @initialize()
    def start(self) -> None:
        self.caches = [open_cache(self.url) for _ in range(2)]
        self.shared, self.plain = ([load_pipeline(self.folder) for _ in range(2)] for _ in range(2))
        for pipeline, cache in zip(self.shared, self.caches, strict=True):
            pipeline.share_lists(cache.lists)
        for pipeline in (*self.shared, *self.plain):
            pipeline._lists = ListCache(0)  # every list is asked for in Redis

    def teardown(self) -> None:
        for cache in getattr(self, "caches", ()):
            cache.close()

    @rule(
        at=st.integers(0, 1), user=st.integers(0, 9), item=st.integers(0, 14), kind=st.sampled_from(["click", "skip"])
    )
    def record(self, at: int, user: int, item: int, kind: str) -> None:
        for pipeline in (self.shared[at], self.plain[at]):
            pipeline.record_event(f"user-{user}", DATA.items.ids[item].item(), kind)

    @rule(at=st.integers(0, 1), items=st.lists(st.integers(0, 14), min_size=1, max_size=3), hidden=st.booleans())
    def hide(self, at: int, items: list[int], hidden: bool) -> None:
        for pipeline in (self.shared[at], self.plain[at]):
            (pipeline.hide_items if hidden else pipeline.show_items)(DATA.items.ids[items].tolist())

    @rule(at=st.integers(0, 1), user=st.sampled_from([1, 1, 2, 7]))
    def forget(self, at: int, user: int) -> None:
        for pipeline in (self.shared[at], self.plain[at]):
            pipeline.forget_user(f"user-{user}")

    @rule(user=st.integers(0, 1), n=st.sampled_from([3, 15]), seen=st.booleans(), reasons=st.booleans())
    def ask(self, user: int, n: int, seen: bool, reasons: bool) -> None:
        question: dict[str, Any] = {"n": n, "exclude_seen": seen, "reasons": reasons}
        for at in (0, 1, 0):
            shared, plain = (ask(each[at], f"user-{user}", question) for each in (self.shared, self.plain))
            assert shared == plain
            assert self.caches[at].connection.flush(10)

    @invariant()
    def no_list_shows_what_was_acted_on_or_is_hidden(self) -> None:
        for pipeline in getattr(self, "shared", ()):
            for user in ("user-0", "user-7"):
                if not pipeline.find_users(user):
                    continue
                made = pipeline.recommend(user)
                assert not {item.id for item in made.items} & {event.id for event in pipeline.history(user)}
                assert not any(pipeline.is_hidden(item.id) for item in made.items)


def ask(pipeline: Pipeline, user: str, question: dict[str, Any]) -> Recommendations | None:
    """The list, or None for an unknown user."""
    try:
        return without_id(pipeline.recommend(user, **question))
    except UnknownIdError:
        return None


def test_two_servers(shared_server, tmp_path) -> None:
    shared_server.client.flushall()
    machine = type("TwoServersOnce", (TwoServers,), {"url": shared_server.url, "folder": tmp_path})
    case = machine.TestCase()
    case.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
    case.runTest()
    assert shared_server.client.info("stats")["keyspace_hits"] > 50

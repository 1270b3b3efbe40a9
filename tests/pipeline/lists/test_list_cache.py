"""Cached lists: used again for the same snapshot and history only, and never for longer than a minute."""

import dataclasses
import gc
import re
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from conftest import make_dataset
from contracts.cache import CacheContract
from leanrec.models import get_model
from leanrec.pipeline.lists import list_cache
from leanrec.pipeline.lists.list_cache import CacheKey, ListCache
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations

DATA = make_dataset(n_users=8, n_items=15, per_user=5)
KEY = CacheKey(1, 10, exclude_seen=True, reasons=False)


@dataclasses.dataclass(eq=False)
class Version:
    """What a list depends on of a snapshot."""

    basis: object
    shown: None = None


class History:
    """Stands for the history of a user. It is false where it has no events, as a history is."""

    def __len__(self) -> int:
        return 0


class TestListCache(CacheContract):
    @pytest.fixture
    def make_cache(self):
        return lambda _: ListCache(10)


def make_list(name: str) -> Recommendations:
    return Recommendations(name, ())


def test_all_lists_are_dropped_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lists, snapshot = ListCache(1_000), Version(object())
    for user in range(450):
        lists.put(KEY._replace(user=user), snapshot, None, make_list("a"))
    left: list[int] = []
    monkeypatch.setattr(list_cache, "pause", lambda: left.append(len(lists)))
    lists.clear()
    assert left == [250, 50, 0]
    lists.put(KEY, snapshot, None, make_list("b"))
    assert lists.get(KEY, snapshot, None) == make_list("b")


def test_a_list_is_of_one_snapshot_and_one_history() -> None:
    lists, snapshot, history = ListCache(2), Version(object()), History()
    lists.put(KEY, snapshot, history, make_list("a"))
    assert lists.get(KEY, snapshot, history) == make_list("a")
    assert lists.get(KEY, Version(object()), history) is None
    assert lists.get(KEY, snapshot, None) is None
    assert lists.get(KEY._replace(reasons=True), snapshot, history) is None


def test_lists_keep_neither_snapshots_nor_histories() -> None:
    lists = ListCache(100)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    for user in range(50):
        snapshot, history = Version("basis"), History()
        alive |= {snapshot, history}
        lists.put(KEY._replace(user=user), snapshot, history, make_list(str(user)))
    assert len(lists) == 50
    assert set(alive) == {snapshot, history}
    assert lists.get(KEY._replace(user=49), snapshot, history) == make_list("49")


def test_a_list_of_a_history_that_is_gone_is_not_that_of_a_user_without_one() -> None:
    lists, snapshot = ListCache(2), Version(object())
    lists.put(KEY, snapshot, History(), make_list("a"))
    assert lists.get(KEY, snapshot, None) is None
    lists.put(KEY, snapshot, None, make_list("a"))
    assert lists.get(KEY, snapshot, History()) is None
    assert lists.get_old(KEY) == (None, make_list("a"))


def test_updates_of_the_model_keep_no_earlier_snapshot() -> None:
    pipeline = Pipeline.fit(get_model("item_knn")(), DATA)
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    for user in DATA.users.ids.tolist():
        pipeline.record_event(user, DATA.items.ids[0].item())
        pipeline.recommend(user, reasons=False)
        alive.add(pipeline._snapshot)
        pipeline.use_updated(fallback=pipeline.fitted_scorers[1])
    assert len(pipeline._lists) == len(DATA.users)
    gc.collect()
    assert len(alive) <= 1


def test_the_oldest_lists_are_dropped_first() -> None:
    lists, snapshot = ListCache(2), Version(object())
    for user in (1, 2, 1, 3):
        lists.put(KEY._replace(user=user), snapshot, None, make_list(str(user)))
    assert len(lists) == 2
    assert [lists.get(KEY._replace(user=user), snapshot, None) is not None for user in (1, 2, 3)] == [True, False, True]
    none = ListCache(0)
    none.put(KEY, snapshot, None, make_list("a"))
    assert not len(none)


def test_a_list_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(list_cache.time, "monotonic", lambda: now[0])
    lists, snapshot = ListCache(2), Version(object())
    lists.put(KEY, snapshot, None, make_list("a"))
    now[0] += 59
    assert lists.get(KEY, snapshot, None) is not None
    now[0] += 2
    assert lists.get(KEY, snapshot, None) is None


@pytest.mark.parametrize(
    ("made", "seconds"),
    [(make_list("a"), 3.0), (dataclasses.replace(make_list("a"), fallback="popularity"), 0.25)],
)
def test_a_list_lives_on_over_an_update_of_the_model_for_a_while(
    monkeypatch: pytest.MonkeyPatch, made: Recommendations, seconds: float
) -> None:
    now = [100.0]
    monkeypatch.setattr(list_cache.time, "monotonic", lambda: now[0])
    lists, before = ListCache(2), Version("basis")
    lists.put(KEY, before, None, made)
    now[0] += seconds - 0.01
    assert lists.get(KEY, Version("basis"), None) is made
    now[0] += 0.02
    assert lists.get(KEY, Version("basis"), None) is None
    assert lists.get(KEY, before, None) is made


def without_id(recommended: Recommendations) -> Recommendations:
    return dataclasses.replace(recommended, request="")


class CachedAndPlain(RuleBasedStateMachine):
    """A pipeline with a cache answers as one without, whatever happens between two questions."""

    @initialize()
    def fit(self) -> None:
        self.cached, self.plain = (Pipeline.fit(get_model("item_knn")(), DATA) for _ in range(2))
        self.plain._lists = ListCache(0)

    @rule(user=st.integers(0, 9), item=st.integers(0, 14), event_type=st.sampled_from(["click", "skip"]))
    def record(self, user: int, item: int, event_type: str) -> None:
        for pipeline in (self.cached, self.plain):
            pipeline.record_event(f"user-{user}", DATA.items.ids[item].item(), event_type)

    @rule(items=st.lists(st.integers(0, 14), min_size=1, max_size=3), hidden=st.booleans())
    def hide(self, items: list[int], hidden: bool) -> None:
        for pipeline in (self.cached, self.plain):
            change = pipeline.hide_items if hidden else pipeline.show_items
            change(DATA.items.ids[items].tolist())

    @rule(user=st.integers(0, 7), n=st.sampled_from([3, 15]), seen=st.booleans(), reasons=st.booleans())
    def ask(self, user: int, n: int, seen: bool, reasons: bool) -> None:
        question: dict[str, Any] = {"n": n, "exclude_seen": seen, "reasons": reasons}
        kept, plain = (each.recommend(f"user-{user}", **question) for each in (self.cached, self.plain))
        assert without_id(kept) == without_id(plain)
        assert kept.request != self.cached.recommend(f"user-{user}", **question).request

    @invariant()
    def no_list_shows_what_was_acted_on(self) -> None:
        for user in ("user-0", "user-7"):
            shown = {item.id for item in self.cached.recommend(user, reasons=False).items}
            assert not shown & {event.id for event in self.cached.history(user)}

    @invariant()
    def no_list_shows_what_is_hidden(self) -> None:
        hidden = [item for item in DATA.items.ids.tolist() if self.cached.is_hidden(item)]
        lists = [self.cached.recommend(user, n=15) for user in ("user-0", "user-7")]
        lists += [self.cached.recommend(history=[], n=15), self.cached.similar_items(DATA.items.ids[0].item(), 15)]
        assert not {item.id for each in lists for item in each.items} & set(hidden)
        texts = " ".join(reason for each in lists for item in each.items for reason in item.reasons)
        titles = [self.cached.catalog.title(DATA.items.row(item)) for item in hidden]
        assert not any(re.search(rf"\b{re.escape(title)}\b", texts) for title in titles)


TestCachedAndPlain = pytest.mark.slow(CachedAndPlain.TestCase)
TestCachedAndPlain.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_an_array_as_rule_is_no_plain_request() -> None:
    pipeline = Pipeline.fit(get_model("item_knn")(), DATA)
    user, item = DATA.users.ids[0], DATA.items.ids[0].item()
    first = pipeline.recommend(user, n=15)
    denied = pipeline.recommend(user, n=15, deny=np.array([item]))
    assert item not in [each.id for each in denied.items]
    assert without_id(pipeline.recommend(user, n=15)) == without_id(first)

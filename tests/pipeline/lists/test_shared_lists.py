"""Shared lists are found by all that they were made of, and by nothing else."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from contracts.cache import DATA, CacheContract, load_pipeline, without_id
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline


class DictStore:
    """A store in memory."""

    wait_seconds = 0.002

    def __init__(self) -> None:
        self.lists: dict[tuple[bytes, bytes], bytes] = {}
        self.closed: set[bytes] = set()
        self.n_asked = self.n_found = self.n_damaged = 0

    def find(self, user: bytes, field: bytes) -> bytes | None:
        self.n_asked += 1
        found = self.lists.get((user, field))
        self.n_found += found is not None
        return found

    def keep(self, user: bytes, field: bytes, content: bytes) -> None:
        if user not in self.closed:
            self.lists[user, field] = content

    def close_user(self, user: bytes) -> None:
        self.closed.add(user)
        self.lists = {key: content for key, content in self.lists.items() if key[0] != user}

    def note_damage(self) -> None:
        self.n_damaged += 1


class TestSharedLists(CacheContract):
    @pytest.fixture
    def make_cache(self):
        def make(pipeline):
            pipeline.share_lists(DictStore())
            shared, pipeline._shared = pipeline._shared, None
            return shared

        return make

    def test_damage_is_told(self, cache, pipeline) -> None:
        self.put(cache, pipeline)
        store = cache.store
        (key,) = store.lists
        content = store.lists[key]
        for wrong in (b"", content[:-2], content + b"\x00", b"\xc0", content.replace(content[3:5], b"\xff\xff")):
            store.lists[key] = wrong
            assert self.get(cache, pipeline) is None
        assert store.n_damaged == 5


def share(folder, store: DictStore, n: int = 2) -> list[Pipeline]:
    pipelines = [load_pipeline(folder) for _ in range(n)]
    for each in pipelines:
        each.share_lists(store)
    return pipelines


def test_a_list_of_one_server_is_that_of_another(tmp_path) -> None:
    store = DictStore()
    first, second = share(tmp_path, store)
    made = first.recommend("user-3")
    found = second.recommend("user-3")
    assert store.n_found == 1
    assert without_id(found) == without_id(made)
    assert found.request != made.request
    assert second.recommend("user-3").request != found.request
    assert store.n_found == 1  # the second time it is in the cache of the process


def test_the_same_events_give_the_same_list_in_whatever_order_the_types_came(tmp_path) -> None:
    store = DictStore()
    first, second = share(tmp_path, store)
    second.record_event("user-5", DATA.items.ids[0].item(), "skip")  # which gets another code there
    for pipeline in (first, second):
        for item in DATA.items.ids[3:5].tolist():
            pipeline.record_event("new", item, "like")
    made, found = (each.recommend("new") for each in (first, second))
    assert [item.reasons for item in found.items] == [item.reasons for item in made.items]


def test_other_versions_and_policies_share_nothing(tmp_path) -> None:
    store = DictStore()
    (first,) = share(tmp_path, store, 1)
    first.recommend("user-3")
    data = make_dataset(n_users=8, n_items=15, per_user=6)
    Pipeline.fit(get_model("item_knn")(), data).save(tmp_path / "other")
    other = Pipeline.load(tmp_path / "other")
    other.share_lists(store)
    other.recommend("user-3")
    assert store.n_found == 0


def test_lists_that_explore_learn_or_are_simple_are_not_shared(tmp_path) -> None:
    store = DictStore()
    (pipeline,) = share(tmp_path, store, 1)
    pipeline.recommend("user-3", explore=0.5)
    pipeline.recommend("user-3", rung="popular")
    pipeline.recommend("user-3", rung="no_reasons")
    pipeline.recommend("user-3", deny=[DATA.items.ids[0].item()])
    pipeline.recommend("user-4", trace=True)
    assert not store.lists
    assert not store.n_asked
    pipeline.use_updated(fallback=pipeline.fitted_scorers[1])
    pipeline.recommend("user-6")
    learning = load_pipeline(tmp_path)
    learning.start_learning()
    learning.share_lists(store)
    learning.recommend("user-6")
    assert not store.lists
    assert pipeline.list_store is None
    assert learning.list_store is None


def test_a_list_that_is_in_a_hurry_does_not_wait_for_the_store(tmp_path) -> None:
    store = DictStore()
    (pipeline,) = share(tmp_path, store, 1)
    pipeline.recommend("user-5", time_limit_ms=2)
    assert not store.n_asked
    pipeline.recommend("user-6", time_limit_ms=2_000)
    assert store.n_asked


def test_a_pipeline_without_a_version_shares_nothing(tmp_path) -> None:
    with pytest.raises(SettingError, match="loaded"):
        Pipeline.fit(get_model("item_knn")(), DATA).share_lists(DictStore())
    load_pipeline(tmp_path).share_lists(None)


@pytest.mark.parametrize("other", ["order", "content", "same"])
def test_added_items_are_the_same_in_their_order_with_their_content(tmp_path, other: str) -> None:
    names = np.array([f"title {row}" for row in range(15)], np.dtypes.StringDType())
    data = dataclasses.replace(DATA, item_table=Table({"title": names}))
    Pipeline.fit(get_model("content")(), data).save(tmp_path / "model")
    store, pipelines = DictStore(), [Pipeline.load(tmp_path / "model") for _ in range(2)]
    for pipeline, ids, titles in zip(
        pipelines,
        ([200, 201], [201, 200] if other == "order" else [200, 201]),
        (["title 1", "title 2"], ["title 1", "other 2" if other == "content" else "title 2"]),
        strict=True,
    ):
        pipeline.share_lists(store)
        pipeline.add_items(ids, Table({"title": np.array(titles, np.dtypes.StringDType())}))
        pipeline.recommend("user-1", n=17)
    assert store.n_found == (other == "same")

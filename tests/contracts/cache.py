"""What every cache of lists must do, whether it is in the process or shared."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from conftest import make_dataset
from leanrec.models import get_model
from leanrec.pipeline.lists.list_cache import Cache, CacheKey
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations

DATA = make_dataset(n_users=8, n_items=15, per_user=5)
KEY = CacheKey(1, 10, exclude_seen=True, reasons=True)


class CacheContract:
    """A subclass has a fixture ``make_cache``: a pipeline to a cache of its lists. What was put is found after ``settle``."""

    @pytest.fixture
    def pipeline(self, tmp_path) -> Pipeline:
        return load_pipeline(tmp_path)

    @pytest.fixture
    def cache(self, make_cache: Callable[[Pipeline], Cache], pipeline: Pipeline) -> Cache:
        return make_cache(pipeline)

    def settle(self, cache: Any) -> None:
        """Wait until what was put can be found."""

    def put(self, cache: Cache, pipeline: Pipeline, key: CacheKey = KEY) -> Recommendations:
        user = pipeline.histories.external_id(key.user)
        made = pipeline.recommend(user, n=key.n, exclude_seen=key.exclude_seen, reasons=key.reasons)
        cache.put(key, pipeline._snapshot, pipeline.histories.find_recorded(key.user), made)
        self.settle(cache)
        return made

    def get(self, cache: Cache, pipeline: Pipeline, key: CacheKey = KEY) -> Recommendations | None:
        return cache.get(key, pipeline._snapshot, pipeline.histories.find_recorded(key.user))

    def test_a_list_is_found_as_it_was_put(self, cache, pipeline) -> None:
        assert self.get(cache, pipeline) is None
        made = self.put(cache, pipeline)
        assert without_id(self.get(cache, pipeline)) == without_id(made)

    @pytest.mark.parametrize(
        "other", [{"user": 2}, {"n": 9}, {"exclude_seen": False}, {"reasons": False}, {"explore": 0.1}]
    )
    def test_another_question_is_not_answered(self, cache, pipeline, other: dict[str, Any]) -> None:
        self.put(cache, pipeline)
        assert self.get(cache, pipeline, KEY._replace(**other)) is None

    def test_lists_of_several_questions(self, cache, pipeline) -> None:
        keys = [KEY, KEY._replace(n=3), KEY._replace(reasons=False), KEY._replace(user=2)]
        made = [self.put(cache, pipeline, key) for key in keys]
        assert [without_id(self.get(cache, pipeline, key)) for key in keys] == [without_id(each) for each in made]

    def test_no_list_from_before_an_event(self, cache, pipeline) -> None:
        made = self.put(cache, pipeline)
        pipeline.record_event(made.user, made.items[0].id)
        assert self.get(cache, pipeline) is None
        self.put(cache, pipeline)
        assert self.get(cache, pipeline) is not None

    @pytest.mark.parametrize("change", ["hide", "show"])
    def test_no_list_from_before_a_change_of_the_items(self, cache, pipeline, change: str) -> None:
        item = DATA.items.ids[0].item()
        if change == "show":
            pipeline.hide_items([item])
        self.put(cache, pipeline)
        (pipeline.hide_items if change == "hide" else pipeline.show_items)([item])
        assert self.get(cache, pipeline) is None

    def test_a_closed_user_has_no_lists(self, cache, pipeline) -> None:
        self.put(cache, pipeline)
        other = self.put(cache, pipeline, KEY._replace(user=2))
        cache.close_user(KEY.user)
        self.settle(cache)
        assert self.get(cache, pipeline) is None
        self.put(cache, pipeline)  # by a request that was under way
        self.put(cache, pipeline, KEY._replace(n=5))
        assert self.get(cache, pipeline) is None
        assert self.get(cache, pipeline, KEY._replace(n=5)) is None
        assert without_id(self.get(cache, pipeline, KEY._replace(user=2))) == without_id(other)


def load_pipeline(folder: Any) -> Pipeline:
    """A pipeline with a version."""
    path = folder / "model"
    if not path.exists():
        Pipeline.fit(get_model("item_knn")(), DATA).save(path)
    return Pipeline.load(path)


def without_id(recommended: Recommendations | None) -> Recommendations | None:
    return None if recommended is None else dataclasses.replace(recommended, request="")

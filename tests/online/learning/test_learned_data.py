"""Learned data: the same in any order of the events, and the same as indexing the whole log; and limits for each user."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.merge import merge_events
from leanrec.events.user_events import UserEvent, to_events
from leanrec.models import get_model
from leanrec.online.learning.learned_data import LearnedData
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.snapshot import SavedPipeline

START = 1_500_000_000
DATA = make_dataset(12, 10, 4)
MODELS = [get_model(name)().fit(DATA) for name in ("item_knn", "popularity")]

event = st.builds(
    lambda user, item, kind, day, weight, rating: ("", user, item, kind, START + 86_400 * day, weight, rating),
    st.sampled_from([*(f"user-{u}" for u in range(12)), "new-1", "new-2"]),
    st.integers(100, 109),
    st.sampled_from(["rating", "click"]),
    st.integers(0, 120),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([None, 1.0, 4.5]),
)


def make_pipeline() -> Pipeline:
    """A new pipeline over the same fit."""
    model, fallback = MODELS
    return Pipeline(SavedPipeline("item_knn", "popularity", model, fallback, DATA, np.zeros(0, np.int32)))


def to_user_events(values: list[Any]) -> list[UserEvent]:
    return [UserEvent(f"id-{at}", *value[1:]) for at, value in enumerate(values)]


def read(data: Dataset, external: Any) -> list[Any]:
    """The pairs of the data with their weights, by external id, in any order of the new users."""
    X = data.interactions.tocoo()
    user, item = X.coords
    return sorted(zip([external(row) for row in user.tolist()], item.tolist(), X.data.round(4).tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(values=st.lists(event, max_size=25), order=st.randoms(use_true_random=False), n_parts=st.integers(1, 4))
def test_any_order_with_repeats_gives_the_data_of_the_whole_log(values: list[Any], order: Any, n_parts: int) -> None:
    values = list(
        {(value[1], value[2], value[4]): value for value in values}.values()
    )  # equal times keep arrival's order
    events = to_user_events(values)
    wanted = merge_events(DATA, to_events(events)) if events else DATA
    arriving = [*events]
    order.shuffle(arriving)
    pipeline = make_pipeline()
    learned = LearnedData(pipeline, 1_000)
    for part in range(n_parts):
        some = arriving[part::n_parts]
        if some:
            pipeline.record_events(to_events(some), replayed=True)
            pipeline.record_events(to_events(some), replayed=True)  # the store was replayed again
        learned.refresh()
    found = read(learned.data, pipeline.histories.external_id)
    assert found == read(wanted, lambda row: wanted.users.ids[row])
    assert learned.refresh() is None
    counts = get_model("popularity")().fit(learned.data).counts
    np.testing.assert_array_equal(counts, get_model("popularity")().fit(wanted).counts)


def click(n: int, user: str = "user-1", item: int = 103, weight: float = 1.0) -> list[UserEvent]:
    return [UserEvent(f"{user}-{at}", user, item, "click", START + 10_000_000 + at, weight) for at in range(n)]


def test_tells_the_items_whose_users_have_changed() -> None:
    pipeline = make_pipeline()
    learned = LearnedData(pipeline, 1_000)
    assert learned.refresh() is None
    pipeline.record_events(to_events([*click(2, "new"), *click(1, "user-2", 107)]))
    assert learned.refresh().tolist() == [3, 7]  # type: ignore[union-attr]  # something has changed
    assert learned.refresh() is None


def test_of_a_user_with_too_many_events_only_the_fit_is_known() -> None:
    pipeline = make_pipeline()
    learned = LearnedData(pipeline, 5)
    pipeline.record_events(to_events(click(5)))
    learned.refresh()
    assert learned.data.interactions[[1]].sum() > DATA.interactions[[1]].sum()
    pipeline.record_events(to_events(click(6, "user-2", 104)[5:]))
    pipeline.record_events(to_events(click(6)[5:]))
    learned.refresh()
    np.testing.assert_array_equal(learned.data.interactions[[1]].toarray(), DATA.interactions[[1]].toarray())
    assert pipeline.recommend("user-1", n=3).items  # the own lists follow all events
    assert len(pipeline.history("user-1")) == 10


def test_no_event_weighs_more_than_the_heaviest_of_the_fit() -> None:
    pipeline = make_pipeline()
    learned = LearnedData(pipeline, 1_000)
    pipeline.record_events(to_events(click(1, "new", weight=1e6)))
    learned.refresh()
    assert learned.data.interactions.max() == DATA.interactions.max()


def test_nothing_of_a_forgotten_user_is_left() -> None:
    pipeline = make_pipeline()
    learned = LearnedData(pipeline, 1_000)
    pipeline.record_events(to_events([*click(3, "new"), *click(2, "user-3")]))
    learned.refresh()
    pipeline.forget_user("new")
    pipeline.forget_user("user-3")
    changed = learned.refresh()
    assert changed is not None
    assert 3 in changed
    assert learned.data.interactions[[3, 12]].nnz == 0
    others = [row for row in range(12) if row != 3]
    np.testing.assert_array_equal(learned.data.interactions[others].toarray(), DATA.interactions[others].toarray())


@pytest.mark.parametrize("times", [1, 2])
def test_a_saved_pipeline_teaches_what_was_recorded_before(tmp_path: Any, times: int) -> None:
    pipeline = make_pipeline()
    pipeline.record_events(to_events([*click(3, "new"), *click(2, "user-3")]))
    for number in range(times):
        pipeline.save(tmp_path / str(number))
        pipeline = Pipeline.load(tmp_path / str(number))
    learned = LearnedData(pipeline, 1_000)
    assert learned.refresh() is not None
    assert learned.data.interactions.nnz == learned.data.seen.nnz
    assert {3} <= set(learned.data.interactions[[12]].indices.tolist())

"""The laws of a model that follows a log which has grown. Add ``UpdatableContract`` to the tests of such a model."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import concat_events
from contracts.fitting import fit_once
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.protocols import Extendable, Scorer, Updatable
from leanrec.run import Run
from leanrec.types import Events

_RUN = Run(seed=3, threads=1)


def grow(data: Dataset, seed: int, n_events: int = 30, *, n_new_users: int = 3, n_new_items: int = 2) -> Dataset:
    """The data with events of old and new users on old and new items: ratings that replace others, clicks, and repeats."""
    rng = np.random.default_rng(seed)
    n_users, n_items = len(data.users) + n_new_users, len(data.items) + n_new_items
    start = data.events.time.min()
    new = Events(
        user=rng.integers(0, n_users, n_events).astype(np.int32),
        item=rng.integers(0, n_items, n_events).astype(np.int32),
        time=start + rng.integers(0, 101, n_events) * 86_400,  # early ones arrive late
        event_type=np.zeros(n_events, np.int8),
        weight=rng.choice([0.0, 1.0, 3.0], n_events, p=[0.2, 0.6, 0.2]).astype(np.float32),
        rating=rng.choice([np.nan, 1.0, 4.5], n_events).astype(np.float32),
        event_types=("rating",),
    )
    table = data.item_table
    larger = dataclasses.replace(
        data,
        users=Vocabulary(np.arange(n_users), "user"),
        items=Vocabulary(np.arange(n_items), "item"),
        item_table=None if table is None else table.pad_to(n_items),
    )
    return larger.with_events(concat_events(data.events, new))


def find_changed(before: Dataset, after: Dataset) -> np.ndarray:
    """Rows of the items whose users or weights differ."""
    n_users, n_items = before.interactions.shape
    is_new = np.ones(after.interactions.shape, np.bool_)
    is_new[:n_users, :n_items] = before.interactions.toarray() != after.interactions.toarray()[:n_users, :n_items]
    is_new[n_users:] = after.interactions.toarray()[n_users:] > 0
    return np.flatnonzero(is_new.any(axis=0)).astype(np.int32)


class UpdatableContract:
    """Set ``estimator``. A model that differs from a fit on the same data sets ``equals_fit`` to False, and tests what it is."""

    estimator: ClassVar[Any]
    equals_fit: ClassVar[bool] = True
    # Whether the model can leave out the items without new events.
    follows_items: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def small(cls) -> Dataset:
        return make_dataset(25, 20, 6)

    @pytest.mark.parametrize("seed", range(5))
    def test_an_update_is_a_fit_on_the_grown_log(self, small: Dataset, seed: int) -> None:
        model, grown = fit_once(self.estimator, small, _RUN), grow(small, seed)
        updated = model.update(grown, run=_RUN)
        assert updated.n_items == len(grown.items)
        if self.equals_fit:
            wanted = self.estimator.fit(grown, _RUN).score(grown.queries())
            np.testing.assert_allclose(updated.score(grown.queries()), wanted, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("seed", range(5))
    def test_changed_items_are_scored_as_by_a_whole_update(self, small: Dataset, seed: int) -> None:
        model, grown = fit_once(self.estimator, small, _RUN), grow(small, seed)
        changed = find_changed(small, grown)
        found = model.update(grown, changed, _RUN).score(grown.queries())
        wanted = model.update(grown, run=_RUN).score(grown.queries())
        assert found.shape == wanted.shape
        if self.equals_fit:
            compared: Any = changed if self.follows_items else slice(None)
            np.testing.assert_allclose(found[:, compared], wanted[:, compared], rtol=1e-5, atol=1e-5)

    def test_an_update_leaves_the_old_model_as_it_is(self, small: Dataset) -> None:
        model, grown = fit_once(self.estimator, small, _RUN), grow(small, 1)
        assert isinstance(model, Updatable)
        assert isinstance(model, Scorer)
        before = model.score(small.queries()).copy()
        model.update(grown, find_changed(small, grown), _RUN)
        model.update(grown, run=_RUN)
        np.testing.assert_array_equal(model.score(small.queries()), before)

    def test_a_new_item_is_scored_after_it_was_added_and_used(self, small: Dataset) -> None:
        model = fit_once(self.estimator, small, _RUN)
        if isinstance(model, Extendable):
            assert small.item_table is not None
            model = model.extend(small.item_table.take(np.zeros(2, np.intp)))
        grown = grow(small, 2, 200)
        scores = model.update(grown, find_changed(small, grown), _RUN).score(grown.queries())
        assert scores[:, -2:].any()

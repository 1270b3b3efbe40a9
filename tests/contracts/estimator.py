"""What every estimator and its scorer must do. A model's test subclasses ``EstimatorContract``."""

import contextlib
import dataclasses
import tracemalloc
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.errors import BudgetError, DataError
from leanrec.kernels.topk.selection import top_k
from leanrec.protocols import Embedder, Estimator, Explainable, Extendable, Scorer, SparseScorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.training.config import Training
from leanrec.types import CSR, Events, Queries, empty_csr

# Settings that say how many of something a model keeps.
_SIZES = ("width", "k", "neighbours", "top", "factors", "rank", "pool")


def joined(first: Events, second: Events) -> Events:
    """The events of both."""
    columns, others = first.columns(), second.columns()
    both: dict[str, Any] = {name: np.concatenate([columns[name], others[name]]) for name in columns}
    return dataclasses.replace(first, **both)


def wide(matrix: CSR) -> CSR:
    """The same matrix with indices of 64 bits."""
    copy = matrix.copy()
    copy.indices, copy.indptr = copy.indices.astype(np.int64), copy.indptr.astype(np.int64)
    return copy


class EstimatorContract:
    """Subclass it as ``TestEASE`` and set ``estimator``; switch a property off only where the model's paper does."""

    estimator: ClassVar[Any]
    # Recall@10 of leave-last-out on the made data that the model must beat; popularity gets about 0.3.
    at_least: ClassVar[float] = 0.4
    # Whether two users with different histories get different scores.
    personal: ClassVar[bool] = True
    # Slack of the memory estimate on tiny data, where fixed costs dominate.
    fit_slack: ClassVar[int] = 8 * 2**20

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, dataset: Dataset) -> Any:
        return cls.estimator.fit(dataset, Run(seed=3, threads=1))

    def test_is_a_frozen_dataclass_of_settings(self) -> None:
        assert isinstance(self.estimator, Estimator)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(
                self.estimator,
                dataclasses.fields(self.estimator)[0].name if dataclasses.fields(self.estimator) else "x",
                1,
            )
        assert dataclasses.replace(self.estimator) == self.estimator

    def test_scores_every_item_for_every_asker(self, model: Any, dataset: Dataset) -> None:
        assert isinstance(model, Scorer)
        assert model.n_items == len(dataset.items)
        scores = model.score(dataset.queries())
        assert scores.shape == (len(dataset.users), len(dataset.items))
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_scores_chosen_items_as_in_the_full_row(self, model: Any, dataset: Dataset) -> None:
        queries = dataset.queries(np.arange(5, dtype=np.int32))
        full = model.score(queries)
        chosen = np.array([3, 0, 7], dtype=np.int32)
        np.testing.assert_allclose(model.score(queries, chosen), full[:, chosen], rtol=1e-4, atol=1e-5)
        each = np.stack([(chosen + b) % model.n_items for b in range(5)]).astype(np.int32)
        np.testing.assert_allclose(model.score(queries, each), np.take_along_axis(full, each, 1), rtol=1e-4, atol=1e-5)

    def test_one_query_scores_as_in_a_batch(self, model: Any, dataset: Dataset) -> None:
        queries = dataset.queries()
        np.testing.assert_allclose(model.score(queries.block(4, 5))[0], model.score(queries)[4], rtol=1e-3, atol=1e-4)

    def test_no_query_gives_no_row(self, model: Any, dataset: Dataset) -> None:
        assert model.score(dataset.queries().block(0, 0)).shape == (0, model.n_items)

    def test_answers_a_new_user_from_a_history(self, model: Any, dataset: Dataset) -> None:
        history = dataset.interactions[[0, 1]]
        queries = Queries(
            users=np.array([-1, -1], np.int32),
            history=history,
            ratings=None if dataset.ratings is None else dataset.ratings[[0, 1]],
        )
        scores = model.score(queries)
        assert np.isfinite(scores).all()
        if self.personal:
            assert not np.allclose(scores[0], scores[1])

    def test_empty_history_falls_back_and_says_so(self, model: Any) -> None:
        nobody = Queries(users=np.array([-1], np.int32), history=empty_csr(1, model.n_items))
        scores = model.score(nobody)
        assert np.isfinite(scores).all()
        fallback = _ByIndex(model.n_items)
        candidates = ExactRetriever(model, fallback=fallback).retrieve(nobody, 5)
        assert (candidates.items >= 0).all()
        if self.personal:
            assert candidates.fallback is not None
            assert candidates.fallback[0]
            assert candidates.items[0].tolist() == [0, 1, 2, 3, 4]

    def test_lists_hold_nothing_seen(self, model: Any, dataset: Dataset) -> None:
        queries = dataset.queries()
        candidates = ExactRetriever(model).retrieve(queries, model.n_items)
        for user in range(0, len(queries), 7):
            shown = set(candidates.items[user].tolist()) - {-1}
            seen = set(dataset.seen[[user]].indices.tolist())
            assert not shown & seen
            assert len(shown | seen) == model.n_items

    def test_finds_what_was_left_out(self, dataset: Dataset) -> None:
        last = dataset.indptr[1:] - 1
        train = dataset.with_events(dataset.events.take(np.delete(np.arange(len(dataset.events)), last)))
        model = self.estimator.fit(train, Run(seed=3, threads=1))
        items = ExactRetriever(model).retrieve(train.queries(), 10).items
        hit = (items == dataset.events.item[last][:, None]).any(axis=1).mean()
        assert hit >= self.at_least, f"Recall@10 is {hit:.3f}"

    def test_same_seed_same_model(self, model: Any, dataset: Dataset) -> None:
        again = self.estimator.fit(dataset, Run(seed=3, threads=1))
        np.testing.assert_array_equal(model.score(dataset.queries()), again.score(dataset.queries()))

    def test_survives_saving(self, model: Any, dataset: Dataset, tmp_path: Any) -> None:
        loaded = artifacts.load(artifacts.save(model, tmp_path / "model"), type(model))
        np.testing.assert_array_equal(loaded.score(dataset.queries()), model.score(dataset.queries()))
        assert loaded.settings == self.estimator

    def test_tells_its_memory_beforehand(self, dataset: Dataset) -> None:
        tracemalloc.start()
        self.estimator.fit(dataset, Run(threads=1))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= self.estimator.fit_bytes(dataset.shape) + self.fit_slack

    def test_refuses_what_would_not_fit(self, dataset: Dataset) -> None:
        if self.estimator.fit_bytes(dataset.shape) < 2:
            return
        with pytest.raises(BudgetError, match="memory"):
            self.estimator.fit(dataset, Run(memory=1))

    def test_embeddings_obey_the_law_of_the_dot_product(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Embedder):
            queries = dataset.queries()
            product = model.embed_queries(queries) @ model.embed_items().T
            np.testing.assert_allclose(product, model.score(queries), rtol=1e-3, atol=1e-4)

    def test_sparse_scores_obey_the_law_of_the_product(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, SparseScorer) and (weights := model.item_weights()) is not None:
            queries = dataset.queries()
            profile = model.profile(queries)
            assert profile.dtype == weights.dtype == np.float32
            assert profile.has_canonical_format
            # Wide indices would be copied at every request.
            assert weights.indices.dtype == profile.indices.dtype == np.int32
            scores = model.score(queries)
            np.testing.assert_allclose((profile @ weights).toarray(), scores, rtol=1e-4, atol=1e-5)
            lists = ExactRetriever(model).retrieve(queries, model.n_items)
            items, best = top_k(scores, model.n_items, seen=queries.seen)
            np.testing.assert_array_equal(lists.items, items)
            np.testing.assert_array_equal(lists.scores, best)
            nobody = Queries(users=np.array([-1], np.int32), history=empty_csr(1, model.n_items))
            assert not model.profile(nobody).nnz

    def test_explains(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Explainable):
            explanation = model.explain(dataset.queries().block(0, 1), 3)
            assert len(explanation.items) == len(explanation.weights)
            assert (np.diff(explanation.weights) <= 1e-6).all()
            assert set(explanation.items.tolist()) <= set(dataset.seen[[0]].indices.tolist())

    def test_an_item_nobody_touched_and_somebody_who_touched_all(self, dataset: Dataset) -> None:
        first = dataset.events.take(np.zeros(len(dataset.items), np.int64))
        everything = np.arange(len(dataset.items), dtype=np.int32)
        events = joined(dataset.events, dataclasses.replace(first, item=everything))
        data = dataset.with_events(events.take(events.item != 3))
        self._answers(data)
        lists = ExactRetriever(self.estimator.fit(data, Run(threads=1))).retrieve(
            data.queries(np.zeros(1, np.int32)), 5
        )
        assert set(lists.items[0].tolist()) <= {3, -1}

    def test_duplicate_events_add_up(self, dataset: Dataset) -> None:
        half = dataclasses.replace(dataset.events, weight=dataset.events.weight / 2)
        self._answers(twice := dataset.with_events(joined(half, half)))
        np.testing.assert_array_equal(twice.interactions.toarray(), dataset.interactions.toarray())

    def test_events_of_no_or_negative_weight_are_no_liking(self, model: Any, dataset: Dataset) -> None:
        nothing = dataset.events.take(np.arange(30))
        nothing = dataclasses.replace(
            nothing,
            item=(nothing.item + 1) % len(dataset.items),
            weight=-(np.arange(30) % 2).astype(np.float32),
            value=np.full(30, np.nan, np.float32),
        )
        data = dataset.with_events(joined(dataset.events, nothing))
        np.testing.assert_array_equal(data.interactions.toarray(), dataset.interactions.toarray())
        scores = self._answers(data)
        np.testing.assert_allclose(scores, model.score(dataset.queries()), rtol=1e-3, atol=1e-4)

    @pytest.mark.filterwarnings("ignore:.*nothing to train on")
    def test_nobody_touched_anything(self, dataset: Dataset) -> None:
        # A model of ratings says that there are none.
        with contextlib.suppress(DataError):
            self._answers(dataset.with_events(dataset.events.take(np.zeros(0, np.int64))))

    @pytest.mark.filterwarnings("ignore:.*nothing to train on")
    def test_one_event_is_all_there_is(self, dataset: Dataset) -> None:
        self._answers(dataset.with_events(dataset.events.take(np.array([5]))))

    def test_sizes_above_the_number_of_items(self, dataset: Dataset) -> None:
        names = {field.name for field in dataclasses.fields(self.estimator)}
        sizes = {name: 3 * len(dataset.items) for name in _SIZES if name in names and getattr(self.estimator, name)}
        self._answers(dataset, dataclasses.replace(self.estimator, **sizes))

    def test_a_list_of_no_places(self, model: Any, dataset: Dataset) -> None:
        lists = ExactRetriever(model).retrieve(dataset.queries(), 0)
        assert lists.items.shape == lists.scores.shape == (len(dataset.users), 0)

    def test_wide_indices_make_no_difference(self, model: Any, dataset: Dataset) -> None:
        """SciPy stores more than 2³¹ entries under indices of 64 bits."""
        data = dataset.with_events(dataset.events)
        vars(data)["interactions"] = wide(data.interactions)
        if data.ratings is not None:
            vars(data)["ratings"] = wide(data.ratings)
        scores = self._answers(data, run=Run(seed=3, threads=1))
        np.testing.assert_array_equal(scores, model.score(dataset.queries()))

    def _answers(self, data: Dataset, estimator: Any = None, run: Run | None = None) -> np.ndarray:
        """A fit on odd data gives finite scores and lists without a seen item; (U, N) the scores."""
        # On a busy machine the threads of torch wait for each other at every one of many small steps.
        usual = Run(seed=3, threads=1 if isinstance(self.estimator, Training) else 0)
        model = (estimator or self.estimator).fit(data, run or usual)
        queries = data.queries()
        queries = dataclasses.replace(queries, history=data.interactions[queries.users])
        scores = model.score(queries)
        assert np.isfinite(scores).all()
        lists = ExactRetriever(model).retrieve(queries, 5).items
        rows = np.repeat(np.arange(len(lists)), 5)[lists.ravel() >= 0]
        shown = sp.csr_array((np.ones(len(rows)), (rows, lists[lists >= 0])), shape=data.seen.shape)
        assert not (shown * data.seen).nnz
        return np.asarray(scores)

    def test_takes_in_new_items(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Extendable):
            assert dataset.item_table is not None
            larger = model.extend(dataset.item_table.take(np.array([0, 5])))
            assert larger.n_items == model.n_items + 2
            history = sp.csr_array((np.ones(1, np.float32), ([0], [1])), shape=(1, larger.n_items))
            scores = larger.score(Queries(users=np.array([-1], np.int32), history=history))
            assert scores.shape == (1, larger.n_items)
            # The new item is the twin of item 0 / 5 in content, so the user of a content model cannot tell them apart.
            assert np.isfinite(scores).all()


@dataclasses.dataclass(frozen=True)
class _ByIndex:
    """A fallback whose lists are 0, 1, 2 …"""

    n_items: int

    def score(self, queries: Queries, items: Any = None) -> np.ndarray:
        scores = np.broadcast_to(-np.arange(self.n_items, dtype=np.float32), (len(queries), self.n_items))
        return scores if items is None else scores[:, items]

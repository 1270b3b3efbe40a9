"""The laws of every estimator and its model. A model's tests subclass ``EstimatorContract`` and ``OddDataContract``.

``EstimatorContract`` holds for every variant of a model. ``OddDataContract`` fits a model on unusual data six times
over, so of variants that differ in their settings alone one is enough.
"""

import contextlib
import dataclasses
import re
import tracemalloc
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import GENRES, STRINGS, make_dataset
from contracts.fitting import fit_once
from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.links import UserLinks
from leanrec.data.table import Table
from leanrec.data.vocabulary import id_array
from leanrec.errors import BudgetError, DataError
from leanrec.kernels.topk.selection import top_k
from leanrec.models import find_info
from leanrec.protocols import Embedder, Estimator, Explainable, Extendable, Scorer, SparseScorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.training.config import TrainingSettings
from leanrec.types import CSR, Events, Queries, empty_csr

# Settings that are a number of things a model keeps: dimensions, neighbors, components.
_SIZES = ("embedding_dim", "n_components", "n_neighbors", "n_candidates", "top_k", "rank")
# Settings that say how long a model is trained.
_LENGTHS = ("epochs", "n_steps")
_RUN = Run(seed=3, threads=1)
# Sums in the order of the threads show with two of them only.
_TWO_THREADS = Run(seed=3, threads=2)


def concat_events(first: Events, second: Events) -> Events:
    """The events of both."""
    columns, others = first.columns(), second.columns()
    both: dict[str, Any] = {name: np.concatenate([columns[name], others[name]]) for name in columns}
    return dataclasses.replace(first, **both)


def add_people(data: Dataset) -> Dataset:
    """The data with a user table and links between users of one taste, and with one more user, who has no event."""
    n = len(data.users) + 1
    users = data.users.with_ids(id_array([f"user-{n - 1}"]))
    table = Table({"taste": np.array([GENRES[u % 4] for u in range(n)], STRINGS)})
    links = UserLinks.from_pairs((users.ids[u], users.ids[(u + 4) % (n - 1)]) for u in range(n))
    return dataclasses.replace(data, users=users, user_table=table, user_links=links)


def with_int64_indices(matrix: CSR) -> CSR:
    """The same matrix with indices of 64 bits."""
    copy = matrix.copy()
    copy.indices, copy.indptr = copy.indices.astype(np.int64), copy.indptr.astype(np.int64)
    return copy


class _FittedModel:
    """The estimator under test and its model of the shared data set."""

    estimator: ClassVar[Any]
    run: ClassVar[Run] = _RUN

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if isinstance(getattr(cls, "estimator", None), TrainingSettings):
            cls.run = _TWO_THREADS

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, dataset: Dataset) -> Any:
        return fit_once(cls.estimator, dataset, cls.run)

    @classmethod
    def shorten(cls) -> Any:
        """The estimator with two epochs or steps of training at most, for laws that are broken at the first step or never."""
        lengths = {name: min(getattr(cls.estimator, name), 2) for name in _LENGTHS if hasattr(cls.estimator, name)}
        return dataclasses.replace(cls.estimator, **lengths)


class EstimatorContract(_FittedModel):
    """Subclass it as ``TestEASE`` and set ``estimator``; change a limit only where the model's paper gives a reason."""

    # Recall@10 of leave-last-out on the made data that the model must reach; popularity gets about 0.3.
    min_recall: ClassVar[float] = 0.4
    # Whether two users with different histories get different scores.
    personalized: ClassVar[bool] = True
    # Slack of the memory estimate on tiny data, where fixed costs dominate.
    memory_slack: ClassVar[int] = 8 * 2**20

    @pytest.fixture(scope="class")
    @classmethod
    def second_fit(cls, dataset: Dataset) -> tuple[Any, int]:
        """Another model of the same data, seed and settings, and the peak of traced memory of its fit in bytes."""
        tracemalloc.start()
        try:
            model = cls.estimator.fit(dataset, cls.run)
            return model, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_is_a_frozen_dataclass_of_settings(self) -> None:
        assert isinstance(self.estimator, Estimator)
        fields = dataclasses.fields(self.estimator)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(self.estimator, fields[0].name if fields else "x", 1)
        assert dataclasses.replace(self.estimator) == self.estimator

    def test_scores_every_item_for_every_user(self, model: Any, dataset: Dataset) -> None:
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

    def test_scores_a_new_user_from_a_history(self, model: Any, dataset: Dataset) -> None:
        history = dataset.interactions[[0, 1]]
        queries = Queries(
            users=np.array([-1, -1], np.int32),
            history=history,
            ratings=None if dataset.ratings is None else dataset.ratings[[0, 1]],
        )
        scores = model.score(queries)
        assert np.isfinite(scores).all()
        if self.personalized:
            assert not np.allclose(scores[0], scores[1])

    def test_empty_history_uses_the_fallback_and_reports_it(self, model: Any) -> None:
        new_user = Queries(users=np.array([-1], np.int32), history=empty_csr(1, model.n_items))
        scores = model.score(new_user)
        assert np.isfinite(scores).all()
        fallback = _ByIndex(model.n_items)
        candidates = ExactRetriever(model, fallback=fallback).retrieve(new_user, 5)
        assert (candidates.items >= 0).all()
        if self.personalized:
            assert candidates.fallback is not None
            assert candidates.fallback[0]
            assert candidates.items[0].tolist() == [0, 1, 2, 3, 4]

    def test_recommends_no_seen_item_and_every_other(self, model: Any, dataset: Dataset) -> None:
        queries = dataset.queries()
        candidates = ExactRetriever(model).retrieve(queries, model.n_items)
        for user in range(0, len(queries), 7):
            recommended = set(candidates.items[user].tolist()) - {-1}
            seen = set(dataset.seen[[user]].indices.tolist())
            assert not recommended & seen
            assert len(recommended | seen) == model.n_items

    def test_finds_the_held_out_item(self, dataset: Dataset) -> None:
        last = dataset.indptr[1:] - 1
        train = dataset.with_events(dataset.events.take(np.delete(np.arange(len(dataset.events)), last)))
        model = fit_once(self.estimator, train, _RUN)
        items = ExactRetriever(model).retrieve(train.queries(), 10).items
        hit = (items == dataset.events.item[last][:, None]).any(axis=1).mean()
        assert hit >= self.min_recall, f"Recall@10 is {hit:.3f}"

    def test_same_seed_same_model(self, model: Any, second_fit: tuple[Any, int], dataset: Dataset) -> None:
        again, _ = second_fit
        np.testing.assert_array_equal(model.score(dataset.queries()), again.score(dataset.queries()))

    def test_survives_saving(self, model: Any, dataset: Dataset, tmp_path: Any) -> None:
        loaded = artifacts.load(artifacts.save(model, tmp_path / "model"), type(model))
        np.testing.assert_array_equal(loaded.score(dataset.queries()), model.score(dataset.queries()))
        assert loaded.settings == self.estimator

    def test_estimates_the_memory_of_its_fit(self, second_fit: tuple[Any, int], dataset: Dataset) -> None:
        _, peak = second_fit
        assert peak <= self.estimator.fit_bytes(dataset.shape) + self.memory_slack

    def test_refuses_a_fit_that_exceeds_the_memory(self, dataset: Dataset) -> None:
        if self.estimator.fit_bytes(dataset.shape) < 2:
            return
        with pytest.raises(BudgetError, match="memory") as refusal:
            self.estimator.fit(dataset, Run(budget=Budget(memory=1)))
        large = DatasetShape(10**6, 10**6, 10**8)
        for name in re.findall(r"[a-z]+(?:_[a-z]+)+", str(refusal.value).rpartition("available.")[2]):
            # SLIM without a limit on the neighbors advises one.
            size = getattr(self.estimator, name) // 2 or 100
            changed = dataclasses.replace(self.estimator, **{name: size})
            assert changed.fit_bytes(large) < self.estimator.fit_bytes(large), name

    def test_embeddings_multiply_to_the_scores(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Embedder):
            queries = dataset.queries()
            product = model.embed_queries(queries) @ model.embed_items().T
            np.testing.assert_allclose(product, model.score(queries), rtol=1e-3, atol=1e-4)

    def test_sparse_profile_and_weights_multiply_to_the_scores(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, SparseScorer) and (weights := model.item_weights()) is not None:
            queries = dataset.queries()
            profile = model.profile(queries)
            assert profile.dtype == weights.dtype == np.float32
            assert profile.has_canonical_format
            # Indices of 64 bits would be copied at every request.
            assert weights.indices.dtype == profile.indices.dtype == np.int32
            scores = model.score(queries)
            np.testing.assert_allclose((profile @ weights).toarray(), scores, rtol=1e-4, atol=1e-5)
            candidates = ExactRetriever(model).retrieve(queries, model.n_items)
            items, best = top_k(scores, model.n_items, seen=queries.seen)
            np.testing.assert_array_equal(candidates.items, items)
            np.testing.assert_array_equal(candidates.scores, best)
            new_user = Queries(users=np.array([-1], np.int32), history=empty_csr(1, model.n_items))
            assert not model.profile(new_user).nnz

    def test_explains_a_score_by_items_of_the_history(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Explainable):
            explanation = model.explain(dataset.queries().block(0, 1), np.array([3]))[0]
            assert len(explanation.items) == len(explanation.weights)
            assert (np.diff(explanation.weights) <= 1e-6).all()
            assert set(explanation.items.tolist()) <= set(dataset.seen[[0]].indices.tolist())

    def test_explains_a_list_as_it_explains_each_item(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Explainable):
            query = dataset.queries().block(1, 2)
            items = np.array([3, 0, model.n_items - 1, 3, 7], np.int32)
            together = model.explain(query, items)
            for item, found in zip(items, together, strict=True):
                (alone,) = model.explain(query, np.array([item]))
                assert (found.reason, found.features, len(found.paths)) == (
                    alone.reason, alone.features, len(alone.paths)
                )  # fmt: skip
                weights = dict(zip(alone.items.tolist(), alone.weights.tolist(), strict=True))
                expected = [weights[each] for each in found.items.tolist()]
                np.testing.assert_allclose(found.weights, expected, rtol=1e-3, atol=1e-5)
            for first, found in zip(model.explain(query, items, top_k=2), together, strict=True):
                np.testing.assert_allclose(first.weights, found.weights[:2], rtol=1e-3, atol=1e-5)
                assert (first.reason, first.features, first.paths) == (found.reason, found.features, found.paths)
            assert not model.explain(query, items[:0])

    def test_explains_nothing_by_an_empty_history(self, model: Any) -> None:
        if isinstance(model, Explainable):
            new_user = Queries(users=np.array([-1], np.int32), history=empty_csr(1, model.n_items))
            assert [len(each.items) for each in model.explain(new_user, np.array([3, 0]))] == [0, 0]

    def test_a_list_of_length_zero(self, model: Any, dataset: Dataset) -> None:
        candidates = ExactRetriever(model).retrieve(dataset.queries(), 0)
        assert candidates.items.shape == candidates.scores.shape == (len(dataset.users), 0)

    def test_extends_to_new_items(self, model: Any, dataset: Dataset) -> None:
        if isinstance(model, Extendable):
            assert dataset.item_table is not None
            larger = model.extend(dataset.item_table.take(np.array([0, 5])))
            assert larger.n_items == model.n_items + 2
            history = sp.csr_array((np.ones(1, np.float32), ([0], [1])), shape=(1, larger.n_items))
            scores = larger.score(Queries(users=np.array([-1], np.int32), history=history))
            assert scores.shape == (1, larger.n_items)
            assert np.isfinite(scores).all()


class OddDataContract(_FittedModel):
    """Add it to the class of one variant of each model: ``class TestEASE(EstimatorContract, OddDataContract)``."""

    def test_an_item_without_events_and_a_user_who_saw_the_others(self, dataset: Dataset) -> None:
        first = dataset.events.take(np.zeros(len(dataset.items), np.int64))
        everything = np.arange(len(dataset.items), dtype=np.int32)
        events = concat_events(dataset.events, dataclasses.replace(first, item=everything))
        data = dataset.with_events(events.take(events.item != 3))
        model, _ = self._check_fit(data)
        candidates = ExactRetriever(model).retrieve(data.queries(np.zeros(1, np.int32)), 5)
        assert set(candidates.items[0].tolist()) <= {3, -1}

    def test_duplicate_events_add_up(self, dataset: Dataset) -> None:
        half = dataclasses.replace(dataset.events, weight=dataset.events.weight / 2)
        # Of two ratings the last one would replace the first.
        unrated = dataclasses.replace(half, rating=np.full(len(half), np.nan, np.float32))
        twice = dataset.with_events(concat_events(half, unrated))
        self._check_fit(twice)
        np.testing.assert_array_equal(twice.interactions.toarray(), dataset.interactions.toarray())

    def test_events_of_zero_or_negative_weight_are_no_interactions(self, dataset: Dataset) -> None:
        ignored = dataset.events.take(np.arange(30))
        ignored = dataclasses.replace(
            ignored,
            item=(ignored.item + 1) % len(dataset.items),
            weight=-(np.arange(30) % 2).astype(np.float32),
            rating=np.full(30, np.nan, np.float32),
        )
        data = dataset.with_events(concat_events(dataset.events, ignored))
        np.testing.assert_array_equal(data.interactions.toarray(), dataset.interactions.toarray())
        _, scores = self._check_fit(data, run=self.run)
        model = fit_once(self.shorten(), dataset, self.run)
        np.testing.assert_allclose(scores, model.score(dataset.queries()), rtol=1e-3, atol=1e-4)

    @pytest.mark.filterwarnings("ignore:.*no training examples")
    def test_no_events_at_all(self, dataset: Dataset) -> None:
        # A model of ratings refuses data without any.
        with contextlib.suppress(DataError):
            self._check_fit(dataset.with_events(dataset.events.take(np.zeros(0, np.int64))))

    @pytest.mark.filterwarnings("ignore:.*no training examples")
    def test_a_single_event(self, dataset: Dataset) -> None:
        self._check_fit(dataset.with_events(dataset.events.take(np.array([5]))))

    def test_sizes_above_the_number_of_items(self, dataset: Dataset) -> None:
        names = {field.name for field in dataclasses.fields(self.estimator)}
        sizes = {name: 3 * len(dataset.items) for name in _SIZES if name in names and getattr(self.estimator, name)}
        self._check_fit(dataset, dataclasses.replace(self.shorten(), **sizes))

    def test_indices_of_64_bits_change_nothing(self, dataset: Dataset) -> None:
        """SciPy stores more than 2³¹ entries under indices of 64 bits."""
        data = dataset.with_events(dataset.events)
        vars(data)["interactions"] = with_int64_indices(data.interactions)
        if data.ratings is not None:
            vars(data)["ratings"] = with_int64_indices(data.ratings)
        _, scores = self._check_fit(data, run=self.run)
        model = fit_once(self.shorten(), dataset, self.run)
        np.testing.assert_array_equal(scores, model.score(dataset.queries()))

    def test_what_is_known_of_a_person_outlives_a_changed_history(self, dataset: Dataset) -> None:
        """The last user has a row in the user table and a link, and no event at all."""
        data = add_people(dataset)
        model, _ = self._check_fit(data)
        queries = dataclasses.replace(data.queries(), is_stale=np.ones(len(data.users), np.bool_))
        info = find_info(type(self.estimator))
        knows_people = info is not None and bool(info.reads & {"users", "user_links"})
        if knows_people:
            strangers = dataclasses.replace(queries, users=np.full(len(queries), -1, np.int32))
            assert (model.score(queries) != model.score(strangers)).any(axis=1).all()
        last = queries.block(len(queries) - 1, len(queries))
        candidates = ExactRetriever(model, fallback=_ByIndex(model.n_items)).retrieve(last, 5)
        assert (candidates.items >= 0).all()
        if self.personalized:
            assert candidates.fallback is not None
            assert candidates.fallback[0] == (not knows_people)

    def test_two_threads_give_the_same_model_each_time(self) -> None:
        """On batches that torch divides between threads; smaller ones are summed by one of them."""
        if isinstance(self.estimator, TrainingSettings):
            data = make_dataset(n_users=400, n_items=120, per_user=8)
            once = dataclasses.replace(self.estimator, epochs=1)
            one, two = (once.fit(data, _TWO_THREADS).score(data.queries()) for _ in range(2))
            np.testing.assert_array_equal(one, two)

    def _check_fit(self, data: Dataset, estimator: Any = None, run: Run | None = None) -> tuple[Any, np.ndarray]:
        """Fit, and check that scores are finite and no list holds a seen item. Returns the model and (U, N) the scores."""
        # On a busy machine the threads of torch wait for each other at every one of many small steps.
        default = Run(seed=3, threads=1 if isinstance(self.estimator, TrainingSettings) else 0)
        model = (estimator or self.shorten()).fit(data, run or default)
        queries = data.queries()
        queries = dataclasses.replace(queries, history=data.interactions[queries.users])
        scores = model.score(queries)
        assert np.isfinite(scores).all()
        items = ExactRetriever(model).retrieve(queries, 5).items
        rows = np.repeat(np.arange(len(items)), 5)[items.ravel() >= 0]
        recommended = sp.csr_array((np.ones(len(rows)), (rows, items[items >= 0])), shape=data.seen.shape)
        assert not (recommended * data.seen).nnz
        return model, np.asarray(scores)


@dataclasses.dataclass(frozen=True)
class _ByIndex:
    """A fallback whose lists are 0, 1, 2 …"""

    n_items: int

    def score(self, queries: Queries, items: Any = None) -> np.ndarray:
        scores = np.broadcast_to(-np.arange(self.n_items, dtype=np.float32), (len(queries), self.n_items))
        return scores if items is None else scores[:, items]

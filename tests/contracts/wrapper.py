"""Laws of every scorer that wraps another: it keeps exactly the powers of the wrapped scorer."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.kernels.topk.selection import top_k
from leanrec.models import get_model
from leanrec.protocols import (
    Embedder,
    Explainable,
    Extendable,
    RatingPredictor,
    Scorer,
    Searcher,
    SparseScorer,
    Updatable,
)
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

POWERS = (Searcher, Embedder, SparseScorer, Explainable, Extendable, RatingPredictor, Updatable)


@dataclasses.dataclass(frozen=True, eq=False)
class PlainScorer:
    """Only the scores of a model, without its powers."""

    model: Any

    @property
    def n_items(self) -> int:
        return int(self.model.n_items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        scores: Float32Array = self.model.score(queries, items)
        return scores


class SearchingScorer(PlainScorer):
    """A scorer that finds the best items itself."""

    def search(
        self, queries: Queries, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        scores = self.score(queries)
        return *top_k(scores, k, seen=seen, allowed=allowed), scores.max(axis=1) <= scores.min(axis=1)


def widen_queries(queries: Queries, n_items: int) -> Queries:
    """The queries over more items; the first user has interacted with the last of them."""
    history = np.zeros((len(queries), n_items), np.float32)
    history[:, : queries.n_items] = queries.history.toarray()
    if n_items > queries.n_items:
        history[0, -1] = 1
    ratings = queries.ratings
    if ratings is not None:
        ratings = sp.csr_array((ratings.data, ratings.indices, ratings.indptr), shape=history.shape)
    return Queries(queries.users, sp.csr_array(history), ratings=ratings, sequences=queries.sequences)


class WrapperContract:
    """Subclass it with ``wrap``; ``n_new`` is the number of items that the wrapper adds."""

    n_new: ClassVar[int] = 0
    models: ClassVar[dict[str, str]] = {
        "plain": "ease",
        "embedding": "pure_svd",
        "sparse": "item_knn",
        "explainable": "ease",
        "extendable": "content",
        "rating": "bias",
        "any": "popularity",
        "searching": "pure_svd",
    }

    def wrap(self, scorer: Scorer) -> Any:
        """The wrapped scorer."""
        raise NotImplementedError

    @pytest.fixture(
        scope="class",
        params=["plain", "embedding", "sparse", "explainable", "extendable", "rating", "any", "searching"],
    )
    @classmethod
    def model(cls, request: pytest.FixtureRequest, dataset: Dataset) -> Any:
        model = get_model(cls.models[request.param])().fit(dataset, Run(seed=3, threads=1))
        alone = {"plain": PlainScorer, "searching": SearchingScorer}
        return alone[request.param](model) if request.param in alone else model

    @pytest.fixture
    def queries(self, dataset: Dataset) -> Queries:
        return widen_queries(dataset.queries(), len(dataset.items) + self.n_new)

    def test_has_exactly_the_powers_of_the_wrapped_scorer(self, model: Any) -> None:
        wrapped = self.wrap(model)
        assert isinstance(wrapped, Scorer)
        for power in POWERS:
            assert isinstance(wrapped, power) == isinstance(model, power), power

    def test_known_items_keep_their_scores(self, model: Any, dataset: Dataset, queries: Queries) -> None:
        scores = self.wrap(model).score(queries)
        assert scores.shape == (len(queries), len(dataset.items) + self.n_new)
        assert scores.dtype == np.float32
        narrow = widen_queries(dataset.queries(), len(dataset.items))
        np.testing.assert_array_equal(scores[:, : model.n_items], model.score(narrow))

    def test_chosen_items_have_the_scores_of_the_full_row(self, model: Any, queries: Queries) -> None:
        wrapped = self.wrap(model)
        full = wrapped.score(queries)
        chosen = np.array([3, wrapped.n_items - 1, 7], np.int32)
        np.testing.assert_allclose(wrapped.score(queries, chosen), full[:, chosen], rtol=1e-4, atol=1e-5)
        each = np.stack([(chosen + b) % wrapped.n_items for b in range(len(queries))]).astype(np.int32)
        expected = np.take_along_axis(full, each, 1)
        np.testing.assert_allclose(wrapped.score(queries, each), expected, rtol=1e-4, atol=1e-5)

    def test_a_query_without_evidence_is_still_recognized(self, model: Any, dataset: Dataset) -> None:
        empty = Queries(np.array([-1], np.int32), empty_csr(1, len(dataset.items)))
        wide = Queries(np.array([-1], np.int32), empty_csr(1, len(dataset.items) + self.n_new))
        assert _is_unknown(self.wrap(model), wide) == _is_unknown(model, empty)

    def test_no_query_gives_no_row(self, model: Any, queries: Queries) -> None:
        wrapped = self.wrap(model)
        assert wrapped.score(queries.block(0, 0)).shape == (0, wrapped.n_items)

    def test_embeddings_multiply_to_the_scores(self, model: Any, queries: Queries) -> None:
        wrapped = self.wrap(model)
        if isinstance(wrapped, Embedder):
            product = wrapped.embed_queries(queries) @ wrapped.embed_items().T
            np.testing.assert_allclose(product, wrapped.score(queries), rtol=1e-3, atol=1e-4)

    def test_sparse_matrices_multiply_to_the_scores(self, model: Any, queries: Queries) -> None:
        wrapped = self.wrap(model)
        if isinstance(wrapped, SparseScorer) and (weights := wrapped.item_weights()) is not None:
            profile = wrapped.profile(queries)
            assert profile.dtype == weights.dtype == np.float32
            assert profile.has_canonical_format
            assert weights.indices.dtype == profile.indices.dtype == np.int32
            np.testing.assert_allclose((profile @ weights).toarray(), wrapped.score(queries), rtol=1e-4, atol=1e-5)
            assert wrapped.item_weights() is weights

    def test_retrieval_by_a_power_finds_the_best_scores(self, model: Any, queries: Queries) -> None:
        wrapped = self.wrap(model)
        by_power = ExactRetriever(wrapped).retrieve(queries, wrapped.n_items)
        by_score = ExactRetriever(PlainScorer(wrapped)).retrieve(queries, wrapped.n_items)
        np.testing.assert_allclose(by_power.scores, by_score.scores, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(by_power.fallback, by_score.fallback)

    def test_known_items_keep_their_explanations(self, model: Any, dataset: Dataset, queries: Queries) -> None:
        wrapped = self.wrap(model)
        if isinstance(wrapped, Explainable):
            narrow = widen_queries(dataset.queries(), len(dataset.items))
            for item in (3, 8):
                found, expected = (
                    scorer.explain(each.block(2, 3), np.array([item]))[0]
                    for scorer, each in ((wrapped, queries), (model, narrow))
                )
                assert found.reason == expected.reason
                np.testing.assert_array_equal(found.items, expected.items)
                np.testing.assert_array_equal(found.weights, expected.weights)
            items = np.array([wrapped.n_items - 1, 3, wrapped.n_items - 1, 8])
            together = wrapped.explain(queries.block(0, 1), items, 3)
            for item, found in zip(items, together, strict=True):
                (alone,) = wrapped.explain(queries.block(0, 1), np.array([item]), 3)
                np.testing.assert_allclose(found.weights, alone.weights, rtol=1e-3, atol=1e-5)

    def test_known_items_keep_their_ratings(self, model: Any, dataset: Dataset, queries: Queries) -> None:
        wrapped = self.wrap(model)
        if isinstance(wrapped, RatingPredictor):
            narrow = widen_queries(dataset.queries(), len(dataset.items))
            items = np.arange(len(queries), dtype=np.int32) % model.n_items
            np.testing.assert_array_equal(wrapped.predict(queries, items), model.predict(narrow, items))
            low, high = dataset.rating_range or (0, 0)
            last = wrapped.predict(queries, np.full(len(queries), wrapped.n_items - 1, np.int32))
            assert ((last >= low) & (last <= high)).all()

    def test_items_can_be_added(self, model: Any, dataset: Dataset) -> None:
        wrapped = self.wrap(model)
        if isinstance(wrapped, Extendable):
            assert dataset.item_table is not None
            larger = wrapped.extend(dataset.item_table.take(np.array([0, 5])))
            assert larger.n_items == wrapped.n_items + 2
            wide = widen_queries(dataset.queries(), larger.n_items)
            assert larger.score(wide).shape == (len(wide), larger.n_items)


def _is_unknown(scorer: Any, query: Queries) -> bool:
    found = ExactRetriever(scorer).retrieve(query, 3)
    return found.fallback is not None and bool(found.fallback[0])

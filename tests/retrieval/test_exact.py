"""Exact retrieval: dense scores, embeddings and sparse weights give the same lists, under every rule."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.sparse import history_scores
from leanrec.models.factorization.pure_svd import PureSVD
from leanrec.protocols import Context
from leanrec.retrieval import exact
from leanrec.retrieval.exact import ExactRetriever
from leanrec.types import Float32Array, Int32Array, Queries, empty_csr


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerEmbedder:
    """Small integer vectors: products are exact, whatever the order of summation."""

    vectors: Float32Array

    @property
    def n_items(self) -> int:
        return len(self.vectors)

    def embed_queries(self, queries: Queries) -> Float32Array:
        return np.asarray(queries.history @ self.vectors, dtype=np.float32)

    def embed_items(self) -> Float32Array:
        return self.vectors

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        scores = self.embed_queries(queries) @ self.vectors.T
        return scores if items is None else scores[:, items]


@dataclasses.dataclass(frozen=True, eq=False)
class DenseScorer:
    """The same scores without the embeddings."""

    inner: IntegerEmbedder

    @property
    def n_items(self) -> int:
        return self.inner.n_items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        return self.inner.score(queries, items)


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerWeights:
    """Item-item weights, small integers of either sign; with ``hidden`` scores are materialized."""

    weights: sp.csr_array
    hidden: bool = False

    @property
    def n_items(self) -> int:
        return int(self.weights.shape[1])

    def profile(self, queries: Queries) -> sp.csr_array:
        return queries.history

    def item_weights(self) -> sp.csr_array | None:
        return None if self.hidden else self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        return history_scores(queries.history, self.weights, items)


@pytest.fixture(scope="module")
def model() -> IntegerEmbedder:
    return IntegerEmbedder(np.random.default_rng(0).integers(-2, 3, (40, 3)).astype(np.float32))


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("allow", [None, np.array([1, 5, 6, 7, 30])])
@pytest.mark.parametrize("deny", [None, np.array([5, 31])])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_all_scoring_paths_give_the_same_lists(
    model: IntegerEmbedder,
    is_sparse: bool,
    dataset: Dataset,
    exclude_seen: bool,
    allow: Int32Array | None,
    deny: Int32Array | None,
) -> None:
    context = Context(exclude_seen, allow, deny)
    fallback = IntegerEmbedder(model.vectors[::-1].copy())
    queries = dataset.queries()
    rng = np.random.default_rng(1)
    weights = sp.csr_array((rng.integers(-2, 3, (40, 40)) * (rng.random((40, 40)) < 0.1)).astype(np.float32))
    pair = (IntegerWeights(weights), IntegerWeights(weights, hidden=True)) if is_sparse else (model, DenseScorer(model))
    fast, slow = (ExactRetriever(each, fallback).retrieve(queries, 12, context) for each in pair)
    np.testing.assert_array_equal(fast.items, slow.items)
    np.testing.assert_array_equal(fast.scores, slow.scores)


def test_blocks_give_the_same_lists_as_one_batch(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = ExactRetriever(PureSVD(embedding_dim=4).fit(dataset))
    whole = retriever.retrieve(dataset.queries(), 5)
    monkeypatch.setattr(exact, "_BLOCK_BYTES", 4 * 40 * 7)
    parts = retriever.retrieve(dataset.queries(), 5)
    assert (whole.items == parts.items).mean() > 0.99
    np.testing.assert_allclose(whole.scores, parts.scores, rtol=1e-4)


def test_empty_history_without_a_fallback_gives_an_empty_list(model: IntegerEmbedder) -> None:
    unknown = Queries(users=np.array([-1, -1], np.int32), history=empty_csr(2, 40))
    for scorer in (model, DenseScorer(model), IntegerWeights(sp.csr_array(np.eye(40, dtype=np.float32)))):
        candidates = ExactRetriever(scorer).retrieve(unknown, 3)
        assert (candidates.items == -1).all()
        assert candidates.fallback is not None
        assert candidates.fallback.all()


def test_list_ends_after_the_last_allowed_item(model: IntegerEmbedder, dataset: Dataset) -> None:
    queries = dataset.queries(np.array([0], np.int32))
    lists = ExactRetriever(model).retrieve(queries, 5, Context(exclude_seen=False, allow=np.array([2, 9], np.int32)))
    assert set(lists.items[0].tolist()) == {2, 9, -1}
    assert np.isneginf(lists.scores[0, 2:]).all()


def test_zero_k_and_zero_queries(model: IntegerEmbedder, dataset: Dataset) -> None:
    assert ExactRetriever(model).retrieve(dataset.queries(), 0).items.shape == (60, 0)
    assert ExactRetriever(model).retrieve(dataset.queries().block(0, 0), 4).items.shape == (0, 4)
    with pytest.raises(SettingError, match="k must be 0 or more"):
        ExactRetriever(model).retrieve(dataset.queries(), -1)

"""Stages of a request, compared with a slow reference, and the number of index builds."""

import dataclasses
import threading
import time
from typing import Any

import numpy as np
import pytest

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.scorers import pad_scorer
from leanrec.pipeline.stages import ClipRatings, FillFromFallback, RankedItems, build_stages, rank_and_fill
from leanrec.protocols import Context, RatingPredictor, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Candidates, Queries, empty_csr


def rank_slowly(
    model: Scorer, fallback: Scorer | None, query: Queries, n: int, context: Context, rating_range: Any
) -> RankedItems:
    """A new retriever for every request, and loops over all items."""
    now = dataclasses.replace(query, time=np.array([int(time.time())], np.int64))
    found = ExactRetriever(model, fallback).retrieve(now, n, context)
    kept = found.items[0] >= 0
    rows, scores = found.items[0][kept].tolist(), found.scores[0][kept]
    from_fallback = bool(found.fallback[0])  # type: ignore[index]
    n_from_model = len(rows)
    if fallback is not None and not from_fallback and not (scores < 0).any():
        n_from_model = sum(score > 0 for score in scores.tolist())
    if n_from_model < len(rows):
        seen = set(query.seen.indices.tolist()) if context.exclude_seen and query.seen is not None else set()
        allowed = set(range(model.n_items) if context.allow is None else context.allow.tolist())
        allowed -= set([] if context.deny is None else context.deny.tolist()) | seen
        zeros = [item for item, score in enumerate(model.score(now)[0].tolist()) if score == 0 and item in allowed]
        preferred = fallback.score(now)[0].tolist()  # type: ignore[union-attr]
        zeros.sort(key=lambda item: -preferred[item])
        rows = rows[:n_from_model] + zeros[: len(rows) - n_from_model]
    if rating_range is not None and not from_fallback and isinstance(model, RatingPredictor):
        scores = scores.clip(*rating_range)
    return RankedItems(tuple(rows), tuple(scores.tolist()), n_from_model, from_fallback)


CONTEXTS = [
    Context(),
    Context(exclude_seen=False),
    Context(allow=np.arange(0, 40, 3, dtype=np.int32)),
    Context(deny=np.arange(5, 30, dtype=np.int32)),
    Context(exclude_seen=False, allow=np.arange(10, dtype=np.int32), deny=np.array([2, 3], np.int32)),
    Context(allow=np.zeros(0, np.int32)),
]


@pytest.mark.parametrize("name", ["ease", "item_knn", "content", "pure_svd", "bias", "popularity", "rp3"])
def test_lists_equal_the_slow_reference(name: str, dataset: Dataset) -> None:
    model = get_model(name)().fit(dataset, Run(seed=3, threads=1))
    fallback = get_model("popularity")().fit(dataset)
    queries = dataset.queries()
    empty = Queries(np.array([-1], np.int32), empty_csr(1, 40), seen=empty_csr(1, 40))
    short = Queries(np.array([-1], np.int32), _one_item(7), seen=_one_item(7))
    for other in (fallback, None):
        stages = build_stages(model, other, dataset.rating_range)
        for query in (queries.block(0, 1), queries.block(7, 8), empty, short):
            for context in CONTEXTS:
                for n in (1, 10, 40):
                    expected = rank_slowly(model, other, query, n, context, dataset.rating_range)
                    assert rank_and_fill(stages, query, n, context) == expected


def _one_item(item: int) -> Any:
    row = np.zeros((1, 40), np.float32)
    row[0, item] = 1
    return type(empty_csr(1, 40))(row)


def test_a_batch_is_filled_like_its_single_queries(dataset: Dataset) -> None:
    model = get_model("content")(columns=("genres",)).fit(dataset)
    stages = build_stages(model, get_model("popularity")().fit(dataset), None)
    queries, context = dataset.queries(), Context()
    whole = stages.run(queries, 30, context)
    assert whole.n_from_model is not None
    assert (whole.n_from_model < 28).any()
    for row in range(0, len(queries), 9):
        single = stages.run(queries.block(row, row + 1), 30, context)
        np.testing.assert_array_equal(single.items[0], whole.items[row])
        assert single.n_from_model is not None
        assert single.n_from_model[0] == whole.n_from_model[row]


def test_lists_of_the_fallback_and_with_negative_scores_are_not_filled(dataset: Dataset) -> None:
    model = get_model("popularity")().fit(dataset)
    items = np.array([[1, 2, 3], [1, 2, -1]], np.int32)
    scores = np.array([[1.0, 0.0, 0.0], [1.0, -1.0, -np.inf]], np.float32)
    given = Candidates(items, scores, np.array([True, False]))
    filled = FillFromFallback(model, model)(dataset.queries().block(0, 2), given, Context())
    assert filled.items is items
    assert filled.n_from_model is not None
    assert filled.n_from_model.tolist() == [3, 2]


def test_ratings_are_clipped_except_in_lists_of_the_fallback(dataset: Dataset) -> None:
    scores = np.array([[9.0, 0.0, -np.inf], [700.0, 0.0, -np.inf]], np.float32)
    given = Candidates(np.array([[1, 2, -1], [1, 2, -1]], np.int32), scores, np.array([False, True]))
    clipped = ClipRatings(0.5, 5.0)(dataset.queries().block(0, 2), given, Context())
    assert clipped.scores.tolist() == [[5.0, 0.5, -np.inf], [700.0, 0.0, -np.inf]]


@dataclasses.dataclass(frozen=True)
class _Embeddings:
    """An estimator of an embedding model that can add items."""

    def fit_bytes(self, shape: Any) -> int:
        return 0

    def fit(self, data: Dataset, run: Run = Run()) -> "_EmbeddingsModel":
        return _EmbeddingsModel(np.random.default_rng(1).normal(size=(len(data.items), 8)).astype(np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class _EmbeddingsModel:
    vectors: Any

    @property
    def n_items(self) -> int:
        return len(self.vectors)

    def embed_items(self) -> Any:
        return self.vectors

    def embed_queries(self, queries: Queries) -> Any:
        return queries.history @ self.vectors

    def score(self, queries: Queries, items: Any = None) -> Any:
        scores = self.embed_queries(queries) @ self.vectors.T
        return scores if items is None else scores[:, items]

    def extend(self, items: Table) -> "_EmbeddingsModel":
        return _EmbeddingsModel(np.concatenate([self.vectors, self.vectors[: len(items)]]))


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the item indices built so far."""
    sizes: list[int] = []
    build = ItemIndex.build

    def count(vectors: Any) -> ItemIndex:
        sizes.append(len(vectors))
        time.sleep(0.01)  # concurrent first requests would build several
        return build(vectors)

    monkeypatch.setattr(ItemIndex, "build", count)
    return sizes


def test_the_item_index_is_built_once_for_each_version(dataset: Dataset, builds: list[int]) -> None:
    pipeline = Pipeline.fit(_Embeddings(), dataset, fallback=get_model("popularity")())
    assert builds == []
    for user in dataset.users.ids.tolist()[:10]:
        pipeline.recommend(user)
        pipeline.recommend(user, where={"genres": "space"}, deny=[101], exclude_seen=False)
        pipeline.similar_items(100)
        pipeline.record_event(user, 100)
    assert builds == [40]
    assert dataset.item_table is not None
    assert pipeline.add_items([900, 901], dataset.item_table.take(np.array([0, 1]))) == 2
    for _ in range(3):
        pipeline.recommend(history=[100, 900])
    assert builds == [40, 42]


def test_concurrent_first_requests_build_one_index(dataset: Dataset, builds: list[int]) -> None:
    pipeline = Pipeline.fit(_Embeddings(), dataset)
    threads = [threading.Thread(target=pipeline.recommend, kwargs={"history": [100 + k]}) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builds == [40]


def test_a_padded_fallback_ranks_added_items_last(dataset: Dataset) -> None:
    model = _EmbeddingsModel(np.ones((42, 2), np.float32))
    stages = build_stages(model, pad_scorer(get_model("popularity")().fit(dataset), 42), None)
    empty = Queries(np.array([-1], np.int32), empty_csr(1, 42))
    found = rank_and_fill(stages, empty, 42, Context())
    assert found.from_fallback
    assert found.rows[-2:] == (40, 41)

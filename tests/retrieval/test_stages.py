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
from leanrec.protocols import Context, RatingPredictor, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.retrieval.stages import ClipRatings, RankedItems, build_stages, rank_and_fill
from leanrec.run import Run
from leanrec.types import Candidates, Queries, empty_csr


def rank_slowly(
    model: Scorer, fallback: Scorer | None, query: Queries, n: int, context: Context, rating_range: Any
) -> RankedItems:
    """All items in the order of a new retriever, sorted again in a loop over pairs of scores."""
    now = dataclasses.replace(query, time=np.array([int(time.time())], np.int64))
    everything = ExactRetriever(model).retrieve(now, model.n_items, context)
    kept = everything.items[0] >= 0
    pairs = dict(zip(everything.items[0][kept].tolist(), everything.scores[0][kept].tolist(), strict=True))
    unseen = set(range(model.n_items)) - (set(query.seen.indices.tolist()) if context.exclude_seen else set())  # type: ignore[union-attr]
    values = set(model.score(now)[0][sorted(unseen)].tolist())
    from_fallback = bool(everything.fallback[0])  # type: ignore[index]
    if fallback is not None:
        preferred = fallback.score(now)[0].tolist()
        if from_fallback or (len(values) == 1 and len(pairs) > 1):
            from_fallback, lists = True, ExactRetriever(fallback).retrieve(now, model.n_items, context)
            pairs = dict(zip(lists.items[0].tolist(), lists.scores[0].tolist(), strict=True))
            pairs.pop(-1, None)
        groups: list[list[int]] = []
        for item, score in pairs.items():
            before = np.float32(pairs[groups[-1][-1]]) if groups else np.float32(np.inf)
            if abs(np.float32(score) - before) <= np.float32(5e-7) * abs(before) < np.inf:
                groups[-1].append(item)
            else:
                groups.append([item])
        ranked = [item for group in groups for item in sorted(group, key=lambda item: (-preferred[item], item))]
        pairs = dict(zip(ranked, pairs.values(), strict=True))
    rows, scores = list(pairs)[:n], np.array(list(pairs.values())[:n], np.float32)
    n_from_model = len(rows)
    if fallback is not None and not from_fallback and not (scores < 0).any():
        n_from_model = sum(score > 0 for score in scores.tolist())
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
    assert pipeline.add_items([900, 901], dataset.item_table.take(np.array([0, 1]))).added == 2
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

"""Ties of a ranking, compared with loops over all items, and a thin log whose ids are turned round."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import leanrec
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.models import get_model
from leanrec.protocols import Context, Scorer
from leanrec.retrieval import ties
from leanrec.retrieval.exact import ExactRetriever
from leanrec.retrieval.ties import drop_unranked
from leanrec.types import Candidates, Events, Float32Array, Int32Array, Queries, empty_csr

N = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed:
    """The same row of scores for every query."""

    row: Float32Array

    @property
    def n_items(self) -> int:
        return len(self.row)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        scores = np.tile(self.row, (len(queries), 1))
        return (
            scores
            if items is None
            else np.take_along_axis(scores, np.broadcast_to(items, (len(scores), items.shape[-1])), 1)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class PerUser:
    """Row u of a table of scores for user u."""

    table: Float32Array

    @property
    def n_items(self) -> int:
        return self.table.shape[1]

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        assert items is None
        return self.table[queries.users]


def ask(seen: np.ndarray) -> Queries:
    """One query for each row of a (B, N) table of seen items."""
    return Queries(np.arange(len(seen), dtype=np.int32), type(empty_csr(1, 1))(seen.astype(np.float32)))


def rank_slowly(row: list[float], preferred: list[float], listable: list[int], k: int) -> list[int]:
    return sorted(listable, key=lambda item: (-row[item], -preferred[item], item))[:k]


@pytest.mark.parametrize("context", [Context(), Context(exclude_seen=False), Context(deny=np.array([0, 3], np.int32))])
@pytest.mark.parametrize("k", [1, 4, N, N + 3])
@pytest.mark.parametrize("block", [2**26, 16 * N * 3])
def test_the_fallback_orders_equal_scores(
    context: Context, k: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ties, "_BLOCK_BYTES", block)
    rng = np.random.default_rng(k)
    table = rng.integers(-1, 3, (40, N)).astype(np.float32)
    table[:9] = np.maximum(table[:9], 0)
    fallback = Fixed(rng.integers(0, 5, N).astype(np.float32))
    seen = rng.random((40, N)) < 0.2
    found = ExactRetriever(PerUser(table), fallback).retrieve(ask(seen), k, context)
    assert found.fallback is not None
    assert found.n_from_model is not None
    denied = set() if context.deny is None else set(context.deny.tolist())
    for user in range(40):
        free = [i for i in range(N) if not (context.exclude_seen and seen[user, i])]
        row = table[user].tolist()
        assert found.fallback[user] == (len({row[i] for i in free}) == 1)
        expected = rank_slowly(row, fallback.row.tolist(), [i for i in free if i not in denied], k)
        assert found.items[user].tolist() == expected + [-1] * (k - len(expected))
        if not found.fallback[user]:
            scores = [row[i] for i in expected]
            ranked = len(scores) if min(scores, default=0) < 0 else sum(score > 0 for score in scores)
            assert found.n_from_model[user] == ranked
            assert found.scores[user, : len(scores)].tolist() == scores


def test_a_list_of_zeros_is_that_of_the_fallback_and_says_so() -> None:
    table = np.zeros((1, N), np.float32)
    table[0, 4] = 2
    fallback = Fixed(np.arange(N, dtype=np.float32))
    seen = np.zeros((1, N))
    seen[0, 4] = 1
    found = ExactRetriever(PerUser(table), fallback).retrieve(ask(seen), 3)
    assert found.items[0].tolist() == [11, 10, 9]
    assert found.fallback is not None
    assert found.fallback.all()
    # A user who may get their own items again has one that the model ranks.
    again = ExactRetriever(PerUser(table), fallback, Context(exclude_seen=False)).retrieve(ask(seen), 3)
    assert again.items[0].tolist() == [4, 11, 10]
    assert again.n_from_model is not None
    assert again.n_from_model.tolist() == [1]
    assert again.fallback is not None
    assert not again.fallback.any()


def test_a_model_that_is_its_fallback_gives_the_lists_of_an_equal_one() -> None:
    rng = np.random.default_rng(5)
    for scores in (rng.integers(0, 3, N), np.zeros(N), np.arange(N) // 10, np.where(np.arange(N) < 4, 7, 0)):
        model, equal = Fixed(scores.astype(np.float32)), Fixed(scores.astype(np.float32))
        seen = (rng.random((20, N)) < 0.4).astype(float)
        alone, beside = (ExactRetriever(model, each).retrieve(ask(seen), 5) for each in (model, equal))
        for name in ("items", "scores", "fallback", "n_from_model"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))


def test_lists_without_ties_ask_neither_model_nor_fallback_again() -> None:
    class Once(PerUser):
        n_calls = 0

        def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
            Once.n_calls += 1
            return super().score(queries, items)

    class Never(Fixed):
        def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
            raise AssertionError

    model = Once(np.random.default_rng(0).permuted(np.tile(np.arange(1.0, N + 1, dtype=np.float32), (6, 1)), axis=1))
    ExactRetriever(model, Never(np.zeros(N, np.float32))).retrieve(ask(np.zeros((6, N))), 5)
    assert Once.n_calls == 1


def test_without_a_fallback_the_places_that_items_of_score_zero_compete_for_can_be_dropped() -> None:
    items = np.array([[5, 2, 0, 1], [5, 2, 0, 1], [1, 2, 3, 4], [5, 2, 3, -1]], np.int32)
    scores = np.array([[2, 1, 0, 0], [2, 0, 0, -1], [0, 0, 0, 0], [2, 1, 0, -np.inf]], np.float32)
    dropped = drop_unranked(Candidates(items, scores))
    assert dropped.items.tolist() == [[5, 2, -1], [5, 2, 0], [-1, -1, -1], [5, 2, 3]]
    assert np.isneginf(dropped.scores[dropped.items < 0]).all()


def test_without_a_fallback_the_names_of_the_items_change_no_metric() -> None:
    means = []
    for is_reversed in (False, True):
        parts = leanrec.split(thin_log(is_reversed=is_reversed), "leave-one-out", valid=0)
        means.append(leanrec.evaluate(get_model("slim")().fit(parts.train), parts.test).means()["recall@10"])
    assert means[0] == pytest.approx(means[1], abs=0.004)


def thin_log(*, is_reversed: bool) -> Dataset:
    """Two to five events for each of 150 people: many items are equally popular. Reversed: users and items by other ids."""
    rng = np.random.default_rng(2)
    share = 1 / np.arange(1, 61) ** 1.1
    user, item = [], []
    for person in range(150):
        own = rng.choice(60, rng.integers(2, 6), replace=False, p=share / share.sum())
        user += [person] * len(own)
        item += own.tolist()
    ids = np.array(item), np.array(user)
    items, users = (999 - each if is_reversed else each for each in ids)
    return _index(users, items)


def _index(user: np.ndarray, item: np.ndarray) -> Dataset:
    users, items = Vocabulary(np.unique(user), "user"), Vocabulary(np.unique(item), "item")
    n = len(user)
    events = Events(
        users.rows(user), items.rows(item), 1_600_000_000 + np.arange(n), np.zeros(n, np.int8), np.ones(n, np.float32)
    )
    return Dataset(events, users, items).with_events(events)


@pytest.mark.parametrize("name", ["popularity", "slim", "item_knn", "user_knn", "rp3", "sansa"])
def test_the_names_of_users_and_items_change_no_metric_and_judged_lists_are_served_lists(name: str) -> None:
    means = []
    for is_reversed in (False, True):
        parts = leanrec.split(thin_log(is_reversed=is_reversed), "leave-one-out", valid=0)
        popular: Scorer = get_model("popularity")().fit(parts.train)
        model: Any = get_model(name)().fit(parts.train)
        evaluation = leanrec.evaluate(model, parts.test, fallback=popular)
        means.append(evaluation.means())
        pipeline = leanrec.Pipeline.fit(get_model(name)(), parts.train)
        hits = []
        for user, truth in zip(parts.test.queries.users.tolist(), parts.test.ground_truth, strict=True):
            served = pipeline.recommend(parts.train.users.ids[user].item(), n=10, reasons=False).items
            hits.append(parts.train.items.ids[truth.indices[0]].item() in [each.id for each in served])
        assert evaluation.means()["recall@10"] == pytest.approx(np.mean(hits))
    # A hit more is 0.007.
    assert means[0] == pytest.approx(means[1], abs=0.0002)


def test_compiled_passes_find_what_numpy_finds() -> None:
    rng = np.random.default_rng(4)
    values = np.array([-np.inf, -1, 0, 1, 1 + 2e-7, 2, 3], np.float32)
    for _ in range(200):
        scores = -np.sort(-rng.choice(values, (3, 5)), axis=1)
        items = np.where(np.isfinite(scores), 1, -1).astype(np.int32)
        is_flat = rng.random(3) < 0.3
        assert ties._has_ties(scores) == ties._equals(scores[:, 1:], scores[:, :-1]).any()
        expected = [
            len(
                [
                    place
                    for place in row
                    if place > -np.inf and (whole or min(row[row > -np.inf], default=0) < 0 or place > 0)
                ]
            )
            for row, whole in zip(scores, is_flat, strict=True)
        ]
        assert ties.count_ranked(items, scores, is_flat).tolist() == expected

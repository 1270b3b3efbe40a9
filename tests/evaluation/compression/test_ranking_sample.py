"""Samples of queries on which compressed models are compared with their base."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import Split, split
from leanrec.errors import DataError
from leanrec.evaluation.compression.ranking_sample import MeasuredLists, RankingSample, draw_samples, find_tail_items
from leanrec.evaluation.evaluate import evaluate
from leanrec.models import get_model
from leanrec.run import Run

RUN = Run(seed=1, threads=1)


@pytest.fixture
def parts(dataset: Dataset) -> Split:
    return split(dataset, "random", valid=0.2, test=0.2, seed=1)


def test_the_lists_have_the_metrics_of_an_evaluation(parts: Split) -> None:
    model = get_model("ease")().fit(parts.train)
    fallback = get_model("popularity")().fit(parts.train)
    rows = np.flatnonzero(parts.valid.n_relevant)
    found = RankingSample(parts.valid.take(rows), find_tail_items(parts.train), fallback).measure(model, RUN)
    expected = evaluate(model, parts.valid, k=(20,), fallback=fallback)
    np.testing.assert_allclose(found.values("ndcg"), expected.values("ndcg@20")[rows])
    np.testing.assert_allclose(found.values("recall"), expected.values("recall@20")[rows])


def test_halves_have_no_query_in_common(parts: Split) -> None:
    first, second = draw_samples(parts.valid, None, parts.train, None, RUN, k=20, max_queries=(1000, 1000))
    users = [set(each.queries.queries.users.tolist()) for each in (first, second)]
    assert not users[0] & users[1]
    assert len(users[0] | users[1]) == int((parts.valid.n_relevant > 0).sum())


def test_a_report_of_its_own_leaves_all_queries_to_the_choice(parts: Split) -> None:
    first, second = draw_samples(parts.valid, parts.test, parts.train, None, RUN, k=20, max_queries=(1000, 1000))
    assert len(first.queries) == int((parts.valid.n_relevant > 0).sum())
    assert len(second.queries) == int((parts.test.n_relevant > 0).sum())
    few, fewer = draw_samples(parts.valid, parts.test, parts.train, None, RUN, k=20, max_queries=(3, 2))
    assert (len(few.queries), len(fewer.queries)) == (3, 2)


@pytest.mark.parametrize("n_queries", [1, 19])
def test_few_queries_are_not_enough(parts: Split, n_queries: int) -> None:
    few = parts.valid.take(np.flatnonzero(parts.valid.n_relevant)[:n_queries])
    with pytest.raises(
        DataError, match=f"of at least 10 users.* There are {n_queries // 2} and {n_queries - n_queries // 2} "
    ):
        draw_samples(few, None, parts.train, None, RUN, k=20, max_queries=(1000, 1000))


def test_unknown_items_are_rare_ones(parts: Split) -> None:
    truth = parts.valid.ground_truth
    n_known = len(parts.train.items)
    wide = type(truth)((truth.data, truth.indices + n_known, truth.indptr), shape=(truth.shape[0], 2 * n_known))
    queries: Any = SimpleNamespace(ground_truth=wide)
    sample = RankingSample(queries, find_tail_items(parts.train), None)
    assert sample._tail_truth.nnz == truth.nnz


def test_the_popular_items_have_a_fifth_of_the_events(dataset: Dataset) -> None:
    is_tail = find_tail_items(dataset)
    counts = np.bincount(dataset.events.item, minlength=len(dataset.items))
    head = np.sort(counts[~is_tail])
    assert head.sum() >= 0.2 * counts.sum() > head[1:].sum()
    assert head.min() >= counts[is_tail].max()


def measured(ndcg: list[float], items: list[list[int]] | None = None) -> MeasuredLists:
    lists = np.array([[0]] * len(ndcg) if items is None else items, np.int32)
    return MeasuredLists(per_query={"ndcg": np.array(ndcg)}, fingerprint="", items=lists)


def test_a_loss_is_relative_and_paired() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(500)
    loss = measured(values.tolist()).compute_loss(measured((0.9 * values).tolist()), "ndcg")
    assert loss.value == pytest.approx(0.1)
    assert (loss.low, loss.high) == pytest.approx((0.1, 0.1))  # no query differs from the others
    assert loss.kept == pytest.approx(0.9)


def test_the_interval_of_a_loss_covers_the_true_one() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(60):
        base = rng.random(300)
        loss = measured(base.tolist()).compute_loss(measured((base * (rng.random(300) < 0.95)).tolist()), "ndcg")
        hits += loss.low <= 0.05 <= loss.high
    assert hits >= 52


def test_a_base_without_a_hit_loses_nothing() -> None:
    assert measured([0.0, 0.0]).compute_loss(measured([0.0, 0.0]), "ndcg").value == 0


def test_lists_are_identical_in_any_order() -> None:
    one, two = measured([0, 0], [[1, 2], [3, 4]]), measured([0, 0], [[2, 1], [3, 5]])
    assert one.share_identical(two) == 0.5

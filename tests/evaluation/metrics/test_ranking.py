"""Ranking metrics against their definitions in plain loops, and against ranx and scikit-learn."""

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from contracts.metric import MetricContract
from leanrec.errors import DataError
from leanrec.evaluation.metrics import ranking as metrics
from leanrec.evaluation.metrics.ranking import auc, match_ground_truth
from leanrec.types import CSR

GroundTruth = dict[int, float]


def hits(items: list[int], truth: GroundTruth, k: int) -> list[bool]:
    return [item in truth for item in items[:k]]


def slow_map(items: list[int], truth: GroundTruth, k: int) -> float:
    found, total = 0, 0.0
    for position, hit in enumerate(hits(items, truth, k), start=1):
        if hit:
            found += 1
            total += found / position
    return total / min(k, len(truth))


def slow_dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(1 + position) for position, gain in enumerate(gains, start=1))


class TestRecall(MetricContract):
    metric = staticmethod(metrics.recall)
    twin = staticmethod(lambda items, truth, k: sum(hits(items, truth, k)) / len(truth))
    perfect = (True, False, True)


class TestPrecision(MetricContract):
    metric = staticmethod(metrics.precision)
    twin = staticmethod(lambda items, truth, k: sum(hits(items, truth, k)) / k)
    perfect = (True, True, False)


class TestHitRate(MetricContract):
    metric = staticmethod(metrics.hit_rate)
    twin = staticmethod(lambda items, truth, k: float(any(hits(items, truth, k))))


class TestReciprocalRank(MetricContract):
    metric = staticmethod(metrics.reciprocal_rank)
    twin = staticmethod(
        lambda items, truth, k: next((1 / (p + 1) for p, hit in enumerate(hits(items, truth, k)) if hit), 0.0)
    )


class TestAveragePrecision(MetricContract):
    metric = staticmethod(metrics.average_precision)
    twin = staticmethod(slow_map)


class TestNDCG(MetricContract):
    metric = staticmethod(metrics.ndcg)
    twin = staticmethod(lambda items, truth, k: slow_dcg(hits(items, truth, k)) / slow_dcg([1.0] * min(k, len(truth))))


class TestGradedNDCG(MetricContract):
    metric = staticmethod(metrics.graded_ndcg)
    graded = True
    twin = staticmethod(
        lambda items, truth, k: (
            slow_dcg([truth.get(item, 0.0) for item in items[:k]]) / slow_dcg(sorted(truth.values(), reverse=True)[:k])
        )
    )


# --- against other libraries ----------------------------------------------------------------------


def make_lists(seed: int = 0, n: int = 30, n_items: int = 40, most: int = 8) -> tuple[np.ndarray, np.ndarray, CSR]:
    """Scores without ties, their lists, and graded ground truth of one to ``most`` items."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=np.float32), (n, 1)), axis=1)
    truth = sp.lil_array((n, n_items), dtype=np.float32)
    for b in range(n):
        chosen = rng.choice(n_items, rng.integers(1, most + 1), replace=False)
        truth[b, chosen] = rng.integers(1, 4, len(chosen))
    return scores, np.argsort(-scores, axis=1).astype(np.int32), truth.tocsr()


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
truths, run, names = json.load(sys.stdin)
values = [evaluate(Qrels(truth), Run(run), names, return_mean=False) for truth in truths]
json.dump([{name: each[name].tolist() for name in names} for each in values], sys.stdout)
"""


def ranx(scores: np.ndarray, truths: list[np.ndarray], names: list[str]) -> list[dict[str, Any]]:
    """Values of ranx for each ground truth, in a process without compilation."""
    order = [f"q{b:03}" for b in range(len(scores))]
    qrels = [
        {q: {str(i): int(truth[b, i]) for i in np.flatnonzero(truth[b])} for b, q in enumerate(order)}
        for truth in truths
    ]
    run = {q: {str(i): float(score) for i, score in enumerate(scores[b])} for b, q in enumerate(order)}
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps([qrels, run, names]),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    return json.loads(done.stdout)


def test_agrees_with_ranx() -> None:
    scores, items, truth = make_lists()
    dense = truth.toarray()
    names = ["recall", "precision", "hit_rate", "mrr", "ndcg"]
    wanted = [f"{name}@{k}" for name in names for k in (3, 10)]
    graded, binary = ranx(scores, [dense, dense > 0], [*wanted, "map@10"])
    relevance = match_ground_truth(items, truth)
    ours = {
        "recall": metrics.recall,
        "precision": metrics.precision,
        "hit_rate": metrics.hit_rate,
        "mrr": metrics.reciprocal_rank,
        "ndcg": metrics.graded_ndcg,
    }
    for k in (3, 10):
        for name, metric in ours.items():
            np.testing.assert_allclose(metric(relevance, k), graded[f"{name}@{k}"], atol=1e-9, err_msg=name)
        np.testing.assert_allclose(metrics.ndcg(relevance, k), binary[f"ndcg@{k}"], atol=1e-9)
    # ranx divides by the number of relevant items even if k is smaller, which it is not here.
    np.testing.assert_allclose(metrics.average_precision(relevance, 10), graded["map@10"], atol=1e-9)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_ndcg_agrees_with_scikit_learn(k: int) -> None:
    scores, items, truth = make_lists(seed=1)
    dense = truth.toarray()
    for b in range(len(scores)):
        relevance = match_ground_truth(items[[b]], truth[[b]])
        graded = ndcg_score(dense[[b]], scores[[b]], k=k)
        binary = ndcg_score((dense[[b]] > 0).astype(float), scores[[b]], k=k)
        assert metrics.graded_ndcg(relevance, k)[0] == pytest.approx(graded, abs=1e-9)
        assert metrics.ndcg(relevance, k)[0] == pytest.approx(binary, abs=1e-9)


def test_average_precision_over_everything_agrees_with_scikit_learn() -> None:
    scores, items, truth = make_lists(seed=2)
    expected = [average_precision_score(row > 0, score) for row, score in zip(truth.toarray(), scores, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(match_ground_truth(items, truth), 40), expected, atol=1e-9)


def test_golden_values_by_hand() -> None:
    # Relevant items a (0) and b (1); the list is x a y b: hits at positions 2 and 4.
    relevance = match_ground_truth(
        np.array([[5, 0, 6, 1]], np.int32), sp.csr_array(np.array([[1, 1, 0, 0, 0, 0, 0]], np.float32))
    )
    assert metrics.recall(relevance, 3)[0] == 0.5
    assert metrics.precision(relevance, 4)[0] == 0.5
    assert metrics.reciprocal_rank(relevance, 4)[0] == 0.5
    assert metrics.average_precision(relevance, 4)[0] == 0.5
    expected = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert metrics.ndcg(relevance, 4)[0] == pytest.approx(expected)


# --- AUC ------------------------------------------------------------------------------------------


def slow_auc(scores: np.ndarray, truth: set[int], seen: set[int]) -> float:
    others = [i for i in range(len(scores)) if i not in truth and i not in seen]
    wins = [
        1.0 if scores[a] > scores[o] else 0.5 if scores[a] == scores[o] else 0.0 for a in truth - seen for o in others
    ]
    return sum(wins) / len(wins) if wins else float("nan")


def test_auc_agrees_with_plain_loops_with_ties_and_seen_items() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (25, 20)).astype(np.float32)
    scores[3, 4] = -np.inf
    truth = sp.csr_array((rng.random((25, 20)) < 0.2).astype(np.float32))
    seen = sp.csr_array((rng.random((25, 20)) < 0.3).astype(np.float32))
    before = scores.copy()
    expected = [
        slow_auc(scores[b], set(truth[[b]].indices.tolist()), set(seen[[b]].indices.tolist())) for b in range(25)
    ]
    np.testing.assert_allclose(auc(scores, truth, seen), expected, atol=1e-12)
    np.testing.assert_array_equal(scores, before)


def test_auc_agrees_with_scikit_learn() -> None:
    scores, _, truth = make_lists(seed=3)
    expected = [roc_auc_score(row > 0, score) for row, score in zip(truth.toarray(), scores, strict=True)]
    np.testing.assert_allclose(auc(scores, truth), expected, atol=1e-12)


def test_auc_of_equal_scores_is_a_half_and_without_a_pair_nan() -> None:
    truth = sp.csr_array(np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1]], np.float32))
    values = auc(np.zeros((3, 3), np.float32), truth)
    assert values[0] == 0.5
    assert np.isnan(values[1:]).all()


# --- matching ------------------------------------------------------------------------------------


def test_an_entry_of_weight_0_is_not_relevant() -> None:
    truth = sp.csr_array((np.array([0.0, 2.0], np.float32), np.array([1, 3]), np.array([0, 2])), shape=(1, 5))
    relevance = match_ground_truth(np.array([[1, 3, -1]], np.int32), truth)
    assert relevance.gains.tolist() == [[0.0, 2.0, 0.0]]
    assert relevance.ideal.tolist() == [[2.0, 0.0, 0.0]]
    assert relevance.n_relevant.tolist() == [1]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([[0, 1, 0]], "List 0 repeats item 0"),
        ([[0, 9, 1]], "from 0 to 4, or -1 past the end. Got 0 to 9"),
        ([[0, -2, 1]], "Got -2 to 1"),
        ([[0], [1]], r"shape \(1, K\) of the queries. Got \(2, 1\)"),
    ],
)
def test_invalid_lists_are_refused(items: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_ground_truth(np.array(items, np.int32), sp.csr_array(np.ones((1, 5), np.float32)))


def test_ground_truth_in_any_order_of_its_columns_names_an_item_once() -> None:
    def truth(columns: list[int]) -> CSR:
        return CSR((np.ones(len(columns), np.float32), columns, [0, len(columns)]), shape=(1, 4))

    items = np.array([[3, 0, 1]], np.int32)
    for columns in ([0, 3], [3, 0]):
        assert metrics.average_precision(match_ground_truth(items, truth(columns)), 3) == 1
    with pytest.raises(DataError, match="must not contain an item twice"):
        match_ground_truth(items, truth([3, 0, 3]))

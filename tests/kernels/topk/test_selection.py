"""Top-k selection against a full sort."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.topk.inner_product import top_k_dot
from leanrec.kernels.topk.selection import top_k


def slow_top_k(scores: np.ndarray, k: int, seen: np.ndarray | None, allowed: np.ndarray | None) -> np.ndarray:
    scores = scores.astype(np.float64)
    if seen is not None:
        scores[seen] = -np.inf
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    lists = np.full((len(scores), k), -1)
    for row, values in enumerate(scores):
        order = [i for i in np.lexsort((np.arange(len(values)), -values)) if np.isfinite(values[i])]
        lists[row, : min(k, len(order))] = order[:k]
    return lists


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 70), st.integers(0, 80), st.integers(0, 3))
def test_selection_equals_a_full_sort(seed: int, rows: int, n: int, k: int, rules: int) -> None:
    rng = np.random.default_rng(seed)
    # Small integers: products are exact in float32 and many are tied.
    Q, V = rng.integers(-2, 3, (rows, 5)).astype(np.float32), rng.integers(-2, 3, (n, 5)).astype(np.float32)
    hidden = rng.random((rows, n)) < 0.3 if rules & 1 else None
    allowed = rng.random(n) < 0.6 if rules & 2 else None
    seen = None if hidden is None else sp.csr_array(hidden.astype(np.float32))
    expected = slow_top_k(Q @ V.T, k, hidden, allowed)
    for items, scores in (
        top_k(Q @ V.T, k, seen=seen, allowed=allowed),
        top_k_dot(Q, V, k, seen=seen, allowed=allowed),
    ):
        np.testing.assert_array_equal(items, expected)
        there = items >= 0
        np.testing.assert_array_equal(scores[there], np.take_along_axis(Q @ V.T, np.maximum(items, 0), 1)[there])
        assert (scores[~there] == -np.inf).all()


@pytest.mark.parametrize("rows", [1, 3, 600])
def test_selection_across_tiles_equals_a_full_sort(rows: int) -> None:
    rng = np.random.default_rng(3)
    Q, V = (
        rng.integers(-3, 4, (rows, 8)).astype(np.float32),
        rng.integers(-3, 4, (2600, 8)).astype(np.float32),
    )
    np.testing.assert_array_equal(top_k_dot(Q, V, 25)[0], slow_top_k(Q @ V.T, 25, None, None))


def test_nan_and_minus_infinity_are_never_chosen() -> None:
    scores = np.array([[np.nan, 1.0, -np.inf, 2.0, np.inf]], np.float32)
    items, _ = top_k(scores, 5)
    assert items.tolist() == [[4, 3, 1, -1, -1]]


def test_unsorted_seen_columns_are_left_out() -> None:
    seen = sp.csr_array((np.ones(2, np.float32), np.array([3, 1]), np.array([0, 2])), shape=(1, 5))
    assert top_k(np.arange(5, dtype=np.float32)[None], 3, seen=seen)[0].tolist() == [[4, 2, 0]]


def test_empty_inputs_give_empty_lists() -> None:
    nothing = np.zeros((0, 4), np.float32)
    assert top_k_dot(nothing, np.ones((3, 4), np.float32), 2)[0].shape == (0, 2)
    assert (top_k_dot(np.ones((2, 4), np.float32), nothing, 2)[0] == -1).all()
    assert top_k(np.zeros((3, 0), np.float32), 0)[0].shape == (3, 0)

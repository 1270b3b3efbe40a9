"""Scores of histories against plain matrix products."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.csr import narrow_indices
from leanrec.kernels.sparse import dot_scores, gather_scores, history_scores, top_k_sparse
from leanrec.kernels.topk.selection import top_k


@pytest.mark.parametrize("rows", [0, 1, 3, 9])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_history_times_weights(rows: int, is_sparse: bool) -> None:
    rng = np.random.default_rng(rows)
    history = sp.random_array((rows, 30), density=0.3, rng=rng, dtype=np.float32, format="csr")
    dense = (rng.random((30, 30)) * (rng.random((30, 30)) < 0.4)).astype(np.float32)
    weights = sp.csr_array(dense) if is_sparse else dense
    expected = history.toarray() @ dense
    np.testing.assert_allclose(history_scores(history, weights), expected, rtol=1e-5, atol=1e-6)
    few = np.array([5, 0, 29], np.int32)
    np.testing.assert_allclose(history_scores(history, weights, few), expected[:, few], rtol=1e-5, atol=1e-6)
    each = rng.integers(0, 30, (rows, 4)).astype(np.int32)
    np.testing.assert_allclose(
        history_scores(history, weights, each), np.take_along_axis(expected, each, 1), rtol=1e-5, atol=1e-6
    )


def test_dots_of_all_chosen_and_own_items() -> None:
    rng = np.random.default_rng(0)
    Q, V = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(11, 6)).astype(np.float32)
    full = Q @ V.T
    each = rng.integers(0, 11, (4, 3))
    np.testing.assert_allclose(dot_scores(Q, V), full, rtol=1e-6)
    np.testing.assert_allclose(dot_scores(Q, V, np.array([2, 7])), full[:, [2, 7]], rtol=1e-5)
    np.testing.assert_allclose(dot_scores(Q, V, each), np.take_along_axis(full, each, 1), rtol=1e-5, atol=1e-6)
    assert gather_scores(full, None) is full


def whole(rng: np.random.Generator, shape: tuple[int, int], share: float) -> sp.csr_array:
    """Whole numbers of either sign, few of them: sums are exact, ties and zeros among the sums are the rule."""
    dense = rng.integers(-2, 4, shape) * (rng.random(shape) < share)
    return sp.csr_array(dense.astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 9),
    st.integers(1, 200),
    st.integers(0, 210),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.integers(0, 3),
)
def test_sparse_lists_are_those_of_the_dense_row(
    seed: int, rows: int, n: int, k: int, share: float, rules: int
) -> None:
    rng = np.random.default_rng(seed)
    profile, weights = whole(rng, (rows, 17), 0.3), whole(rng, (17, n), share)
    seen = whole(rng, (rows, n), 0.2) if rules & 1 else None
    allowed = rng.random(n) < 0.6 if rules & 2 else None
    scores = history_scores(profile, weights)
    items, best, flat = top_k_sparse(profile, weights, k, seen=seen, allowed=allowed)
    expected = top_k(scores, k, seen=seen, allowed=allowed)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_array_equal(best, expected[1])
    np.testing.assert_array_equal(flat, scores.max(axis=1) == scores.min(axis=1))


def test_a_row_of_equal_scores_other_than_zero_is_flat() -> None:
    weights = sp.csr_array(np.array([[2] * 130, [2] * 129 + [3]], np.float32))
    items, _, flat = top_k_sparse(sp.csr_array(np.eye(2, dtype=np.float32)), weights, 2)
    assert items.tolist() == [[0, 1], [129, 0]]
    assert flat.tolist() == [True, False]


def test_narrow_changes_the_type_alone() -> None:
    X = sp.random_array((20, 15), density=0.3, rng=np.random.default_rng(1), format="csr", dtype=np.float32)
    wide = sp.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), shape=X.shape)
    found = narrow_indices(wide)
    assert found.indices.dtype == found.indptr.dtype == np.int32
    np.testing.assert_array_equal(found.toarray(), X.toarray())
    assert found.has_canonical_format

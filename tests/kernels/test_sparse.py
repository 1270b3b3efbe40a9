"""Scores of histories against dense matrix products."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.sparse import dot_scores, gather_scores, history_contributions, history_scores, top_k_sparse
from leanrec.kernels.topk.selection import top_k


@pytest.mark.parametrize("rows", [0, 1, 3, 9])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_history_scores_equal_the_matrix_product(rows: int, is_sparse: bool) -> None:
    rng = np.random.default_rng(rows)
    history = sp.random_array((rows, 30), density=0.3, rng=rng, dtype=np.float32, format="csr")
    dense = (rng.random((30, 30)) * (rng.random((30, 30)) < 0.4)).astype(np.float32)
    weights = sp.csr_array(dense) if is_sparse else dense
    expected = history.toarray() @ dense
    np.testing.assert_allclose(history_scores(history, weights), expected, rtol=1e-5, atol=1e-6)
    shared = np.array([5, 0, 29, 5], np.int32)
    np.testing.assert_allclose(history_scores(history, weights, shared), expected[:, shared], rtol=1e-5, atol=1e-6)
    own = rng.integers(0, 30, (rows, 4)).astype(np.int32)
    np.testing.assert_allclose(
        history_scores(history, weights, own), np.take_along_axis(expected, own, 1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("is_sparse", [False, True])
def test_contributions_of_a_history_add_up_to_its_scores(is_sparse: bool) -> None:
    rng = np.random.default_rng(3)
    history = sp.random_array((1, 30), density=0.3, rng=rng, dtype=np.float32, format="csr")
    dense = (rng.random((30, 30)) * (rng.random((30, 30)) < 0.4)).astype(np.float32)
    weights = sp.csr_array(dense) if is_sparse else dense
    items = np.concatenate([rng.permutation(30), [4, 4]])
    added = history_contributions(history, weights, items)
    np.testing.assert_array_equal(added, history.data * dense[history.indices][:, items].T)
    np.testing.assert_allclose(added.sum(axis=1), history_scores(history, weights)[0, items], rtol=1e-5, atol=1e-6)


def test_dot_scores_for_all_shared_and_per_query_items() -> None:
    rng = np.random.default_rng(0)
    Q, V = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(11, 6)).astype(np.float32)
    full = Q @ V.T
    own = rng.integers(0, 11, (4, 3))
    np.testing.assert_allclose(dot_scores(Q, V), full, rtol=1e-6)
    np.testing.assert_allclose(dot_scores(Q, V, np.array([2, 7])), full[:, [2, 7]], rtol=1e-5)
    np.testing.assert_allclose(dot_scores(Q, V, own), np.take_along_axis(full, own, 1), rtol=1e-5, atol=1e-6)
    assert gather_scores(full, None) is full


def random_integers(rng: np.random.Generator, shape: tuple[int, int], share: float) -> sp.csr_array:
    """Small integers of either sign: sums are exact, and many are equal or 0."""
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
def test_top_k_sparse_equals_top_k_of_dense_scores(
    seed: int, rows: int, n: int, k: int, share: float, rules: int
) -> None:
    rng = np.random.default_rng(seed)
    profile, weights = random_integers(rng, (rows, 17), 0.3), random_integers(rng, (17, n), share)
    seen = random_integers(rng, (rows, n), 0.2) if rules & 1 else None
    allowed = rng.random(n) < 0.6 if rules & 2 else None
    scores = history_scores(profile, weights)
    items, best, is_constant = top_k_sparse(profile, weights, k, seen=seen, allowed=allowed)
    expected = top_k(scores, k, seen=seen, allowed=allowed)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_array_equal(best, expected[1])
    np.testing.assert_array_equal(is_constant, scores.max(axis=1) == scores.min(axis=1))


def test_row_of_equal_nonzero_scores_is_constant() -> None:
    weights = sp.csr_array(np.array([[2] * 130, [2] * 129 + [3]], np.float32))
    items, _, is_constant = top_k_sparse(sp.csr_array(np.eye(2, dtype=np.float32)), weights, 2)
    assert items.tolist() == [[0, 1], [129, 0]]
    assert is_constant.tolist() == [True, False]

"""Scores of histories against plain matrix products."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.sparse import dot_scores, history_scores, pick


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
    assert pick(full, None) is full

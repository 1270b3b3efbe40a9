"""Contrastive losses: values against formulas, gradients against finite differences."""

from collections.abc import Callable

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.graph.propagation import BipartiteEdges
from leanrec.kernels.sgd.contrastive import (
    LossGradients,
    info_nce,
    normalize_rows,
    normalize_rows_backward,
    rescale_rows,
    rescale_rows_backward,
    sampled_logistic,
    sampled_softmax,
)
from leanrec.types import CSR

U, N, D = 30, 20, 5


def edges(rows: int = U, columns: int = N, seed: int = 0) -> CSR:
    X = sp.random_array((rows, columns), density=0.2, rng=np.random.default_rng(seed), format="csr", dtype=np.float32)
    X.data[:] = 1
    X = sp.csr_array(X)
    X.sort_indices()
    return X


def vectors(rows: int, seed: int, width: int = D) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def numerical_gradient(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-2) -> np.ndarray:
    out = np.zeros(at.shape)
    for position in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[position] += step
        down[position] -= step
        out[position] = (loss(up) - loss(down)) / (2 * step)
    return out


def by_formula(
    X: CSR, rows: np.ndarray, columns: np.ndarray, negatives: np.ndarray, log_q: np.ndarray, weights: np.ndarray
) -> float:
    total = 0.0
    for u, i in zip(*X.nonzero(), strict=True):
        Z = np.exp(rows[u] @ columns[negatives].T - log_q)[negatives != i].sum()
        total += weights[u] * -np.log(np.exp(rows[u] @ columns[i]) / (np.exp(rows[u] @ columns[i]) + Z))
    return total


NEGATIVES = np.array([3, 7, 7, 0, 12, 19])
LOG_Q = vectors(6, 9, 1)[:, 0]
WEIGHTS = np.abs(vectors(U, 8, 1)[:, 0])


def test_sampled_softmax_follows_its_formula() -> None:
    X, rows, columns = edges(), vectors(U, 1), vectors(N, 2)
    ours = sampled_softmax(BipartiteEdges.from_matrix(X), rows, columns, NEGATIVES, LOG_Q, WEIGHTS)
    assert ours.loss == pytest.approx(by_formula(X, rows, columns, NEGATIVES, LOG_Q, WEIGHTS), rel=1e-4)


def test_loss_is_zero_if_all_negatives_are_the_positive() -> None:
    X, own = sp.csr_array(np.array([[0, 0, 1]], np.float32)), np.array([2, 2])
    ours = sampled_softmax(
        BipartiteEdges.from_matrix(X),
        vectors(1, 1),
        vectors(3, 2),
        own,
        np.zeros(2, np.float32),
        np.ones(1, np.float32),
    )
    assert ours.loss == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(ours.rows, 0, atol=1e-6)
    np.testing.assert_allclose(ours.columns, 0, atol=1e-6)


def test_all_columns_as_negatives_give_the_full_softmax() -> None:
    X, rows, columns = edges(), vectors(U, 1), vectors(N, 2)
    ours = sampled_softmax(BipartiteEdges.from_matrix(X), rows, columns, np.arange(N), np.zeros(N, np.float32), WEIGHTS)
    S = (rows @ columns.T).astype(np.float64)
    cost = np.log(np.exp(S).sum(axis=1, keepdims=True)) - S
    assert ours.loss == pytest.approx(float((WEIGHTS[:, None] * cost)[X.nonzero()].sum()), rel=1e-4)


def check(run: Callable[[np.ndarray, np.ndarray], LossGradients], rows: np.ndarray, columns: np.ndarray) -> None:
    ours = run(rows, columns)
    np.testing.assert_allclose(
        ours.rows, numerical_gradient(lambda r: run(r, columns).loss, rows), rtol=0.02, atol=0.02
    )
    np.testing.assert_allclose(
        ours.columns, numerical_gradient(lambda c: run(rows, c).loss, columns), rtol=0.02, atol=0.02
    )


def test_gradients_of_sampled_softmax() -> None:
    links = BipartiteEdges.from_matrix(edges())
    check(lambda r, c: sampled_softmax(links, r, c, NEGATIVES, LOG_Q, WEIGHTS), vectors(U, 1), vectors(N, 2))


def test_gradients_of_sampled_logistic() -> None:
    links = BipartiteEdges.from_matrix(edges())
    how = {
        "positive_weights": np.abs(vectors(len(links), 3, 1)[:, 0]),
        "row_weights": WEIGHTS,
        "negative_weights": np.abs(LOG_Q),
    }
    check(lambda r, c: sampled_logistic(links, r, c, NEGATIVES, **how), vectors(U, 1), vectors(N, 2))


def test_sampled_logistic_follows_its_formula() -> None:
    X, rows, columns = edges(), vectors(U, 1), vectors(N, 2)
    positive_weights = np.abs(vectors(X.nnz, 3, 1)[:, 0])
    ours = sampled_logistic(
        BipartiteEdges.from_matrix(X),
        rows,
        columns,
        NEGATIVES,
        positive_weights=positive_weights,
        row_weights=WEIGHTS,
        negative_weights=np.abs(LOG_Q),
    )
    S = rows @ columns.T
    expected = positive_weights @ np.log1p(np.exp(-S[X.nonzero()])) + WEIGHTS @ np.log1p(
        np.exp(S[:, NEGATIVES])
    ) @ np.abs(LOG_Q)
    assert ours.loss == pytest.approx(expected, rel=1e-4)


def test_info_nce_and_its_gradients_follow_the_formula() -> None:
    one, other = normalize_rows(vectors(15, 1))[0], normalize_rows(vectors(15, 2))[0]
    logits = one @ other.T / 0.5
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    assert info_nce(one, other, 0.5).loss == pytest.approx(expected, rel=1e-4)
    check(lambda a, b: info_nce(a, b, 0.5), one, other)


def test_gradient_of_normalization() -> None:
    x, g = vectors(9, 1), vectors(9, 2)
    unit, lengths = normalize_rows(x)
    expected = numerical_gradient(lambda y: float((normalize_rows(y)[0] * g).sum()), x)
    np.testing.assert_allclose(normalize_rows_backward(g, unit, lengths), expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_gradient_of_rescaling(power: float) -> None:
    x, g = vectors(9, 1), vectors(9, 2)
    expected = numerical_gradient(lambda y: float((rescale_rows(*normalize_rows(y), power, 2.0) * g).sum()), x)
    np.testing.assert_allclose(rescale_rows_backward(g, *normalize_rows(x), power, 2.0), expected, rtol=0.02, atol=0.01)


def test_zero_rows_stay_zero() -> None:
    unit, lengths = normalize_rows(np.zeros((3, 4), np.float32))
    assert not unit.any()
    assert np.isfinite(normalize_rows_backward(np.ones((3, 4), np.float32), unit, lengths)).all()


def test_large_scores_do_not_overflow() -> None:
    links, rows, columns = BipartiteEdges.from_matrix(edges()), 100 * vectors(U, 1), vectors(N, 2)
    for ours in (
        sampled_softmax(links, rows, columns, NEGATIVES, LOG_Q, WEIGHTS),
        sampled_logistic(
            links,
            rows,
            columns,
            NEGATIVES,
            positive_weights=np.ones(len(links), np.float32),
            row_weights=WEIGHTS,
            negative_weights=np.abs(LOG_Q),
        ),
    ):
        assert np.isfinite(ours.loss)
        assert np.isfinite(ours.rows).all()


def test_result_does_not_depend_on_threads() -> None:
    X, before = edges(2500, 300), numba.get_num_threads()
    rows, columns, weights = vectors(2500, 1), vectors(300, 2), np.ones(2500, np.float32)
    results = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(
                sampled_softmax(
                    BipartiteEdges.from_matrix(X), rows, columns, np.arange(50), np.zeros(50, np.float32), weights
                )
            )
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(results[0].columns, results[1].columns)
    assert results[0].loss == results[1].loss


def test_empty_graph() -> None:
    none = edges(0, N)
    ours = sampled_softmax(
        BipartiteEdges.from_matrix(none), vectors(0, 1), vectors(N, 2), NEGATIVES, LOG_Q, WEIGHTS[:0]
    )
    assert ours.loss == 0
    assert not ours.columns.any()

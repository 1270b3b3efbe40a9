"""Attention over sequences end to end against full matrices, one sequence and one head at a time."""

import itertools

import numpy as np
import pytest

from leanrec.kernels.layers.attention import add_positions, attend

LENGTHS = [1, 130, 64, 3]
BOUNDS = np.concatenate([[0], np.cumsum(LENGTHS)])


def weigh(products: np.ndarray, first: int, head: int) -> None:
    """Weights 1 + head for the keys up to each query, times the product."""
    later = np.arange(products.shape[1]) > first + np.arange(len(products))[:, None]
    products *= np.where(later, 0, 1 + head)


def weigh_all(products: np.ndarray, first: int, head: int) -> None:
    products *= 1 + head


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("n_last", [None, 1, 2])
def test_sums_are_those_of_full_matrices(causal: bool, n_last: int | None) -> None:
    q, k, v = np.random.default_rng(2).normal(size=(3, BOUNDS[-1], 6)).astype(np.float32)
    counts = LENGTHS if n_last is None else [min(n_last, length) for length in LENGTHS]
    rows = np.concatenate([np.arange(stop - count, stop) for stop, count in zip(BOUNDS[1:], counts, strict=True)])
    query_bounds = np.concatenate([[0], np.cumsum(counts)])
    found = attend(q[rows], k, v, query_bounds, BOUNDS, weigh if causal else weigh_all, n_heads=2, causal=causal)
    expected = np.zeros_like(q)
    for start, stop in itertools.pairwise(BOUNDS):
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            matches = q[start:stop, part] @ k[start:stop, part].T * (1 + head)
            expected[start:stop, part] = (np.tril(matches) if causal else matches) @ v[start:stop, part]
    np.testing.assert_allclose(found, expected[rows], rtol=1e-4, atol=1e-4)


def test_positions_count_from_the_end_of_each_sequence() -> None:
    x = np.zeros((6, 1), np.float32)
    add_positions(x, np.array([[10.0], [20.0], [30.0], [40.0]], np.float32), np.array([0, 3, 4, 6]))
    assert x[:, 0].tolist() == [30, 20, 10, 10, 20, 10]

"""Importances against NumPy."""

import numpy as np

from leanrec.kernels.importance import N_BINS, count_importances, find_important


def test_the_important_weights_are_those_of_the_highest_bins() -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 30, 5000, dtype=np.int32), rng.integers(0, 20, 5000, dtype=np.int32)
    values = (rng.normal(size=5000) * rng.lognormal(0, 4, 5000)).astype(np.float32)
    values[:50] = 0
    factors = rng.random(30) + 0.1, rng.random(20) + 0.1
    importance = (abs(values) * factors[0][rows] * factors[1][columns]).astype(np.float32)
    counts = np.zeros(N_BINS, np.int64)
    count_importances(rows, columns, values, *factors, counts)
    assert counts.sum() == np.count_nonzero(values)
    for n in (1, 100, 4000):
        lowest = N_BINS - 1 - np.flatnonzero(np.cumsum(counts[::-1]) >= n)[0]
        found, of_found = find_important(rows, columns, values, *factors, lowest)
        assert len(found) == counts[lowest:].sum()
        np.testing.assert_array_equal(of_found, importance[found])
        assert of_found.min() > np.delete(importance, found).max()
    assert len(find_important(rows, columns, values, *factors, 0)[0]) == np.count_nonzero(values)

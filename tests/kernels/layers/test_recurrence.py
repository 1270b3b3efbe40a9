"""Recurrences against the formulas, one step at a time."""

import itertools

import numpy as np

from leanrec.kernels.layers.recurrence import scan_gru, scan_linear

BOUNDS = np.array([0, 4, 5, 12])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_gru_follows_the_formulas() -> None:
    rng = np.random.default_rng(1)
    D = 5
    inputs, weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((12, 3 * D), (D, 3 * D), 3 * D))
    found = scan_gru(inputs, weight, bias, BOUNDS)
    for start, stop in itertools.pairwise(BOUNDS):
        hidden = np.zeros(D)
        for row in range(start, stop):
            x, h = np.split(inputs[row].astype(np.float64), 3), np.split(hidden @ weight + bias, 3)
            reset, update = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
            hidden = (1 - update) * np.tanh(x[2] + reset * h[2]) + update * hidden
            np.testing.assert_allclose(found[row], hidden, rtol=1e-4, atol=1e-6)


def test_linear_recurrence_is_a_weighted_sum_of_powers() -> None:
    rng = np.random.default_rng(2)
    x, decay = rng.normal(size=(12, 3, 2)), 0.9 * np.exp(1j * rng.normal(size=3))
    found = x.reshape(12, 6).astype(np.float32)
    scan_linear(found, np.stack([decay.real, decay.imag]).astype(np.float32), BOUNDS)
    values = x[:, :, 0] + 1j * x[:, :, 1]
    for start, stop in itertools.pairwise(BOUNDS):
        for row in range(start, stop):
            state = sum(decay ** (row - earlier) * values[earlier] for earlier in range(start, row + 1))
            np.testing.assert_allclose(found[row].reshape(3, 2) @ [1, 1j], state, rtol=1e-4, atol=1e-5)

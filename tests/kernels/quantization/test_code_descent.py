"""Coordinate descent over codes against the same steps with a dense Hessian."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.quantization.code_descent import descend_codes


def slow_descent(
    H: np.ndarray, b: np.ndarray, z: np.ndarray, step: float, top: int, sweeps: int
) -> tuple[np.ndarray, float]:
    highest = top / 2

    def best_step(before: float) -> float:
        gain, curve = z @ b, z @ H @ z
        return gain / curve if gain > 0 and curve > 0 else before

    step = best_step(step)
    for _ in range(sweeps):
        for d in range(len(z)):
            best = z[d] - (H[d] @ z - b[d] / step) / H[d, d]
            z[d] = np.clip(np.floor(best + highest + 0.5) - highest, -highest, highest)
        step = best_step(step)
    return z, step


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_equals_descent_with_a_dense_hessian(bits: int) -> None:
    rng = np.random.default_rng(bits)
    n, users, width, top = 30, 50, 11, 2**bits - 1
    C = sp.random_array((n, users), density=0.2, rng=rng, format="csr", dtype=np.float32)
    W = rng.standard_normal((users, width)).astype(np.float32)
    gram = (0.1 * W.T @ W).astype(np.float32)
    half = rng.standard_normal((width, width)).astype(np.float32)
    penalty, ridge = half @ half.T, rng.random(n).astype(np.float32)
    codes = rng.integers(0, top + 1, (n, width), dtype=np.uint8)
    steps = np.full(n, 0.3, np.float32)
    wanted, before = codes.astype(float) - top / 2, codes.copy()
    descend_codes(C, W, gram, penalty, ridge, codes, steps, bits, sweeps=3)
    equal = 0
    for row in range(n):
        c = C[[row]].toarray()[0]
        if not c.any():
            np.testing.assert_array_equal(codes[row], before[row])
            continue
        H = gram + ridge[row] * penalty + (W.T * c) @ W
        z, step = slow_descent(H.astype(float), c @ W, wanted[row], 0.3, top, 3)
        equal += bool((z == codes[row] - top / 2).all() and abs(step - steps[row]) < 1e-3)
    # A level near the middle between two may be rounded the other way.
    assert equal >= 0.9 * np.count_nonzero(np.diff(C.indptr))

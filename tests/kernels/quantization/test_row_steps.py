"""Steps of rows: exact where the levels are, few digits."""

import numpy as np
import pytest

from leanrec.kernels.quantization.row_steps import quantize_rows


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_rows_on_the_levels_are_exact(bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (20, 40), dtype=np.uint8)
    codes[:, 0], codes[:, 1] = 0, 2**bits - 1
    steps = (2.0 ** rng.integers(-9, 9, 20)).astype(np.float32)
    X = steps[:, None] * (codes - np.float32((2**bits - 1) / 2))
    found, found_steps = quantize_rows(X, bits)
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_allclose(found_steps, steps, rtol=1e-6)


def test_steps_fit_float16_up_to_a_power_of_two() -> None:
    X = np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32)
    X[3], X[4] = 0, 1e-30
    _, steps = quantize_rows(X, 4)
    assert steps[3] == 0 < steps[4]
    np.testing.assert_array_equal(steps[5:].astype(np.float16), steps[5:])

"""Bit planes against the codes they were packed from."""

import numpy as np
import pytest

from leanrec.kernels.quantization.bit_planes import count_row_bytes, decode_rows, dot_rows, pack_rows, unpack_rows


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("width", [1, 7, 8, 65])
def test_codes_survive_packing(bits: int, width: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (5, width), dtype=np.uint8)
    packed = pack_rows(codes, bits)
    assert packed.shape == (5, count_row_bytes(width, bits))
    assert width * bits / 8 <= packed.shape[1] < width * bits / 8 + 3
    np.testing.assert_array_equal(unpack_rows(packed, width, bits), codes)
    steps = rng.random(5).astype(np.float32)
    vectors = steps[:, None] * (codes - np.float32((2**bits - 1) / 2))
    np.testing.assert_allclose(decode_rows(packed, steps, width, bits), vectors, rtol=1e-6)
    query = rng.standard_normal(width).astype(np.float32)
    np.testing.assert_allclose(dot_rows(packed, steps, query, bits), vectors @ query, rtol=1e-3, atol=1e-3)


def test_no_row() -> None:
    packed = pack_rows(np.zeros((0, 9), np.uint8), 3)
    assert decode_rows(packed, np.zeros(0, np.float32), 9, 3).shape == (0, 9)
    assert dot_rows(packed, np.zeros(0, np.float32), np.ones(9, np.float32), 3).shape == (0,)


def test_many_rows_in_threads() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (5000, 24), dtype=np.uint8)
    query = np.ones(24, np.float32)
    found = dot_rows(pack_rows(codes, 4), np.ones(5000, np.float32), query, 4)
    np.testing.assert_allclose(found, codes.sum(axis=1) - 24 * 7.5, atol=1e-3)

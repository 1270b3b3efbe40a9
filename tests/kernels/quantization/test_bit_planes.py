"""Bit planes against the codes they were packed from."""

import numpy as np
import pytest

from leanrec.kernels.quantization.bit_planes import count_row_bytes, pack_rows, unpack_rows


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("width", [1, 7, 8, 65])
def test_codes_survive_packing(bits: int, width: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (5, width), dtype=np.uint8)
    packed = pack_rows(codes, bits)
    assert packed.shape == (5, count_row_bytes(width, bits))
    assert width * bits / 8 <= packed.shape[1] < width * bits / 8 + 3
    np.testing.assert_array_equal(unpack_rows(packed, width, bits), codes)
    assert unpack_rows(packed[:0], width, bits).shape == (0, width)


def test_six_bits_take_six() -> None:
    assert count_row_bytes(256, 6) == 192

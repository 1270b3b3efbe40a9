"""Packed codes against the codes they were made from."""

import numpy as np
import pytest

from leanrec.kernels.topk.code_strips import (
    allocate_strips,
    count_groups,
    count_strip_bytes,
    pack_codes,
    unpack_codes,
    unpack_strips,
    write_codes,
)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize(("n", "width"), [(1, 1), (16, 31), (37, 33), (48, 64), (50, 130)])
def test_codes_come_back(bits: int, n: int, width: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, (n, width), dtype=np.uint8)
    first, rest = pack_codes(codes, bits)
    rows = np.random.default_rng(1).permutation(n)
    np.testing.assert_array_equal(unpack_codes(first, rest, bits, width, rows), codes[rows])
    assert first.nbytes + rest.nbytes == count_strip_bytes(n, width, bits)
    assert first.ctypes.data % 64 == 0


@pytest.mark.parametrize("bits", range(1, 9))
def test_strips_are_unpacked_to_bytes(bits: int) -> None:
    codes = np.random.default_rng(2).integers(0, 2**bits, (90, 45), dtype=np.uint8)
    first, rest = (part.view(np.uint32)[..., 0] for part in pack_codes(codes, bits))
    words = np.full((3, 12, 16), 7, np.uint32)
    unpack_strips(first, rest, bits, 2, 5, words)
    rows = words.view(np.uint8).reshape(3, 12, 16, 4).transpose(0, 2, 1, 3).reshape(48, 48)
    np.testing.assert_array_equal(rows[:, :45], codes[32:80])


@pytest.mark.parametrize(("bits", "expected"), [(8, 256), (6, 192), (5, 160), (4, 128), (3, 96), (2, 64), (1, 32)])
def test_codes_take_no_more_bits_than_they_have(bits: int, expected: int) -> None:
    assert 4 * sum(count_groups(256, bits)) == expected


def test_written_rows_change_alone() -> None:
    rng = np.random.default_rng(3)
    codes, new = (rng.integers(0, 64, (n, 20), dtype=np.uint8) for n in (40, 2))
    first, rest = pack_codes(codes, 6)
    write_codes(first, rest, 6, np.array([3, 17]), new)
    codes[[3, 17]] = new
    np.testing.assert_array_equal(unpack_codes(first, rest, 6, 20, np.arange(40)), codes)


def test_empty_strips() -> None:
    assert allocate_strips(0, 3).shape == (0, 3, 16, 4)
    assert unpack_codes(*pack_codes(np.zeros((0, 5), np.uint8), 4), 4, 5, np.zeros(0, np.int64)).shape == (0, 5)

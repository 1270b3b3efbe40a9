"""SIMD intrinsics against integer arithmetic."""

import numba
import numpy as np
import pytest

from leanrec.kernels.topk.simd import (
    PANEL_ITEMS,
    any_reaches_1x2,
    any_reaches_4x1,
    element_pointer,
    has_vnni,
    lowest_set_bit,
)


@pytest.mark.parametrize(("rows", "panels"), [(4, 1), (1, 2)])
def test_byte_products_equal_integer_products(rows: int, panels: int) -> None:
    if not has_vnni():
        pytest.skip("needs AVX-512 VNNI")
    kernel = any_reaches_4x1 if rows == 4 else any_reaches_1x2

    @numba.njit
    def run(items, queries, base, floors, words):
        return kernel(
            element_pointer(items, 0),
            element_pointer(queries, 0),
            items.shape[1],
            element_pointer(base, 0),
            element_pointer(floors, 0),
            element_pointer(words, 0),
        )

    rng = np.random.default_rng(6)
    items = rng.integers(0, 256, (panels, 7, PANEL_ITEMS, 4), dtype=np.uint8)
    queries = rng.integers(-128, 128, (rows, 7, 4), dtype=np.int8)
    base = rng.integers(-1000, 1000, rows, dtype=np.int32)
    sums = np.einsum("pgid,rgd->rpi", items.astype(np.int64), queries.astype(np.int64)) + base[:, None, None]
    floors = np.sort(sums.reshape(rows, -1), axis=1)[:, -5].astype(np.int32)
    words = np.zeros((rows, panels), np.uint64)
    assert run(items, queries, base, floors, words)
    bits = (words[:, :, None] >> np.arange(PANEL_ITEMS, dtype=np.uint64)) & np.uint64(1)
    np.testing.assert_array_equal(bits.astype(bool), sums >= floors[:, None, None])
    assert not run(items, queries, base, (sums.max(axis=(1, 2)) + 1).astype(np.int32), words)


def test_lowest_set_bit() -> None:
    @numba.njit
    def first(word):
        return lowest_set_bit(word)

    assert [first(np.uint64(word)) for word in (1, 6, 2**63)] == [0, 1, 63]

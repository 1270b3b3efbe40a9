"""The largest of many: against a full sort, with ties, in any order of the columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.csr import indptr_from_counts, lists_to_csr
from leanrec.kernels.topk.largest import PAD, make_selection_buffers, select_largest


def kept(values: np.ndarray, ids: np.ndarray, names: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    items, best = np.full(k, -7, np.int32), np.full(k, -7, np.float32)
    padded = np.full(len(names) + PAD, 9, np.float32)
    padded[: len(values)] = values
    n = select_largest(padded, len(values), ids.copy(), names, items, best, make_selection_buffers(len(names)))
    assert (items[n:] == -7).all()
    return items[:n].tolist(), best[:n].tolist()


def slow(values: np.ndarray, columns: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    order = [at for at in np.lexsort((columns, -values)) if values[at] > 0][:k]
    order.sort(key=lambda at: columns[at])
    return columns[order].tolist(), values[order].tolist()


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 9000), st.integers(1, 120), st.sampled_from(["whole", "wide", "close"])
)
def test_keeps_what_a_full_sort_keeps(seed: int, width: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, width + 1))
    values = {
        "whole": rng.integers(-2, 6, n),
        "wide": np.exp(rng.normal(0, 20, n)),
        "close": 1 + rng.integers(0, 40, n) * 1e-6,
    }[kind].astype(np.float32)
    names, ids = rng.permutation(width).astype(np.uint32), rng.permutation(width)[:n].astype(np.uint32)
    assert kept(values, ids, names, k) == slow(values, names[ids], k)


def test_the_smallest_numbers_there_are_count_as_well() -> None:
    tiny = np.finfo(np.float32).smallest_subnormal
    ids = np.arange(4, dtype=np.uint32)
    assert kept(np.array([tiny, 0, 3 * tiny, 2 * tiny], np.float32), ids, ids, 2)[0] == [2, 3]
    assert kept(np.array([0, 0, -1, 0], np.float32), ids, ids, 2) == ([], [])
    assert kept(np.array([np.inf, 1, np.inf, 2], np.float32), ids, ids, 3)[0] == [0, 2, 3]


@pytest.mark.parametrize("counts", [[2, 2], [2, 0], [0, 1]])
def test_joins_lists_of_any_length(counts: list[int]) -> None:
    items, values = np.array([[0, 3], [1, 2]], np.int32), np.array([[1, 2], [3, 4]], np.float32)
    expected = np.zeros((2, 4), np.float32)
    for row, count in enumerate(counts):
        expected[row, items[row, :count]] = values[row, :count]
    assert lists_to_csr(items, values, np.array(counts), 4).toarray().tolist() == expected.tolist()


def test_row_starts_are_narrow_while_they_fit() -> None:
    assert (
        lists_to_csr(np.zeros((1, 2), np.int32), np.ones((1, 2), np.float32), np.array([1]), 4).indices.dtype
        == np.int32
    )
    assert indptr_from_counts(np.array([2**31 - 1])).dtype == np.int32
    assert indptr_from_counts(np.array([2**31 - 1, 1])).tolist() == [0, 2**31 - 1, 2**31]

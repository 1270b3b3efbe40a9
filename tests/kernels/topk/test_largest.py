"""Selection of the k largest values against a full sort, with ties, in any column order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.topk.largest import PAD, make_selection_buffers, select_largest


def select(values: np.ndarray, ids: np.ndarray, names: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    items, best = np.full(k, -7, np.int32), np.full(k, -7, np.float32)
    padded = np.full(len(names) + PAD, 9, np.float32)
    padded[: len(values)] = values
    n = select_largest(padded, len(values), ids.copy(), names, items, best, make_selection_buffers(len(names)))
    assert (items[n:] == -7).all()
    return items[:n].tolist(), best[:n].tolist()


def slow_select(values: np.ndarray, columns: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    order = [at for at in np.lexsort((columns, -values)) if values[at] > 0][:k]
    order.sort(key=lambda at: columns[at])
    return columns[order].tolist(), values[order].tolist()


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 9000), st.integers(1, 120), st.sampled_from(["integers", "wide", "close"])
)
def test_selection_equals_a_full_sort(seed: int, width: int, k: int, values_kind: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, width + 1))
    values = {
        "integers": rng.integers(-2, 6, n),
        "wide": np.exp(rng.normal(0, 20, n)),
        "close": 1 + rng.integers(0, 40, n) * 1e-6,
    }[values_kind].astype(np.float32)
    names, ids = rng.permutation(width).astype(np.uint32), rng.permutation(width)[:n].astype(np.uint32)
    assert select(values, ids, names, k) == slow_select(values, names[ids], k)


def test_subnormal_negative_and_infinite_values() -> None:
    tiny = np.finfo(np.float32).smallest_subnormal
    ids = np.arange(4, dtype=np.uint32)
    assert select(np.array([tiny, 0, 3 * tiny, 2 * tiny], np.float32), ids, ids, 2)[0] == [2, 3]
    assert select(np.array([0, 0, -1, 0], np.float32), ids, ids, 2) == ([], [])
    assert select(np.array([np.inf, 1, np.inf, 2], np.float32), ids, ids, 3)[0] == [0, 2, 3]

"""Bytes of a model by part."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.compression.methods import count_parts
from leanrec.models.linear.ease import EASE, EASEModel


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    items: np.ndarray
    more: tuple[np.ndarray, ...]
    tables: dict[str, np.ndarray]
    model: EASEModel
    bits: int = 3


def test_all_arrays_are_counted_by_their_field() -> None:
    weights = sp.csr_array(np.eye(5, dtype=np.float32))
    value = Parts(
        np.zeros((5, 2), np.float32),
        (np.zeros(3, np.int64), np.zeros(1, np.int64)),
        {"books": np.zeros(7, np.uint8)},
        EASEModel(EASE(top_k=1), weights),
    )
    index = weights.indices.itemsize
    assert count_parts(value) == {
        "items": 40,
        "more": 32,
        "books": 7,
        "weights.data": 20,
        "weights.indices": 5 * index,
        "weights.indptr": 6 * weights.indptr.itemsize,
    }
    assert next(iter(count_parts(value))) == "items"

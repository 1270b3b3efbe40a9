"""Core value types: row selection of queries, and index types of matrices."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.types import Queries, compact_indices, empty_csr


def with_context(dataset: Dataset) -> Queries:
    queries = dataset.queries(np.arange(6, dtype=np.int32))
    device = np.array(["phone", "web", "tv", "phone", "web", "tv"], np.dtypes.StringDType())
    return dataclasses.replace(queries, time=np.arange(6), context=Table({"device": device}))


@pytest.mark.parametrize("rows", [np.array([4, 0, 4]), np.zeros(0, np.int64)])
def test_take_selects_rows_of_every_field(dataset: Dataset, rows: np.ndarray) -> None:
    queries = with_context(dataset)
    taken = queries.take(rows)
    assert taken.users.tolist() == queries.users[rows].tolist()
    for name in ("history", "seen", "ratings"):
        assert (getattr(taken, name) != getattr(queries, name)[rows]).nnz == 0
    assert taken.time is not None
    assert taken.time.tolist() == rows.tolist()
    assert queries.sequences is not None
    assert [each.tolist() for each in taken.sequences or ()] == [
        queries.sequences[row].tolist() for row in rows.tolist()
    ]
    assert taken.context is not None
    assert len(taken.context) == len(rows)


def test_block_equals_take_of_its_rows(dataset: Dataset) -> None:
    queries = with_context(dataset)
    block, taken = queries.block(2, 5), queries.take(np.arange(2, 5))
    assert block.users.tolist() == taken.users.tolist() == [2, 3, 4]
    assert (block.history != taken.history).nnz == 0
    assert block.context is not None
    assert block.context.columns["device"].tolist() == ["tv", "phone", "web"]
    assert [each.tolist() for each in block.sequences or ()] == [each.tolist() for each in taken.sequences or ()]


def test_context_must_have_a_row_for_each_user() -> None:
    with pytest.raises(DataError, match=r"context must have one row per user \(2\)\. Got 1"):
        Queries(np.zeros(2, np.int32), empty_csr(2, 3), context=Table({"hour": np.zeros(1)}))


def wide(matrix: sp.csr_array) -> sp.csr_array:
    copy = matrix.copy()
    copy.indices, copy.indptr = copy.indices.astype(np.int64), copy.indptr.astype(np.int64)
    return copy


def test_wide_indices_become_int32_and_right_ones_stay(dataset: Dataset) -> None:
    matrix = dataset.interactions
    assert compact_indices(matrix) is matrix
    compact = compact_indices(wide(matrix))
    assert compact.indices.dtype == compact.indptr.dtype == np.int32
    assert (compact != matrix).nnz == 0
    queries = Queries(np.zeros(matrix.shape[0], np.int32), wide(matrix), seen=wide(matrix))
    assert queries.seen is not None
    assert {queries.history.indices.dtype, queries.seen.indptr.dtype} == {np.dtype(np.int32)}
    assert Queries(queries.users, matrix).history is matrix

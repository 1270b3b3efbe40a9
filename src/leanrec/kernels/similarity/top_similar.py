"""Top-k similarities between the rows or columns of a sparse matrix, without a dense matrix of pairs.

Each thread accumulates the products of one row in a dense buffer (Gustavson, "Two Fast Algorithms for Sparse Matrices",
ACM TOMS 1978), turns them into similarities and keeps the k largest. A row belongs to one thread and is summed in a fixed
order, so the result is the same for any number of threads. A row with few products lists the columns it reaches and
visits only those; the other rows go through all columns.
"""

import dataclasses
from typing import Annotated

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.csr import csr_arrays, lists_to_csr
from leanrec.kernels.threads import MIN_ROWS_FOR_THREADS, compile_serial_and_parallel
from leanrec.kernels.topk.largest import PAD, make_selection_buffers, select_largest
from leanrec.settings import check_at_least, check_one_of
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = [
    "MEASURES",
    "RowStatistics",
    "compute_row_statistics",
    "top_similar",
    "top_similar_bytes",
    "top_similar_rows",
]

MEASURES = ("dot", "cosine", "tanimoto", "euclidean", "jaccard", "dice", "overlap", "pearson", "correlation")
_BINARY_MEASURES = ("jaccard", "dice", "overlap")
# A row with fewer products than 1 / this of the columns visits only the columns it reaches.
_DENSE_SHARE = 2


@dataclasses.dataclass(frozen=True, eq=False)
class RowStatistics:
    """Statistics of M sparse vectors that similarity measures need besides the dot products.

    Attributes:
        squared_norms: (M,) float32 sums of squared entries; for "correlation", of deviations from the row mean.
        counts: (M,) float32 numbers of entries; for "correlation", row sums / √F.
        inverse_norms: (M,) float32 1 / √squared_norms, 0 where that is 0.
        is_binary: whether every entry is 1.
    """

    squared_norms: Annotated[Float32Array, ArrayShape("M")]
    counts: Annotated[Float32Array, ArrayShape("M")]
    inverse_norms: Annotated[Float32Array, ArrayShape("M")]
    is_binary: bool


def compute_row_statistics(rows: CSR, measure: str = "cosine") -> RowStatistics:
    """Statistics of the rows of (M, F) for ``measure``. O(entries)."""
    squared_norms, sums, is_binary = _squares_and_sums(*_unsigned_arrays(rows))
    if measure != "correlation":
        counts = np.diff(rows.indptr).astype(np.float32)
        return RowStatistics(squared_norms.astype(np.float32), counts, _invert_norms(squared_norms), is_binary)
    sums /= np.sqrt(max(1, rows.shape[1]))
    centered = squared_norms - sums**2
    # Below this share of the raw squares only rounding error is left: a constant row has no correlation.
    squared = np.where(centered > 1e-9 * squared_norms, centered, 0)
    return RowStatistics(squared.astype(np.float32), sums.astype(np.float32), _invert_norms(squared), is_binary)


def _invert_norms(squared_norms: np.ndarray) -> Float32Array:
    inverse = np.divide(1, np.sqrt(squared_norms), out=np.zeros(len(squared_norms)), where=squared_norms > 0)
    return np.asarray(inverse, dtype=np.float32)


def top_similar_bytes(n_rows: int, n_columns: int, k: int, threads: int) -> int:
    """Upper estimate of the memory of ``top_similar_rows``: its lists twice, and buffers of each thread."""
    kept = n_rows * min(k, n_columns)
    return 24 * kept + 40 * (n_rows + n_columns) + threads * 90 * n_columns


def top_similar(X: CSR, k: int, measure: str = "cosine", *, shrinkage: float = 0.0, min_shared: int = 1) -> CSR:
    """The k most similar columns of each column: (N, N) float32, at most k per row, empty diagonal.

    Keeps positive similarities of pairs that share a row; ties go to the first columns. ``indices`` are sorted.

    Measures of columns x and y with n_x and n_y entries (users), c of them in shared rows:
    ``dot`` x·y; ``cosine`` x·y / |x||y|; ``tanimoto`` x·y / (|x|² + |y|² − x·y); ``euclidean``
    1 / (1 + |x − y|); ``jaccard`` c / (n_x + n_y − c); ``dice`` 2c / (n_x + n_y); ``overlap``
    c / min(n_x, n_y); ``pearson`` the correlation over the shared rows (0 where c < 2);
    ``correlation`` the correlation over all rows, missing entries as 0.
    Each is multiplied by c / (c + shrinkage), which lowers similarities that rest on few shared rows.

    Time O(Σ_u L_u²) for rows of L_u entries; memory as ``top_similar_bytes`` and a transposed copy of X.

    Args:
        X: (U, N); duplicates are summed. Pass ``X.T.tocsr()`` for similarities between users.
        k: at least 0.
        measure: one of ``MEASURES``.
        shrinkage: at least 0.
        min_shared: pairs that share fewer rows are left out.
    """
    columns = _sum_duplicates(sp.csr_array(X.T))
    return _find_top_similar(
        columns,
        _sum_duplicates(X),
        k,
        measure,
        shrinkage,
        min_shared,
        compute_row_statistics(columns, measure),
        exclude_self=True,
    )


def top_similar_rows(
    A: CSR,
    Yt: CSR,
    k: int,
    measure: str = "cosine",
    *,
    shrinkage: float = 0.0,
    min_shared: int = 1,
    y_statistics: RowStatistics | None = None,
    exclude_self: bool = False,
) -> CSR:
    """The k rows of Y that are most similar to each row of A: (B, M) float32, as ``top_similar``.

    For serving: Y is transposed once by the caller, and a call costs O(Σ over the entries of A of the length of the
    matching row of Yt), without a pass over Y.

    Args:
        A: (B, F).
        Yt: (F, M): Y transposed.
        k: length of the lists.
        measure: one of ``MEASURES``.
        shrinkage: at least 0.
        min_shared: pairs that share fewer columns are left out.
        y_statistics: ``compute_row_statistics(Y, measure)``; None = computed here, O(entries of Y).
        exclude_self: leave out row b of Y for row b of A.
    """
    if A.shape[1] != Yt.shape[0]:
        raise DataError(f"A must have a column for each of the {Yt.shape[0]} rows of Yt. Got {A.shape[1]}.")
    y_statistics = y_statistics or compute_row_statistics(sp.csr_array(Yt.T), measure)
    return _find_top_similar(
        _sum_duplicates(A),
        _sum_duplicates(Yt),
        k,
        measure,
        shrinkage,
        min_shared,
        y_statistics,
        exclude_self=exclude_self,
    )


def _find_top_similar(
    A: CSR,
    Yt: CSR,
    k: int,
    measure: str,
    shrinkage: float,
    min_shared: int,
    y_statistics: RowStatistics,
    *,
    exclude_self: bool,
) -> CSR:
    check_one_of("measure", measure, MEASURES)
    check_at_least("k", k, 0)
    check_at_least("shrinkage", shrinkage, 0)
    k, rows = min(k, Yt.shape[1]), A.shape[0]
    if not k or not A.nnz or not Yt.nnz:
        return empty_csr(rows, Yt.shape[1])
    if measure in _BINARY_MEASURES:
        A, Yt = _binarize(A), Yt if y_statistics.is_binary else _binarize(Yt)
    a_statistics = compute_row_statistics(A, measure)
    counting = bool(shrinkage > 0 or min_shared > 1) and not (
        measure in _BINARY_MEASURES or measure == "pearson" or (a_statistics.is_binary and y_statistics.is_binary)
    )
    few = rows < MIN_ROWS_FOR_THREADS
    # A pass over Y pays off for many rows; a single request goes without.
    column_order = np.arange(Yt.shape[1]) if few else np.argsort(-y_statistics.counts, kind="stable")
    a, y = _unsigned_arrays(A), _unsigned_arrays(Yt)
    has_constant_rows = not few and bool(_has_constant_rows(y[0], y[2]))
    if not few:
        # Frequent columns side by side: most sums then stay in the first-level cache.
        ranks = np.empty(len(column_order), np.uint32)
        ranks[column_order] = np.arange(len(column_order))
        y = y[0], ranks[y[1]], y[2]
    settings = (
        np.float32(shrinkage),
        np.float32(min_shared),
        MEASURES.index(measure),
        counting,
        exclude_self,
        has_constant_rows,
    )
    lists = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32), np.zeros(rows, np.int64)
    n_products = _count_products(a[0], a[1], y[0])
    norms, counts, inverse_norms = y_statistics.squared_norms, y_statistics.counts, y_statistics.inverse_norms
    (_process_rows.serial if few else _process_rows.parallel)(
        1 if few else numba.get_num_threads(), np.argsort(-n_products, kind="stable"), n_products, a, y, settings,
        (a_statistics.squared_norms, a_statistics.counts, a_statistics.inverse_norms), (norms[column_order], counts[column_order], inverse_norms[column_order]), column_order.astype(np.uint32), lists,
    )  # fmt: skip
    return lists_to_csr(*lists, Yt.shape[1])


def _sum_duplicates(matrix: CSR) -> CSR:
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _binarize(matrix: CSR) -> CSR:
    return sp.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _unsigned_arrays(matrix: CSR) -> tuple[np.ndarray, np.ndarray, Float32Array]:
    """``csr_arrays`` with unsigned columns, which spare the inner loops a check for negative indices."""
    indptr, indices, data = csr_arrays(matrix)
    return indptr, indices.view(np.uint32), data


@numba.njit(cache=True, nogil=True)
def _squares_and_sums(indptr, _indices, data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Sums of squares and sums of each row in float64, and whether all entries are 1."""
    n, is_binary = len(indptr) - 1, True
    squared_norms, sums = np.zeros(n), np.zeros(n)
    for row in range(n):
        for entry in range(indptr[row], indptr[row + 1]):
            value = np.float64(data[entry])
            squared_norms[row] += value * value
            sums[row] += value
            is_binary &= value == 1
    return squared_norms, sums, is_binary


@numba.njit(cache=True, nogil=True)
def _has_constant_rows(indptr, data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Whether the entries of each row are equal, as in binary data or data weighted by row."""
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            if data[entry] != data[indptr[row]]:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def _count_products(starts, middles, yp):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """(B,) number of products of each row. Rows are processed in descending order, so that threads get equal loads."""
    n_products = np.zeros(len(starts) - 1, np.int64)
    for row in range(len(n_products)):
        for entry in range(starts[row], starts[row + 1]):
            n_products[row] += yp[middles[entry] + 1] - yp[middles[entry]]
    return n_products


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _similarity(measure, dot, shared, x, squared_norms, counts, inverse_norms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Similarity of x, (squared_norms, counts, inverse_norms), and one column."""
    if measure == 0:
        return dot
    if measure == 1:
        return dot * (x[2] * inverse_norms)
    if measure == 2:
        rest = x[0] + squared_norms - dot
        return dot / rest if rest > 0 else np.float32(0)
    if measure == 3:
        return np.float32(1) / (np.float32(1) + np.sqrt(max(x[0] + squared_norms - np.float32(2) * dot, np.float32(0))))
    if measure == 4:
        return shared / (x[1] + counts - shared)
    if measure == 5:
        return np.float32(2) * shared / (x[1] + counts)
    if measure == 8:
        return (dot - x[1] * counts) * (x[2] * inverse_norms)
    return shared / min(x[1], counts)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _apply_measure(measure, ids, dots, shared, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    squared_norms, counts, inverse_norms = y
    for at in range(len(ids)):
        dot, column = dots[at], ids[at]
        value = _similarity(measure, dot, shared[at], x, squared_norms[column], counts[column], inverse_norms[column])
        dots[at] = value if dot != 0 else np.float32(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _to_similarities(measure, ids, dots, shared, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Turn dot products into similarities, in place. Common measures have their own loop, which is vectorized."""
    if measure == 1:
        _apply_measure(1, ids, dots, shared, x, y)
    elif measure == 4:
        _apply_measure(4, ids, dots, shared, x, y)
    elif measure == 8:
        _apply_measure(8, ids, dots, shared, x, y)
    elif measure != 0:
        _apply_measure(measure, ids, dots, shared, x, y)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _shrink_similarities(values, shared, shrinkage, min_shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Multiply each similarity by c / (c + shrinkage), or by 0 below ``min_shared``."""
    for at in range(len(values)):
        count = shared[at]
        factor = count / (count + shrinkage) if shrinkage > 0 and count > 0 else np.float32(1)
        values[at] *= np.float32(0) if min_shared > 1 and count < min_shared else factor


@numba.njit(cache=True, nogil=True)
def _add_products(row, a, y, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    ap, ai, ad = a
    yp, yi, yd = y
    for entry in range(ap[row], ap[row + 1]):
        weight, shared_column = ad[entry], ai[entry]
        for other in range(yp[shared_column], yp[shared_column + 1]):
            sums[yi[other]] += weight * yd[other]


@numba.njit(cache=True, nogil=True)
def _add_constant_rows(row, a, y, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """``_add_products`` for a Y with constant rows: one value is read per row."""
    ap, ai, ad = a
    yp, yi, yd = y
    for entry in range(ap[row], ap[row + 1]):
        start, stop = yp[ai[entry]], yp[ai[entry] + 1]
        if start < stop:
            weight = ad[entry] * yd[start]
            for other in range(start, stop):
                sums[yi[other]] += weight


@numba.njit(cache=True, nogil=True)
def _count_shared(row, a, y, counts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    ap, ai, yp, yi = a[0], a[1], y[0], y[1]
    for entry in range(ap[row], ap[row + 1]):
        for other in range(yp[ai[entry]], yp[ai[entry] + 1]):
            counts[yi[other]] += 1


@numba.njit(cache=True, nogil=True)
def _add_pair_sums(row, a, y, pair_sums, ids):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Add n, Σx, Σy, Σx², Σy², Σxy over shared columns; list the reached ids. Returns their number."""
    ap, ai, ad = a
    yp, yi, yd = y
    n = 0
    for entry in range(ap[row], ap[row + 1]):
        x_value, shared_column = np.float64(ad[entry]), ai[entry]
        for other in range(yp[shared_column], yp[shared_column + 1]):
            y_value, sums = np.float64(yd[other]), pair_sums[yi[other]]
            if sums[0] == 0:
                ids[n] = yi[other]
                n += 1
            sums[0] += 1
            sums[1] += x_value
            sums[2] += y_value
            sums[3] += x_value * x_value
            sums[4] += y_value * y_value
            sums[5] += x_value * y_value
    return n


@numba.njit(cache=True, nogil=True)
def _correlate(sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Correlation from the sums of ``_add_pair_sums``."""
    n = sums[0]
    if n < 2:
        return np.float32(0)
    covariance = sums[5] - sums[1] * sums[2] / n
    x, y = sums[3] - sums[1] * sums[1] / n, sums[4] - sums[2] * sums[2] / n
    # Below this share of the raw sums only rounding error is left: a constant has no correlation.
    if x <= 1e-9 * sums[3] or y <= 1e-9 * sums[4]:
        return np.float32(0)
    return np.float32(covariance / np.sqrt(x * y))


@numba.njit(cache=True, nogil=True)
def _add_listing_columns(row, a, y, has_constant_rows, sums, ids):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """``_add_products`` that also lists the columns in the order they are reached. Returns their number.

    A column whose sum returns to 0 is listed again; it is read as 0 the second time.
    """
    ap, ai, ad = a
    yp, yi, yd = y
    n = np.uint64(0)
    for entry in range(ap[row], ap[row + 1]):
        start, stop = yp[ai[entry]], yp[ai[entry] + 1]
        if has_constant_rows and start < stop:
            weight = ad[entry] * yd[start]
            for other in range(start, stop):
                column = yi[other]
                before = sums[column]
                # Written always and counted if new, so there is no branch.
                ids[n] = column
                n += np.uint64(before == 0)
                sums[column] = before + weight
            continue
        for other in range(start, stop):
            column = yi[other]
            before = sums[column]
            ids[n] = column
            n += np.uint64(before == 0)
            sums[column] = before + ad[entry] * yd[other]
    return n


@numba.njit(cache=True, nogil=True)
def _move_sums(ids, sums, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move the sums of the listed columns to ``out`` and reset them to 0."""
    for at in range(len(ids)):
        out[at] = sums[ids[at]]
        sums[ids[at]] = 0


@numba.njit(cache=True, nogil=True)
def _correlate_row(row, a, y, pair_sums, ids, values, shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Correlations over shared columns and the numbers of shared columns. Returns their number."""
    n = _add_pair_sums(row, a, y, pair_sums, ids)
    for at in range(n):
        sums = pair_sums[ids[at]]
        values[at], shared[at] = _correlate(sums), np.float32(sums[0])
        sums[:] = 0
    return n


@numba.njit(cache=True, nogil=True)
def _compute_row_products(row, few, a, y, settings, buffers, ids, values, shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Products of one row with the columns it reaches, or with all columns. Returns their number."""
    counting, has_constant_rows = settings[3], settings[5]
    by_count = settings[0] > 0 or settings[1] > 1 or settings[2] >= 4
    n = np.int64(len(ids))
    if few:
        n = np.int64(_add_listing_columns(row, a, y, has_constant_rows, buffers[0], ids))
    elif has_constant_rows:
        _add_constant_rows(row, a, y, buffers[0])
    else:
        _add_products(row, a, y, buffers[0])
    _move_sums(ids[:n], buffers[0], values)
    if counting:
        _count_shared(row, a, y, buffers[1])
        _move_sums(ids[:n], buffers[1], shared)
    elif by_count:
        shared[:n] = values[:n]
    return n


@numba.njit(cache=True, nogil=True)
def _process_rows_of_worker(worker, workers, order, n_products, a, y, settings, a_stats, y_stats, column_order, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Every ``workers``-th row in ``order``. ``a`` and ``y`` are (indptr, indices, data)."""
    shrinkage, min_shared, measure, counting, exclude_self, _level = settings
    width = len(column_order)
    buffers = np.zeros(width, np.float32), np.zeros(width if counting else 1, np.float32)
    pair_sums = np.zeros((width if measure == 7 else 1, 6), np.float64)
    listed, all_columns = np.empty(width, np.uint32), np.arange(width).astype(np.uint32)
    values, shared = np.zeros(width + PAD, np.float32), np.empty(width, np.float32)
    selection_buffers = make_selection_buffers(width)
    for at in range(worker, len(order), workers):
        row = order[at]
        few = n_products[row] < width // _DENSE_SHARE or measure == 7
        ids = listed if few else all_columns
        if measure == 7:
            n = _correlate_row(row, a, y, pair_sums, ids, values, shared)
        else:
            n = _compute_row_products(row, few, a, y, settings, buffers, ids, values, shared)
            x = a_stats[0][row], a_stats[1][row], a_stats[2][row]
            _to_similarities(measure, ids[:n], values[:n], shared[:n], x, y_stats)
        if shrinkage > 0 or min_shared > 1:
            _shrink_similarities(values[:n], shared[:n], shrinkage, min_shared)
        if exclude_self:
            _zero_self(row, ids[:n], column_order, values)
        lists[2][row] = select_largest(values, n, ids, column_order, lists[0][row], lists[1][row], selection_buffers)


@numba.njit(cache=True, nogil=True)
def _zero_self(row, ids, column_order, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Set the similarity of a row to itself to 0."""
    for at in range(len(ids)):
        if column_order[ids[at]] == row:
            values[at] = 0


@compile_serial_and_parallel
def _process_rows(workers, order, n_products, a, y, settings, a_stats, y_stats, column_order, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in numba.prange(workers):
        _process_rows_of_worker(
            worker, workers, order, n_products, a, y, settings, a_stats, y_stats, column_order, lists
        )

"""Similarities between sparse rows or columns, the K largest kept, without a dense matrix of pairs.

One row of products is gathered at a time in a dense strip for each thread (Gustavson 1978), turned into a
similarity and reduced to its K largest. A row belongs to one thread and is summed in a fixed order, so the
result is the same for any number of threads.
"""

import dataclasses

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.kernels.topk import sink, sort_heap
from leanrec.settings import check_at_least, check_one_of
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["MEASURES", "Margins", "margins", "similar_bytes", "top_related", "top_similar"]

MEASURES = ("dot", "cosine", "tanimoto", "euclidean", "jaccard", "dice", "overlap", "pearson", "correlation")
_ON_COUNTS = ("jaccard", "dice", "overlap")
# Touched columns are noted by blocks of this many, so that the inner loop has no branch.
_BLOCK = 64
# Below this many rows, starting threads costs more than they save.
_FEW = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Margins:
    """What a measure needs to know of each of M vectors beside its products.

    Attributes:
        squares: (M,) float32 sums of squared entries; for "correlation", around the mean of the row.
        counts: (M,) float32 numbers of entries; for "correlation", sum of the row / √F.
        binary: whether every entry is 1, so that a query need not look.
    """

    squares: Float32Array
    counts: Float32Array
    binary: bool


def margins(rows: CSR, measure: str = "cosine") -> Margins:
    """What ``measure`` needs to know of each row of (M, F). O(entries)."""
    counts = np.diff(rows.indptr)
    owner = np.repeat(np.arange(rows.shape[0]), counts)
    binary = bool((rows.data == 1).all())
    squares = np.bincount(owner, weights=rows.data.astype(np.float64) ** 2, minlength=rows.shape[0])
    if measure != "correlation":
        return Margins(squares.astype(np.float32), counts.astype(np.float32), binary)
    sums = np.bincount(owner, weights=rows.data, minlength=rows.shape[0]) / np.sqrt(max(1, rows.shape[1]))
    centred = squares - sums**2
    # Below this share of the raw squares nothing is left but rounding: a constant has no correlation.
    known = np.where(centred > 1e-9 * squares, centred, 0)
    return Margins(known.astype(np.float32), sums.astype(np.float32), binary)


def similar_bytes(n_rows: int, n_columns: int, k: int, threads: int) -> int:
    """Upper estimate of the memory of ``top_related``: its lists twice and a strip of sums per thread."""
    kept = n_rows * min(k, n_columns)
    return 24 * kept + 12 * (n_rows + n_columns) + threads * 25 * n_columns


def top_similar(X: CSR, k: int, measure: str = "cosine", *, shrinkage: float = 0.0, min_shared: int = 1) -> CSR:
    """The k most similar other columns of each column: (N, N) float32, at most k a row, none on the diagonal.

    Only pairs that share a row, and only similarities above 0, are kept; equal ones in the order of their
    columns. A row holds its columns in ascending order (``indices`` sorted).

    Measures, for columns x and y over the rows (users) that touch them, c = number of shared rows:
    ``dot`` x·y; ``cosine`` x·y / |x||y|; ``tanimoto`` x·y / (|x|² + |y|² − x·y); ``euclidean``
    1 / (1 + |x − y|); ``jaccard`` c / (n_x + n_y − c); ``dice`` 2c / (n_x + n_y); ``overlap``
    c / min(n_x, n_y); ``pearson`` the correlation over the shared rows alone (0 where c < 2);
    ``correlation`` the same over all rows, no entry being 0.
    Each is then multiplied by c / (c + shrinkage): few shared rows count for less.

    Time O(Σ_u L_u²) for rows of L_u entries; memory as ``similar_bytes`` says, and a transposed copy of X.

    Args:
        X: (U, N), duplicates summed. For similarities between users give ``X.T.tocsr()``.
        k: at least 0; more than N − 1 is N − 1.
        measure: one of ``MEASURES``.
        shrinkage: at least 0.
        min_shared: pairs that share fewer rows are left out.
    """
    columns = _canonical(sp.csr_array(X.T))
    return _related(
        columns, _canonical(X), k, measure, shrinkage, min_shared, margins(columns, measure), skip_self=True
    )


def top_related(
    A: CSR,
    Yt: CSR,
    k: int,
    measure: str = "cosine",
    *,
    shrinkage: float = 0.0,
    min_shared: int = 1,
    of_y: Margins | None = None,
    skip_self: bool = False,
) -> CSR:
    """The k rows of Y that are most similar to each row of A: (B, M) float32, as ``top_similar``.

    Made for answering: Y is transposed once, and a call costs O(Σ over the entries of A of their rows in
    Yt), with no pass over Y.

    Args:
        A: (B, F).
        Yt: (F, M): Y transposed.
        k: length of the lists.
        measure: one of ``MEASURES``.
        shrinkage: at least 0.
        min_shared: pairs that share fewer columns are left out.
        of_y: ``margins(Y, measure)``; made here if None, O(entries of Y).
        skip_self: leave out row b of Y for row b of A.
    """
    if A.shape[1] != Yt.shape[0]:
        raise DataError(f"A must have a column for each of the {Yt.shape[0]} rows of Yt. Got {A.shape[1]}.")
    of_y = of_y or margins(sp.csr_array(Yt.T), measure)
    return _related(_canonical(A), _canonical(Yt), k, measure, shrinkage, min_shared, of_y, skip_self=skip_self)


def _related(
    A: CSR,
    Yt: CSR,
    k: int,
    measure: str,
    shrinkage: float,
    min_shared: int,
    of_y: Margins,
    *,
    skip_self: bool,
) -> CSR:
    check_one_of("measure", measure, MEASURES)
    check_at_least("k", k, 0)
    check_at_least("shrinkage", shrinkage, 0)
    k = min(k, Yt.shape[1])
    if measure in _ON_COUNTS:
        A, Yt = _ones(A), Yt if of_y.binary else _ones(Yt)
    of_a = margins(A, measure)
    items = np.full((A.shape[0], k), -1, dtype=np.int32)
    best = np.full((A.shape[0], k), -np.inf, dtype=np.float32)
    if k and A.nnz and Yt.nnz:
        counting = bool(shrinkage > 0 or min_shared > 1) and not (
            measure in _ON_COUNTS or (of_a.binary and of_y.binary)
        )
        few = A.shape[0] < _FEW
        rule = np.float32(shrinkage), np.float32(min_shared), MEASURES.index(measure), counting, skip_self
        known, other = (of_a.squares, of_a.counts), (of_y.squares, of_y.counts)
        workers = 1 if few else numba.get_num_threads()
        gather = _gather_few if few else _gather_many
        gather(workers, _deal(A, Yt), _parts(A), _parts(Yt), rule, known, other, (items, best))
    return _to_csr(items, best, Yt.shape[1])


def _canonical(matrix: CSR) -> CSR:
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _ones(matrix: CSR) -> CSR:
    return sp.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _parts(matrix: CSR) -> tuple[np.ndarray, Int32Array, Float32Array]:
    # One type of index for the compiler, wide enough for more than 2³¹ entries.
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


def _deal(A: CSR, Yt: CSR) -> np.ndarray:
    """Rows of A, dearest first: dealt out in turn, every thread gets the same load."""
    each = np.concatenate([[0], np.cumsum(np.diff(Yt.indptr)[A.indices])])
    cost = each[A.indptr[1:]] - each[A.indptr[:-1]]
    return np.argsort(-cost, kind="stable")


def _to_csr(items: Int32Array, values: Float32Array, n_columns: int) -> CSR:
    kept = items >= 0
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    matrix = sp.csr_array((values[kept], items[kept], indptr), shape=(len(items), n_columns))
    matrix.sort_indices()
    return matrix


@numba.njit(cache=True)
def _similarity(measure, dot, shared, xx, yy, nx, ny):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if measure == 0:
        return dot
    if measure == 1:
        scale = np.sqrt(xx) * np.sqrt(yy)
        return dot / scale if scale > 0 else np.float32(0)
    if measure == 2:
        rest = xx + yy - dot
        return dot / rest if rest > 0 else np.float32(0)
    if measure == 3:
        return np.float32(1) / (np.float32(1) + np.sqrt(max(xx + yy - np.float32(2) * dot, np.float32(0))))
    if measure == 4:
        return shared / (nx + ny - shared)
    if measure == 5:
        return np.float32(2) * shared / (nx + ny)
    if measure == 8:
        scale = np.sqrt(xx) * np.sqrt(yy)
        return (dot - nx * ny) / scale if scale > 0 else np.float32(0)
    return shared / min(nx, ny)


@numba.njit(cache=True)
def _pearson(sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Correlation from the six sums n, Σx, Σy, Σx², Σy², Σxy."""
    n = sums[0]
    if n < 2:
        return np.float32(0)
    covariance = sums[5] - sums[1] * sums[2] / n
    x, y = sums[3] - sums[1] * sums[1] / n, sums[4] - sums[2] * sums[2] / n
    # Below this share of the raw sums nothing is left but rounding: a constant has no correlation.
    if x <= 1e-9 * sums[3] or y <= 1e-9 * sums[4]:
        return np.float32(0)
    return np.float32(covariance / np.sqrt(x * y))


@numba.njit(cache=True)
def _add_dots(row, ap, ai, ad, yp, yi, yd, dots, touched):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for entry in range(ap[row], ap[row + 1]):
        weight, middle = ad[entry], ai[entry]
        for other in range(yp[middle], yp[middle + 1]):
            column = yi[other]
            dots[column] += weight * yd[other]
            touched[column // _BLOCK] = True


@numba.njit(cache=True)
def _add_counts(row, ap, ai, yp, yi, counts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for entry in range(ap[row], ap[row + 1]):
        middle = ai[entry]
        for other in range(yp[middle], yp[middle + 1]):
            counts[yi[other]] += 1


@numba.njit(cache=True)
def _add_moments(row, ap, ai, ad, yp, yi, yd, moments, touched):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for entry in range(ap[row], ap[row + 1]):
        x, middle = np.float64(ad[entry]), ai[entry]
        for other in range(yp[middle], yp[middle + 1]):
            y, sums = np.float64(yd[other]), moments[yi[other]]
            sums[0] += 1
            sums[1] += x
            sums[2] += y
            sums[3] += x * x
            sums[4] += y * y
            sums[5] += x * y
            touched[yi[other] // _BLOCK] = True


@numba.njit(cache=True, nogil=True)
def _gather(me, of, order, a, y, rule, of_a, of_y, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The rows of worker ``me`` of ``of``. ``a`` and ``y`` are (indptr, indices, data)."""
    ap, ai, ad = a
    yp, yi, yd = y
    n_columns, counting, pearson = len(of_y[1]), rule[3], rule[2] == 7
    dots = np.zeros(1 if pearson else n_columns, np.float32)
    counts = np.zeros(n_columns if counting else 1, np.float32)
    moments = np.zeros((n_columns if pearson else 1, 6), np.float64)
    touched = np.zeros(n_columns // _BLOCK + 1, np.bool_)
    for at in range(me, len(order), of):
        row = order[at]
        if pearson:
            _add_moments(row, ap, ai, ad, yp, yi, yd, moments, touched)
        else:
            _add_dots(row, ap, ai, ad, yp, yi, yd, dots, touched)
            if counting:
                _add_counts(row, ap, ai, yp, yi, counts)
        _keep(row, (dots, counts, moments, touched), rule, of_a, of_y, lists)


@numba.njit(cache=True, nogil=True)
def _gather_few(workers, order, a, y, rule, of_a, of_y, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in range(workers):
        _gather(worker, workers, order, a, y, rule, of_a, of_y, lists)


@numba.njit(parallel=True, cache=True)
def _gather_many(workers, order, a, y, rule, of_a, of_y, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in numba.prange(workers):
        _gather(worker, workers, order, a, y, rule, of_a, of_y, lists)


@numba.njit(cache=True)
def _keep(row, strips, rule, of_a, of_y, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Keep the largest similarities of one row in a heap, then sort it, and leave the strips at zero."""
    dots, counts, moments, touched = strips
    shrinkage, min_shared, measure, counting, skip_self = rule
    xx, nx, yyy, yn = of_a[0][row], of_a[1][row], of_y[0], of_y[1]
    items, best = lists[0][row], lists[1][row]
    for block in range(len(touched)):
        if not touched[block]:
            continue
        touched[block] = False
        for column in range(block * _BLOCK, min(block * _BLOCK + _BLOCK, len(yn))):
            if measure == 7:
                shared, value = np.float32(moments[column, 0]), _pearson(moments[column])
                moments[column, :] = 0
            else:
                dot = dots[column]
                shared = counts[column] if counting else dot
                value = np.float32(0)
                if dot != 0:
                    value = _similarity(measure, dot, shared, xx, yyy[column], nx, yn[column])
                dots[column] = 0
                counts[column if counting else 0] = 0
            value *= _trust(shared, shrinkage, min_shared)
            if value > best[0] and value > 0 and not (skip_self and column == row):
                items[0], best[0] = column, value
                sink(items, best, 0, len(items))
    sort_heap(items, best)


@numba.njit(cache=True)
def _trust(shared, shrinkage, min_shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """What a similarity is multiplied by for the number of rows it rests on."""
    if min_shared > 1 and shared < min_shared:
        return np.float32(0)
    return shared / (shared + shrinkage) if shrinkage > 0 and shared > 0 else np.float32(1)

"""Similarities between sparse rows or columns, the K largest kept, without a dense matrix of pairs.

One row of products is gathered at a time in a dense strip for each thread (Gustavson 1978), turned into
similarities and reduced to its K largest. A row belongs to one thread and is summed in a fixed order, so the
result is the same for any number of threads. A row of few products lists the columns that it reaches and
visits no other; the remaining rows go through all columns.
"""

import dataclasses

import numba
import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError
from leanrec.kernels.topk.largest import PAD, lists_to_csr, make_selection_buffers, select_largest
from leanrec.settings import check_at_least, check_one_of
from leanrec.types import CSR, Float32Array, empty_csr

__all__ = ["MEASURES", "RowStatistics", "compute_row_statistics", "top_similar_bytes", "top_similar_rows", "top_similar"]

MEASURES = ("dot", "cosine", "tanimoto", "euclidean", "jaccard", "dice", "overlap", "pearson", "correlation")
_ON_COUNTS = ("jaccard", "dice", "overlap")
# A row with fewer products than this part of the columns lists those that it reaches; others look at all of them.
_SPREAD = 2
# Below this many rows, starting threads costs more than they save.
_FEW = 4


@dataclasses.dataclass(frozen=True, eq=False)
class RowStatistics:
    """What a measure needs to know of each of M vectors beside its products.

    Attributes:
        squares: (M,) float32 sums of squared entries; for "correlation", around the mean of the row.
        counts: (M,) float32 numbers of entries; for "correlation", sum of the row / √F.
        scale: (M,) float32 1 / √squares, 0 where squares is 0.
        binary: whether every entry is 1, so that a query need not look.
    """

    squares: Float32Array
    counts: Float32Array
    scale: Float32Array
    binary: bool


def compute_row_statistics(rows: CSR, measure: str = "cosine") -> RowStatistics:
    """What ``measure`` needs to know of each row of (M, F). O(entries)."""
    squares, sums, binary = _squares_and_sums(*_parts(rows))
    if measure != "correlation":
        counts = np.diff(rows.indptr).astype(np.float32)
        return RowStatistics(squares.astype(np.float32), counts, _scale(squares), binary)
    sums /= np.sqrt(max(1, rows.shape[1]))
    centred = squares - sums**2
    # Below this share of the raw squares nothing is left but rounding: a constant has no correlation.
    known = np.where(centred > 1e-9 * squares, centred, 0)
    return RowStatistics(known.astype(np.float32), sums.astype(np.float32), _scale(known), binary)


def _scale(squares: np.ndarray) -> Float32Array:
    inverse = np.divide(1, np.sqrt(squares), out=np.zeros(len(squares)), where=squares > 0)
    return np.asarray(inverse, dtype=np.float32)


def top_similar_bytes(n_rows: int, n_columns: int, k: int, threads: int) -> int:
    """Upper estimate of the memory of ``top_similar_rows``: its lists twice and a strip of sums per thread."""
    kept = n_rows * min(k, n_columns)
    return 24 * kept + 40 * (n_rows + n_columns) + threads * 90 * n_columns


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

    Time O(Σ_u L_u²) for rows of L_u entries; memory as ``top_similar_bytes`` says, and a transposed copy of X.

    Args:
        X: (U, N), duplicates summed. For similarities between users give ``X.T.tocsr()``.
        k: at least 0; more than N − 1 is N − 1.
        measure: one of ``MEASURES``.
        shrinkage: at least 0.
        min_shared: pairs that share fewer rows are left out.
    """
    columns = _canonical(sp.csr_array(X.T))
    return _related(
        columns, _canonical(X), k, measure, shrinkage, min_shared, compute_row_statistics(columns, measure), skip_self=True
    )


def top_similar_rows(
    A: CSR,
    Yt: CSR,
    k: int,
    measure: str = "cosine",
    *,
    shrinkage: float = 0.0,
    min_shared: int = 1,
    of_y: RowStatistics | None = None,
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
        of_y: ``compute_row_statistics(Y, measure)``; made here if None, O(entries of Y).
        skip_self: leave out row b of Y for row b of A.
    """
    if A.shape[1] != Yt.shape[0]:
        raise DataError(f"A must have a column for each of the {Yt.shape[0]} rows of Yt. Got {A.shape[1]}.")
    of_y = of_y or compute_row_statistics(sp.csr_array(Yt.T), measure)
    return _related(_canonical(A), _canonical(Yt), k, measure, shrinkage, min_shared, of_y, skip_self=skip_self)


def _related(
    A: CSR,
    Yt: CSR,
    k: int,
    measure: str,
    shrinkage: float,
    min_shared: int,
    of_y: RowStatistics,
    *,
    skip_self: bool,
) -> CSR:
    check_one_of("measure", measure, MEASURES)
    check_at_least("k", k, 0)
    check_at_least("shrinkage", shrinkage, 0)
    k, rows = min(k, Yt.shape[1]), A.shape[0]
    if not k or not A.nnz or not Yt.nnz:
        return empty_csr(rows, Yt.shape[1])
    if measure in _ON_COUNTS:
        A, Yt = _ones(A), Yt if of_y.binary else _ones(Yt)
    of_a = compute_row_statistics(A, measure)
    counting = bool(shrinkage > 0 or min_shared > 1) and not (
        measure in _ON_COUNTS or measure == "pearson" or (of_a.binary and of_y.binary)
    )
    few = rows < _FEW
    # A look at all of Y pays where there are many rows to gather; a single request goes without.
    names = np.arange(Yt.shape[1]) if few else np.argsort(-of_y.counts, kind="stable")
    a, y = _parts(A), _parts(Yt)
    level = not few and bool(_is_level(y[0], y[2]))
    if not few:
        # Columns that are reached often side by side: most sums then stay in the nearest cache.
        ranks = np.empty(len(names), np.uint32)
        ranks[names] = np.arange(len(names))
        y = y[0], ranks[y[1]], y[2]
    rule = np.float32(shrinkage), np.float32(min_shared), MEASURES.index(measure), counting, skip_self, level
    lists = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32), np.zeros(rows, np.int64)
    cost = _products(a[0], a[1], y[0])
    (_gather_few if few else _gather_many)(
        1 if few else numba.get_num_threads(), np.argsort(-cost, kind="stable"), cost, a, y, rule,
        (of_a.squares, of_a.counts, of_a.scale), _named(of_y, names), names.astype(np.uint32), lists,
    )  # fmt: skip
    return lists_to_csr(*lists, Yt.shape[1])


def _named(of: RowStatistics, names: np.ndarray) -> tuple[Float32Array, Float32Array, Float32Array]:
    return of.squares[names], of.counts[names], of.scale[names]


def _canonical(matrix: CSR) -> CSR:
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def _ones(matrix: CSR) -> CSR:
    return sp.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def _parts(matrix: CSR) -> tuple[np.ndarray, np.ndarray, Float32Array]:
    # One type of index for the compiler, wide enough for more than 2³¹ entries. Columns without a sign spare the
    # inner loops a look for negative ones.
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False).view(np.uint32),
        matrix.data.astype(np.float32, copy=False),
    )


@numba.njit(cache=True, nogil=True)
def _squares_and_sums(indptr, _indices, data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Of each row, in float64; and whether all entries are 1."""
    n, binary = len(indptr) - 1, True
    squares, sums = np.zeros(n), np.zeros(n)
    for row in range(n):
        for entry in range(indptr[row], indptr[row + 1]):
            value = np.float64(data[entry])
            squares[row] += value * value
            sums[row] += value
            binary &= value == 1
    return squares, sums, binary


@numba.njit(cache=True, nogil=True)
def _is_level(indptr, data):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Whether each row holds one value: 0 and 1, or counts weighted by row."""
    for row in range(len(indptr) - 1):
        for entry in range(indptr[row], indptr[row + 1]):
            if data[entry] != data[indptr[row]]:
                return False
    return True


@numba.njit(cache=True, nogil=True)
def _products(starts, middles, yp):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """How many products each row takes. Dearest first and dealt out in turn, every thread gets the same load."""
    cost = np.zeros(len(starts) - 1, np.int64)
    for row in range(len(cost)):
        for entry in range(starts[row], starts[row + 1]):
            cost[row] += yp[middles[entry] + 1] - yp[middles[entry]]
    return cost


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _similarity(measure, dot, shared, x, squares, counts, scale):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Of x, (squares, counts, scale), and one column."""
    if measure == 0:
        return dot
    if measure == 1:
        return dot * (x[2] * scale)
    if measure == 2:
        rest = x[0] + squares - dot
        return dot / rest if rest > 0 else np.float32(0)
    if measure == 3:
        return np.float32(1) / (np.float32(1) + np.sqrt(max(x[0] + squares - np.float32(2) * dot, np.float32(0))))
    if measure == 4:
        return shared / (x[1] + counts - shared)
    if measure == 5:
        return np.float32(2) * shared / (x[1] + counts)
    if measure == 8:
        return (dot - x[1] * counts) * (x[2] * scale)
    return shared / min(x[1], counts)


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _loop(measure, ids, dots, shared, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    squares, counts, scale = y
    for at in range(len(ids)):
        dot, column = dots[at], ids[at]
        value = _similarity(measure, dot, shared[at], x, squares[column], counts[column], scale[column])
        dots[at] = value if dot != 0 else np.float32(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _similarities(measure, ids, dots, shared, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Turn dot products into similarities, in place; a loop for each common measure, so that it fills vector registers."""
    if measure == 1:
        _loop(1, ids, dots, shared, x, y)
    elif measure == 4:
        _loop(4, ids, dots, shared, x, y)
    elif measure == 8:
        _loop(8, ids, dots, shared, x, y)
    elif measure != 0:
        _loop(measure, ids, dots, shared, x, y)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _trust(values, shared, shrinkage, min_shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Multiply each similarity by what the number of rows that it rests on is worth."""
    for at in range(len(values)):
        count = shared[at]
        trust = count / (count + shrinkage) if shrinkage > 0 and count > 0 else np.float32(1)
        values[at] *= np.float32(0) if min_shared > 1 and count < min_shared else trust


@numba.njit(cache=True, nogil=True)
def _add(row, a, y, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    ap, ai, ad = a
    yp, yi, yd = y
    for entry in range(ap[row], ap[row + 1]):
        weight, middle = ad[entry], ai[entry]
        for other in range(yp[middle], yp[middle + 1]):
            sums[yi[other]] += weight * yd[other]


@numba.njit(cache=True, nogil=True)
def _add_level(row, a, y, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The same where each row of Y holds one value: it need not be read for each entry."""
    ap, ai, ad = a
    yp, yi, yd = y
    for entry in range(ap[row], ap[row + 1]):
        start, stop = yp[ai[entry]], yp[ai[entry] + 1]
        if start < stop:
            weight = ad[entry] * yd[start]
            for other in range(start, stop):
                sums[yi[other]] += weight


@numba.njit(cache=True, nogil=True)
def _count(row, a, y, counts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    ap, ai, yp, yi = a[0], a[1], y[0], y[1]
    for entry in range(ap[row], ap[row + 1]):
        for other in range(yp[ai[entry]], yp[ai[entry] + 1]):
            counts[yi[other]] += 1


@numba.njit(cache=True, nogil=True)
def _add_moments(row, a, y, moments, ids):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """n, Σx, Σy, Σx², Σy², Σxy over the shared columns; list those reached and return how many."""
    ap, ai, ad = a
    yp, yi, yd = y
    n = 0
    for entry in range(ap[row], ap[row + 1]):
        one, middle = np.float64(ad[entry]), ai[entry]
        for other in range(yp[middle], yp[middle + 1]):
            two, sums = np.float64(yd[other]), moments[yi[other]]
            if sums[0] == 0:
                ids[n] = yi[other]
                n += 1
            sums[0] += 1
            sums[1] += one
            sums[2] += two
            sums[3] += one * one
            sums[4] += two * two
            sums[5] += one * two
    return n


@numba.njit(cache=True, nogil=True)
def _pearson(sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Correlation from the six sums."""
    n = sums[0]
    if n < 2:
        return np.float32(0)
    covariance = sums[5] - sums[1] * sums[2] / n
    x, y = sums[3] - sums[1] * sums[1] / n, sums[4] - sums[2] * sums[2] / n
    # Below this share of the raw sums nothing is left but rounding: a constant has no correlation.
    if x <= 1e-9 * sums[3] or y <= 1e-9 * sums[4]:
        return np.float32(0)
    return np.float32(covariance / np.sqrt(x * y))


@numba.njit(cache=True, nogil=True)
def _add_and_list(row, a, y, level, sums, ids):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """As ``_add``; also list the columns in the order they are reached, and return how many.

    A column whose sum is 0 again is listed again; it is drawn as 0 the second time.
    """
    ap, ai, ad = a
    yp, yi, yd = y
    n = np.uint64(0)
    for entry in range(ap[row], ap[row + 1]):
        start, stop = yp[ai[entry]], yp[ai[entry] + 1]
        if level and start < stop:
            weight = ad[entry] * yd[start]
            for other in range(start, stop):
                column = yi[other]
                before = sums[column]
                # Written always, counted where it is new: no branch.
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
def _draw(ids, sums, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Take the sums of the columns out of the strip, which is left at zero there."""
    for at in range(len(ids)):
        out[at] = sums[ids[at]]
        sums[ids[at]] = 0


@numba.njit(cache=True, nogil=True)
def _moments(row, a, y, moments, ids, values, shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The correlations over shared columns, and how many are shared; return their number."""
    n = _add_moments(row, a, y, moments, ids)
    for at in range(n):
        sums = moments[ids[at]]
        values[at], shared[at] = _pearson(sums), np.float32(sums[0])
        sums[:] = 0
    return n


@numba.njit(cache=True, nogil=True)
def _reach(row, few, a, y, rule, strips, ids, values, shared):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Products of one row, drawn from the strips: with the columns it reaches, or with all; return their number."""
    counting, level, by_count = rule[3], rule[5], rule[0] > 0 or rule[1] > 1 or rule[2] >= 4
    n = np.int64(len(ids))
    if few:
        n = np.int64(_add_and_list(row, a, y, level, strips[0], ids))
    elif level:
        _add_level(row, a, y, strips[0])
    else:
        _add(row, a, y, strips[0])
    _draw(ids[:n], strips[0], values)
    if counting:
        _count(row, a, y, strips[1])
        _draw(ids[:n], strips[1], shared)
    elif by_count:
        shared[:n] = values[:n]
    return n


@numba.njit(cache=True, nogil=True)
def _gather(me, of, order, cost, a, y, rule, of_a, of_y, names, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The rows of worker ``me`` of ``of``. ``a`` and ``y`` are (indptr, indices, data)."""
    shrinkage, min_shared, measure, counting, skip_self, _level = rule
    width = len(names)
    strips = np.zeros(width, np.float32), np.zeros(width if counting else 1, np.float32)
    moments = np.zeros((width if measure == 7 else 1, 6), np.float64)
    some, everything = np.empty(width, np.uint32), np.arange(width).astype(np.uint32)
    values, shared, picker = np.zeros(width + PAD, np.float32), np.empty(width, np.float32), make_selection_buffers(width)
    for at in range(me, len(order), of):
        row = order[at]
        few = cost[row] < width // _SPREAD or measure == 7
        ids = some if few else everything
        if measure == 7:
            n = _moments(row, a, y, moments, ids, values, shared)
        else:
            n = _reach(row, few, a, y, rule, strips, ids, values, shared)
            of_x = of_a[0][row], of_a[1][row], of_a[2][row]
            _similarities(measure, ids[:n], values[:n], shared[:n], of_x, of_y)
        if shrinkage > 0 or min_shared > 1:
            _trust(values[:n], shared[:n], shrinkage, min_shared)
        if skip_self:
            _forget(row, ids[:n], names, values)
        lists[2][row] = select_largest(values, n, ids, names, lists[0][row], lists[1][row], picker)


@numba.njit(cache=True, nogil=True)
def _forget(row, ids, names, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """A row is not similar to itself."""
    for at in range(len(ids)):
        if names[ids[at]] == row:
            values[at] = 0


@numba.njit(cache=True, nogil=True)
def _gather_few(workers, order, cost, a, y, rule, of_a, of_y, names, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in range(workers):
        _gather(worker, workers, order, cost, a, y, rule, of_a, of_y, names, lists)


@numba.njit(parallel=True, cache=True)
def _gather_many(workers, order, cost, a, y, rule, of_a, of_y, names, lists):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for worker in numba.prange(workers):
        _gather(worker, workers, order, cost, a, y, rule, of_a, of_y, names, lists)

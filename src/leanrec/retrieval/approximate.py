"""Approximate retrieval: the items of the best lists of an inverted file (IVF) by faiss, for millions of item vectors."""

import dataclasses
import functools
import importlib.util
import math
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError, MissingExtraError, SettingError
from leanrec.field_checks import ArrayShape, check_codes
from leanrec.kernels.threads import run_in_threads
from leanrec.kernels.topk.inner_product import top_k_dot
from leanrec.kernels.topk.selection import ItemMask, empty_lists
from leanrec.retrieval.exact import ExactRetriever
from leanrec.retrieval.recall_watch import RecallWatch
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["RECALL", "ApproximateIndex", "ApproximateRetriever", "has_faiss"]

RECALL = 0.98  # of the true items of a list, below which an index is not used
_DEPTHS = (30, 100, 300, 1000)
_AIM = 0.995  # recall on the queries that choose the probes, above RECALL for the sake of the others
_MAX_LISTS = 8192
_SAMPLE_PER_LIST = 40  # vectors that a list is placed by
# A vector in a list costs four times as much as one in the exact index, whose codes have 8 bits.
_MAX_SCANNED = 0.15
_MIN_QUERIES = 20
_N_CHECKED = 64
_FILTER_FACTOR = 1.5  # of the depth at which a filter without order would be full
_MARGIN = 8  # vectors more than wanted, so that rounding and ties at the end of a list do not matter
_MAX_ADDED = 20_000
_WHAT = "Approximate retrieval"


def has_faiss() -> bool:
    """Whether the optional package is installed."""
    return importlib.util.find_spec("faiss") is not None


@dataclasses.dataclass(frozen=True, eq=False)
class ApproximateIndex:
    """An inverted file of item vectors: lists of neighboring vectors, of which a query scores the nearest ones only.

    It never changes. Vectors of zeros and those that are not finite are not in it. faiss reads its lists where they are
    in memory, so processes that map the artifact, or that were forked, share them.

    How many lists a query probes is measured when the index is built: for each depth, the number of best items to be found,
    as many as half of the queries need for a recall of .995. The other half tells the recall.

    Attributes:
        data: (S,) uint8, the index as faiss writes it: about 4 · N · D + 8 · N bytes.
        list_of: (M,) int32 list of each item; −1 for items that are in none.
        n_lists: number of lists, about 4 · √N.
        depths: (T,) int32 depths, ascending.
        probes: (T,) int32 number of lists to probe for each depth.
        recalls: (T,) float32 measured recall at each depth.
        checked: (R,) int32 rows whose vectors tell that a model is the one of the index.
        vectors: (R, D) float32 vectors of these rows.
    """

    MAPPED_FROM: ClassVar[int] = 16_000_000

    data: Annotated[NDArray[np.uint8], ArrayShape("S")]
    list_of: Annotated[Int32Array, ArrayShape("M")]
    n_lists: int
    depths: Annotated[Int32Array, ArrayShape("T")]
    probes: Annotated[Int32Array, ArrayShape("T")]
    recalls: Annotated[Float32Array, ArrayShape("T")]
    checked: Annotated[Int32Array, ArrayShape("R")]
    vectors: Annotated[Float32Array, ArrayShape("R", "D")]

    @classmethod
    def build(
        cls, V: Float32Array, Q: Float32Array, *, seed: int = 0, threads: int | None = None
    ) -> "ApproximateIndex | None":
        """Index item vectors, and measure on queries how many lists to probe; None if the recall is not reached.

        A recall of .98 must be reached by probing at most 15 % of the lists: beyond, exact search is faster.

        Raises MissingExtraError without faiss, and SettingError for too few vectors.

        Args:
            V: (N, D) float32 item vectors.
            Q: (B, D) float32 queries like those to come. Where there are less than 20, item vectors take their place.
            seed: of the sample that the lists are placed by.
            threads: number of threads; None = all cores.

        Cost: O(N · √N · D); for 2 M vectors of 64 numbers about a minute of CPU time.
        """
        faiss = _import_faiss()
        V = np.ascontiguousarray(V, np.float32)
        rows = np.flatnonzero(np.isfinite(V).all(axis=1) & V.any(axis=1)).astype(np.int32)
        if len(rows) < 2 * _DEPTHS[0]:
            raise SettingError(f"{_WHAT} needs {2 * _DEPTHS[0]} item vectors. Got {len(rows)}: use retrieval='exact'.")
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads or before)
        try:
            ivf, list_of = _build_lists(faiss, V, rows, seed)
            rng = np.random.default_rng(seed)
            Q = Q[np.isfinite(Q).all(axis=1) & Q.any(axis=1)]
            if len(Q) < _MIN_QUERIES:
                Q = V[rng.choice(rows, min(len(rows), 100), replace=False)]
            table = _measure(ivf, V, rows, list_of, np.ascontiguousarray(Q, np.float32))
        finally:
            faiss.omp_set_num_threads(before)
        if table is None:
            return None
        checked = np.sort(rng.choice(rows, min(len(rows), _N_CHECKED), replace=False))
        data = faiss.serialize_index(ivf)
        return cls(data, list_of, ivf.nlist, *table, checked, V[checked])

    def check_state(self) -> None:
        """Raise DataError unless the parts fit together, and MissingExtraError without faiss."""
        check_codes("ApproximateIndex.list_of", self.list_of, self.n_lists, -1)
        check_codes("ApproximateIndex.checked", self.checked, len(self.list_of))
        try:
            found = self.searcher.d, self.searcher.nlist, self.searcher.ntotal
        except RuntimeError as error:
            raise DataError(f"ApproximateIndex.data must be an index of faiss. It is not: {error}") from error
        if found != (self.n_dims, self.n_lists, np.count_nonzero(self.list_of >= 0)) or not len(self.depths):
            raise DataError(f"ApproximateIndex.data must have the vectors that list_of names. It has {found}.")

    @property
    def n_items(self) -> int:
        """M, the number of items that it was built on."""
        return len(self.list_of)

    @property
    def n_dims(self) -> int:
        """D, length of a vector."""
        return int(self.vectors.shape[1])

    @functools.cached_property
    def searcher(self) -> Any:
        """The index of faiss. Its lists are views of ``data``."""
        faiss = _import_faiss()
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(np.asarray(self.data)), self.data.nbytes)
        return faiss.read_index(reader)

    @functools.cached_property
    def watch(self) -> RecallWatch:
        """Compares some of the lists with exact ones."""
        return RecallWatch()

    def fits(self, V: Float32Array) -> bool:
        """Whether vectors (N, D or more) begin with those that were indexed, by a sample; other dimensions must be 0."""
        n, d = self.n_items, self.n_dims
        return bool(
            len(V) >= n
            and V.shape[1] >= d
            and np.array_equal(V[self.checked, :d], self.vectors)
            and not V[:n, d:].any()
        )

    def search(self, q: Float32Array, n_wanted: int, share: float = 1.0) -> Int32Array | None:
        """Items (K,) among which are the best ``n_wanted`` for q (D,), in no order; None where it does not look that deep.

        Where only a share of the items may be listed, the best of them are looked for among more of the best of all. So whatever the
        rule is, what is left of these are the best items that it allows.
        """
        depth = math.ceil(n_wanted if share == 1 else _FILTER_FACTOR * n_wanted / max(share, 1e-9))
        at = int(np.searchsorted(self.depths, depth))
        if at == len(self.depths):
            return None
        parameters = _import_faiss().SearchParametersIVF(nprobe=int(self.probes[at]))
        _, items = self.searcher.search(q[None], depth if share == 1 else int(self.depths[at]), params=parameters)
        found: Int32Array = items[0][items[0] >= 0].astype(np.int32)
        return found


@dataclasses.dataclass(frozen=True)
class ApproximateRetriever(ExactRetriever):
    """`ExactRetriever` whose candidates come from an `ApproximateIndex` where it finds them with a measured recall.

    What it lists is scored as by exact search, and ties and the fallback are the same. Items behind those of the index are
    scored one by one. A list is exact where the index would not do: for long lists and long histories, for small filters, for queries
    without evidence, where items of score 0 or below would be listed, and for all queries if the vectors are not those of
    the index.

    Thread-safe. Cost of a query: see the guide to serving.

    Attributes:
        index: the index.
    """

    index: ApproximateIndex = dataclasses.field(kw_only=True)

    def warm_up(self) -> None:
        """Build the index for exact search too, so that no query waits for it."""
        if self._is_usable:
            self._get_index()

    @functools.cached_property
    def _is_usable(self) -> bool:
        V = self._vectors
        return len(V) - self.index.n_items <= _MAX_ADDED and self.index.fits(V)

    def _search(
        self, Q: Float32Array, k: int, *, seen: CSR | None, allowed: ItemMask | None
    ) -> tuple[Int32Array, Float32Array]:
        if not k or not len(Q) or not self._is_usable or not np.isfinite(Q).all():
            return self.search_exactly(Q, k, seen=seen, allowed=allowed)
        items, best = empty_lists(len(Q), k)
        is_exact = np.zeros(len(Q), np.bool_)

        def work(row: int) -> None:
            excluded = None if seen is None else seen.indices[seen.indptr[row] : seen.indptr[row + 1]]
            found = self._search_one(Q[row], k, excluded, allowed)
            if found is None:
                is_exact[row] = True
            else:
                items[row], best[row] = found

        run_in_threads(work, range(len(Q)))
        if is_exact.any():
            rows = np.flatnonzero(is_exact)
            some = Q if len(rows) == len(Q) else Q[rows]
            excluded = seen if seen is None or len(rows) == len(Q) else seen[rows]
            items[rows], best[rows] = self.search_exactly(some, k, seen=excluded, allowed=allowed)
        elif len(Q) == 1 and self.index.watch.is_due():
            self.index.watch.offer(functools.partial(self._measure_recall, Q, k, best[0], seen, allowed))
        return items, best

    def _search_one(
        self, q: Float32Array, k: int, seen: Int32Array | None, allowed: ItemMask | None
    ) -> tuple[Int32Array, Float32Array] | None:
        """The list of one query (D + …,) and its scores; None where it must be searched exactly."""
        index, n_seen, n_old = self.index, 0 if seen is None else len(seen), self.index.n_items
        share = 1.0 if allowed is None else int(np.count_nonzero(allowed[:n_old])) / n_old
        found = index.search(q[: index.n_dims], k + _MARGIN + n_seen, share)
        if found is None:
            return None
        kept = np.sort(found)  # so that ties are in the order of rows
        kept = np.append(kept, np.arange(n_old, len(self._vectors), dtype=np.int32))
        if seen is not None and n_seen:
            kept = kept[~np.isin(kept, seen)]
        if allowed is not None:
            kept = kept[allowed[kept]]
        if np.searchsorted(kept, n_old) < k:  # the best of the filter are deeper
            return None
        (positions,), (scores,) = top_k_dot(q[None], self._vectors[kept], k)
        return None if positions[-1] < 0 or scores[-1] <= 0 else (kept[positions], scores)

    def _measure_recall(
        self, Q: Float32Array, k: int, best: Float32Array, seen: CSR | None, allowed: ItemMask | None
    ) -> float:
        """Share of the true items of a list that was made; one that ties with the last true item is as good."""
        _, (true,) = self.search_exactly(Q, k, seen=seen, allowed=allowed)
        true = true[np.isfinite(true)]
        n_found = int(np.count_nonzero(best >= true[-1] - 1e-6 * abs(float(true[-1])))) if len(true) else 0
        return min(n_found, len(true)) / max(len(true), 1)


def _import_faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - optional, and takes a tenth of a second
    except ImportError as error:
        raise MissingExtraError(_WHAT, "ann") from error
    return faiss


def _build_lists(faiss: Any, V: Float32Array, rows: Int32Array, seed: int) -> tuple[Any, Int32Array]:
    """The inverted file of some rows of V, and the list of each item."""
    n_lists = max(1, min(_MAX_LISTS, int(4 * math.sqrt(len(rows))), len(rows) // _SAMPLE_PER_LIST))
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(V.shape[1]), V.shape[1], n_lists, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.seed, ivf.cp.niter = seed, 8
    ivf.cp.min_points_per_centroid, ivf.cp.max_points_per_centroid = 1, _SAMPLE_PER_LIST
    rng = np.random.default_rng(seed)
    ivf.train(V[rng.choice(rows, min(len(rows), _SAMPLE_PER_LIST * n_lists), replace=False)])
    list_of = np.full(len(V), -1, np.int32)
    step = 100_000  # vectors at a time, so that no second copy of all is made
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        _, lists = ivf.quantizer.search(V[some], 1)
        list_of[some] = lists[:, 0]
        ivf.add_core(
            len(some),
            faiss.swig_ptr(block := np.ascontiguousarray(V[some])),
            faiss.swig_ptr(ids := some.astype(np.int64)),
            faiss.swig_ptr(assigned := np.ascontiguousarray(lists[:, 0])),
        )
        del block, ids, assigned
    return ivf, list_of


def _measure(
    ivf: Any, V: Float32Array, rows: Int32Array, list_of: Int32Array, Q: Float32Array
) -> tuple[Int32Array, Int32Array, Float32Array] | None:
    """Depths that are reached, the probes that each needs, and the recall of other queries."""
    depths = [depth for depth in _DEPTHS if 2 * depth <= len(rows)]
    known = np.where(list_of >= 0, True, False)  # noqa: FBT003
    true, _ = top_k_dot(Q, V, depths[-1], allowed=known)
    _, nearest = ivf.quantizer.search(Q, ivf.nlist)
    rank_of = np.empty_like(nearest)
    np.put_along_axis(rank_of, nearest, np.broadcast_to(np.arange(ivf.nlist), nearest.shape), axis=1)
    # Rank of the list of each true item among the lists that the query would probe.
    ranks = np.take_along_axis(rank_of, list_of[true].astype(np.int64), axis=1)
    table: list[tuple[int, int, float]] = []
    for depth in depths:
        n_probes = int(np.quantile(ranks[::2, :depth], _AIM, method="higher")) + 1
        recall = float((ranks[1::2, :depth] < n_probes).mean())
        if n_probes > _MAX_SCANNED * ivf.nlist or recall < RECALL:
            break
        table.append((depth, n_probes, recall))
    if not table:
        return None
    found, probes, recalls = zip(*table, strict=True)
    return np.array(found, np.int32), np.array(probes, np.int32), np.array(recalls, np.float32)

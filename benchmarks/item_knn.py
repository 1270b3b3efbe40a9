"""Item-kNN: neighbors of every item compared with implicit and scikit-learn, on Gowalla and ml-1m.

    python benchmarks/item_knn.py [--repeats 3] [--quick]

All take the same binary matrix and keep K items per row by cosine, or by the dot product of BM25 weights.
"""

from collections.abc import Callable

import duckdb
import numpy as np
import scipy.sparse as sp
from datasets import read_gowalla
from harness import Claim, Comparison, Contestant, Probe, Roofline, main

from leanrec.data import find_data
from leanrec.types import CSR

Work = Callable[[Probe], None]


def load_matrix(name: str, probe: Probe | None = None) -> CSR:
    """(U, N) ones; the first 2,000 users under ``--quick``."""
    if name == "gowalla":
        X = read_gowalla("fit")
    else:
        with duckdb.connect() as con:
            # Columns in order: user, item, rating, time.
            source = con.read_parquet(str(find_data(name) / "ratings.parquet"))
            user, item, *_ = source.fetchnumpy().values()
        codes = [np.unique(each, return_inverse=True)[1] for each in (user, item)]
        X = sp.csr_array(sp.coo_array((np.ones(len(user), np.float32), tuple(codes))))
        X.sum_duplicates()
    return X[:2000] if probe is not None and probe.quick else X


def weight_bm25(X: CSR) -> CSR:
    """BM25 weights of implicit for items: K1 = 1.2, B = 0.75."""
    from implicit.nearest_neighbours import bm25_weight

    return sp.csr_array(sp.csr_matrix(bm25_weight(sp.coo_matrix(X.T), K1=1.2, B=0.75)).T.tocsr().astype(np.float32))


def mean_similarity(similar: CSR) -> float:
    """Sum of similarities that an item keeps without its own, averaged over items: equal for lists of equal quality."""
    others = sp.csr_array(similar).copy()
    others.setdiag(0)
    return float(others.sum() / others.shape[0])


def with_leanrec(name: str, k: int, *, weighted: bool = False) -> Work:
    """leanrec's kernel."""

    def work(probe: Probe) -> None:
        from leanrec.kernels.similarity.top_similar import top_similar

        X = weight_bm25(load_matrix(name, probe)) if weighted else load_matrix(name, probe)
        measure = "dot" if weighted else "cosine"
        with probe.run.limit_threads():
            with probe.warmup():
                top_similar(X[:20], k, measure)
            for _ in range(3):
                with probe.timed():
                    similar = top_similar(X, k, measure)
        probe.record_quality(mean_similarity=mean_similarity(similar))

    return work


def with_implicit(name: str, k: int, *, weighted: bool = False) -> Work:
    """implicit's recommenders, with K + 1 because they keep the item itself among the K."""

    def work(probe: Probe) -> None:
        from implicit.nearest_neighbours import CosineRecommender, ItemItemRecommender

        # It takes double precision only.
        X = sp.csr_matrix(weight_bm25(load_matrix(name, probe)) if weighted else load_matrix(name, probe)).astype(
            np.float64
        )
        recommender = ItemItemRecommender if weighted else CosineRecommender
        for _ in range(3):
            with probe.timed():
                model = recommender(K=k + 1, num_threads=probe.threads)
                model.fit(X, show_progress=False)
        probe.record_quality(mean_similarity=mean_similarity(sp.csr_array(model.similarity)))

    return work


def with_sklearn(name: str, k: int) -> Work:
    """NearestNeighbors by cosine with brute force, the only algorithm that takes sparse rows."""

    def work(probe: Probe) -> None:
        from sklearn.neighbors import NearestNeighbors

        columns = sp.csr_matrix(load_matrix(name, probe).T)
        with probe.timed():
            model = NearestNeighbors(n_neighbors=k + 1, metric="cosine", n_jobs=probe.threads).fit(columns)
            distance, item = model.kneighbors(columns)
        rows = np.repeat(np.arange(len(item)), k + 1)
        similar = sp.csr_array((1 - distance.ravel(), (rows, item.ravel())), shape=(len(item), len(item)))
        probe.record_quality(mean_similarity=mean_similarity(similar))

    return work


def make_contestants() -> dict[str, Contestant]:
    """For each data set and K: leanrec, implicit, scikit-learn (once: it takes minutes)."""
    found = {}
    for name in ("gowalla", "ml-1m"):
        for k in (100, 200):
            found[f"ours, {name}, {k}"] = Contestant(with_leanrec(name, k))
            found[f"implicit, {name}, {k}"] = Contestant(with_implicit(name, k))
        found[f"ours, {name}, BM25"] = Contestant(with_leanrec(name, 100, weighted=True))
        found[f"implicit, {name}, BM25"] = Contestant(with_implicit(name, 100, weighted=True))
        found[f"scikit-learn, {name}, 100"] = Contestant(with_sklearn(name, 100), repeats=1, seconds=120)
    return found


def knn_roofline(name: str, k: int) -> Roofline:
    """Two operations per product; the matrix twice, a column number per product, and the lists."""
    X = load_matrix(name)
    products = float((np.diff(X.indptr).astype(np.float64) ** 2).sum())
    moved = 16 * X.nnz + 4 * products + 8 * k * X.shape[1]
    return Roofline(2 * products, moved, f"{products / 1e6:.0f} M products, each reads a column number of 4 bytes")


def make_comparisons() -> list[Comparison]:
    """Three times as fast, with lists of equal similarity."""
    found = []
    for name in ("gowalla", "ml-1m"):
        for kind in ("100", "200", "BM25"):
            floor = None if kind == "BM25" else knn_roofline(name, int(kind))
            text = "100 by the dot product of BM25 weights" if kind == "BM25" else f"{kind} by cosine"
            found.append(
                Comparison(
                    what=f"neighbors of every item of {name}, {text}",
                    ours=f"ours, {name}, {kind}", peer=f"implicit, {name}, {kind}", at_most=1 / 3,
                    quality="mean_similarity", tolerance=1e-3, roofline=floor,
                    cause="The block of sums is read and written once per product, and a sparse row lists its columns "
                    "on the fly: about 3 ns per product. Next: sums of two rows at a time for the same users.",
                )
            )  # fmt: skip
        found.append(
            Comparison(
                what=f"neighbors of every item of {name}, 100 by cosine", ours=f"ours, {name}, 100",
                peer=f"scikit-learn, {name}, 100", at_most=1 / 3, quality="mean_similarity", tolerance=1e-3,
            )
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main(
        Claim(
            name="item_knn",
            title="Item-kNN: implicit, scikit-learn",
            data="Gowalla (train without valid) and MovieLens 1M, binary",
            contestants=make_contestants(),
            comparisons=make_comparisons(),
        ),
        __doc__,
    )

"""Vectors of leanrec's models in vector stores: how many of the true ten they find, in which order, and what they return.

    python benchmarks/vector_stores.py [--only NAME ...] [--users 200]

It prints the tables of docs/how-to/vector-stores.md, on the bundled MovieLens data. A store that is not installed is left out:
install benchmarks/requirements-vector-stores.txt. The true ten are those of exact search in float64.
"""

import argparse
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import leanrec
from leanrec.models import BPR, IALS
from leanrec.run import Run
from leanrec.types import Float32Array, Int64Array

K = 10
Mask = NDArray[np.bool_]
# Rows and returned numbers for one query vector; the mask holds the rows that may be found, None = all.
Search = Callable[[Float32Array, int, Mask | None], tuple[Int64Array, NDArray[Any]]]


@dataclass(frozen=True)
class Store:
    """A store: how it is filled, and how its number becomes leanrec's score.

    Attributes:
        build: fills the store with (M, D) vectors and gives its search.
        returns: what it returns, in words.
        to_score: leanrec's score from the number, the query and the longest length of an item vector.
        filters: whether it can search in some of the items.
    """

    build: Callable[[Float32Array], Search]
    returns: str
    to_score: Callable[[NDArray[Any], Float32Array, float], NDArray[Any]]
    filters: bool = False


def add_dimension(vectors: Float32Array) -> Float32Array:
    """(M, D + 1) vectors of one length: among them the nearest to (query, 0) has the largest dot product."""
    lengths = np.linalg.norm(vectors, axis=1)
    rest = np.sqrt(np.maximum(lengths.max() ** 2 - lengths**2, 0))
    return np.column_stack([vectors, rest]).astype(np.float32)


def add_zero(query: Float32Array) -> Float32Array:
    """(D + 1,) the query vector for vectors of ``add_dimension``."""
    return np.append(query, np.float32(0))


def faiss_flat(vectors: Float32Array) -> Search:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        chosen = None if mask is None else faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(mask)))
        scores, rows = index.search(query[None], k, params=chosen)
        return rows[0], scores[0]

    return search


def faiss_hnsw(vectors: Float32Array) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors)

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        selector = None if mask is None else faiss.IDSelectorBatch(np.flatnonzero(mask))
        scores, rows = index.search(query[None], k, params=faiss.SearchParametersHNSW(sel=selector, efSearch=100))
        return rows[0], scores[0]

    return search


def hnswlib_graph(vectors: Float32Array) -> Search:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=200, M=16, random_seed=1)
    index.add_items(vectors, np.arange(len(vectors)), num_threads=1)
    index.set_ef(100)

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        kept = None if mask is None else mask.__getitem__
        rows, distances = index.knn_query(query[None], k, num_threads=1, filter=kept)
        return rows[0].astype(np.int64), distances[0]

    return search


def usearch_graph(vectors: Float32Array, dtype: str = "f32") -> Search:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype=dtype, expansion_search=100)
    index.add(np.arange(len(vectors)), vectors, threads=1)

    def search(query: Float32Array, k: int, _: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        found = index.search(query, k, threads=1)
        return np.asarray(found.keys, dtype=np.int64), np.asarray(found.distances)

    return search


def usearch_half(vectors: Float32Array) -> Search:
    return usearch_graph(vectors, "f16")


def usearch_int8(vectors: Float32Array) -> Search:
    return usearch_graph(vectors, "i8")


def voyager_graph(vectors: Float32Array) -> Search:
    import voyager

    index = voyager.Index(voyager.Space.InnerProduct, vectors.shape[1], M=16, ef_construction=200, random_seed=1)
    index.add_items(vectors, num_threads=1)

    def search(query: Float32Array, k: int, _: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        rows, distances = index.query(query, k, query_ef=100)
        return rows.astype(np.int64), distances

    return search


def annoy_trees(vectors: Float32Array, metric: str = "dot") -> Search:
    import annoy

    index = annoy.AnnoyIndex(vectors.shape[1], metric)
    index.set_seed(1)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(50, n_jobs=1)

    def search(query: Float32Array, k: int, _: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        rows, numbers = index.get_nns_by_vector(query, k, include_distances=True)
        return np.array(rows), np.array(numbers)

    return search


def annoy_euclidean(vectors: Float32Array) -> Search:
    search = annoy_trees(add_dimension(vectors), "euclidean")
    return lambda query, k, mask: search(add_zero(query), k, mask)


def sqlite_vec(vectors: Float32Array, metric: str = "l2") -> Search:
    # The sqlite3 of many Pythons is built without extensions.
    import apsw
    import sqlite_vec as extension

    base = apsw.Connection(":memory:")
    base.enable_load_extension(True)  # noqa: FBT003 - it takes no keyword
    base.load_extension(extension.loadable_path())
    base.execute(f"create virtual table item using vec0(vector float[{vectors.shape[1]}] distance_metric={metric})")
    rows = ((row, vector.tobytes()) for row, vector in enumerate(vectors))
    base.executemany("insert into item(rowid, vector) values (?, ?)", rows)

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        chosen = "" if mask is None else f" and rowid in ({', '.join(map(str, np.flatnonzero(mask).tolist()))})"
        asked = struct.pack(f"{len(query)}f", *query)
        found = base.execute(f"select rowid, distance from item where vector match ? and k = {k}{chosen}", [asked])
        rows, distances = zip(*found.fetchall(), strict=True)
        return np.array(rows), np.array(distances, float)

    return search


def sqlite_vec_longer(vectors: Float32Array) -> Search:
    search = sqlite_vec(add_dimension(vectors))
    return lambda query, k, mask: search(add_zero(query), k, mask)


def duckdb_scan(vectors: Float32Array) -> Search:
    import duckdb
    import pyarrow as pa

    base, width = duckdb.connect(), vectors.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
    item = pa.table({"row": np.arange(len(vectors)), "vector": column})
    base.execute(f"create table item as select row, vector::float[{width}] as vector from item")
    base.execute("create table chosen (row bigint)")
    del item

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        chosen = "" if mask is None else f"where row in ({', '.join(map(str, np.flatnonzero(mask).tolist()))})"
        call = f"array_inner_product(vector, ?::float[{width}])"
        found = base.execute(
            f"select row, {call} as score from item {chosen} order by score desc limit {k}", [query.tolist()]
        )
        rows, scores = found.fetchnumpy().values()
        return np.asarray(rows), np.asarray(scores)

    return search


def lancedb_ivf(vectors: Float32Array) -> Search:
    import lancedb
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    base = lancedb.connect(tempfile.mkdtemp())
    table = base.create_table("item", pa.table({"row": np.arange(len(vectors)), "vector": column}))
    table.create_index("vector", config=lancedb.index.IvfFlat(distance_type="dot", num_partitions=32))

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        asked = table.search(query).distance_type("dot").nprobes(8).limit(k)
        if mask is not None:
            asked = asked.where(f"row in ({', '.join(map(str, np.flatnonzero(mask).tolist()))})", prefilter=True)
        found = asked.to_arrow()
        return found["row"].to_numpy(), found["_distance"].to_numpy()

    return search


def qdrant_local(vectors: Float32Array) -> Search:
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    client.create_collection("item", models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT))
    client.upload_collection("item", vectors, ids=range(len(vectors)))

    def search(query: Float32Array, k: int, mask: Mask | None) -> tuple[Int64Array, NDArray[Any]]:
        chosen = None
        if mask is not None:
            chosen = models.Filter(must=[models.HasIdCondition(has_id=np.flatnonzero(mask).tolist())])
        found = client.query_points("item", query, query_filter=chosen, limit=k).points
        return np.array([point.id for point in found]), np.array([point.score for point in found])

    return search


def one_minus(numbers: NDArray[Any], _: Float32Array, __: float) -> NDArray[Any]:
    return 1 - numbers


def as_returned(numbers: NDArray[Any], _: Float32Array, __: float) -> NDArray[Any]:
    return numbers


def from_distance(numbers: NDArray[Any], query: Float32Array, longest: float) -> NDArray[Any]:
    """The dot product from the Euclidean distance to vectors of ``add_dimension``."""
    return np.asarray((query @ query + longest**2 - numbers**2) / 2)


FROM_DISTANCE = "√(query² + longest² − 2 · score)"
STORES = {
    "faiss IndexFlatIP": Store(faiss_flat, "score", as_returned, filters=True),
    "faiss IndexHNSWFlat": Store(faiss_hnsw, "score", as_returned, filters=True),
    "hnswlib ip": Store(hnswlib_graph, "1 − score", one_minus, filters=True),
    "usearch ip f32": Store(usearch_graph, "1 − score", one_minus),
    "voyager InnerProduct": Store(voyager_graph, "1 − score", one_minus),
    "annoy euclidean, longer": Store(annoy_euclidean, FROM_DISTANCE, from_distance),
    "sqlite-vec l2, longer": Store(sqlite_vec_longer, FROM_DISTANCE, from_distance, filters=True),
    "LanceDB IvfFlat dot": Store(lancedb_ivf, "1 − score", one_minus, filters=True),
    "Qdrant local DOT": Store(qdrant_local, "score", as_returned, filters=True),
    "DuckDB array_inner_product": Store(duckdb_scan, "score", as_returned, filters=True),
}


@dataclass(frozen=True)
class Vectors:
    """Vectors of a model: of its items, longest first, and of some users; and the filters that are asked.

    Attributes:
        items: (M, D).
        users: (B, D).
        masks: name → (M,) the items of a filter.
    """

    items: Float32Array
    users: Float32Array
    masks: dict[str, Mask]


def fit_vectors(estimator: Any, n_users: int) -> Vectors:
    """Fit a model on the bundled data and take its vectors as a program of a user would."""
    data = leanrec.load_sample("ml-latest-small")
    pipeline = leanrec.Pipeline.fit(estimator, data, Run(threads=1))
    ids, vectors = pipeline.embed_items()
    rows = data.items.rows(ids)
    count = np.bincount(data.events.item, minlength=len(data.items))[rows]
    middle = np.argsort(np.argsort(np.linalg.norm(vectors, axis=1)))
    horror = np.isin(rows, pipeline.catalog.filter_rows({"genres": "Horror"}))
    masks = {
        "popular": count >= np.sort(count)[-len(count) // 10],
        "horror": horror,
        "middle": np.abs(middle / len(middle) - 0.5) < 0.025,
    }
    users = np.array([pipeline.embed_user(user) for user in data.users.ids[:n_users].tolist()])
    return Vectors(vectors, users, masks)


def random_vectors(like: Vectors) -> Vectors:
    """Random normal vectors of the same shapes, as benchmarks of indices use."""
    rng = np.random.default_rng(0)
    items, users = (rng.standard_normal(each.shape, dtype=np.float32) for each in (like.items, like.users))
    return Vectors(items, users, {})


def find_true(vectors: Vectors, mask: Mask | None, k: int = K) -> Int64Array:
    """(B, k) rows of the best items in the mask by exact search."""
    scores = vectors.users.astype(float) @ vectors.items.T.astype(float)
    if mask is not None:
        scores[:, ~mask] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def measure_recall(search: Search, vectors: Vectors, mask: Mask | None = None, rows: Int64Array | None = None) -> float:
    """Share of the true ten that a search finds; ``rows`` maps what the store holds to rows of the items."""
    hits = 0
    for query, best in zip(vectors.users, find_true(vectors, mask), strict=True):
        found = search(query, K, mask)[0]
        hits += len(np.intersect1d(found if rows is None else rows[found], best))
    return hits / (K * len(vectors.users))


def check_scores(store: Store, search: Search, vectors: Vectors) -> bool:
    """Whether what the store returns becomes leanrec's score."""
    longest = float(np.linalg.norm(vectors.items, axis=1).max())
    for query in vectors.users[:20]:
        rows, numbers = search(query, K, None)
        scores = store.to_score(numbers, query, longest)
        if not np.allclose(scores, vectors.items[rows] @ query, rtol=1e-3, atol=1e-3):
            return False
    return True


def print_stores(names: Sequence[str], n_users: int) -> None:
    """A row for each store: recall over all items, inside filters and on random vectors, and what it returns."""
    bpr, ials = fit_vectors(BPR(), n_users), fit_vectors(IALS(), n_users)
    random = random_vectors(bpr)
    print(f"{len(bpr.items):,} items, {len(bpr.users)} users, {bpr.items.shape[1]} and {ials.items.shape[1]} numbers\n")
    masks = [f"{name} ({mask.sum()})" for name, mask in bpr.masks.items()]
    print(f"| store | iALS | BPR | BPR: {' | '.join(masks)} | random | returns |")
    print("|---|---|---|" + "---|" * (len(masks) + 2))
    for name in names:
        store = STORES[name]
        try:
            search = store.build(bpr.items)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        inside = [measure_recall(search, bpr, mask) if store.filters else None for mask in bpr.masks.values()]
        found = [measure_recall(store.build(each.items), each) for each in (ials, bpr)]
        cells = [*found, *inside, measure_recall(store.build(random.items), random)]
        shown = " | ".join("–" if cell is None else f"{cell:.2f}" for cell in cells)
        print(
            f"| {name} | {shown} | {store.returns}{'' if check_scores(store, search, bpr) else ' (WRONG)'} |",
            flush=True,
        )


def print_mistakes(n_users: int) -> None:
    """Pairs of builds that differ in one thing: the order, blank items, the type or the metric."""
    vectors = fit_vectors(BPR(), n_users)
    unit = Vectors(_unit(vectors.items), vectors.users, {})
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(vectors.items))
    blank = np.zeros((len(vectors.items) // 2, vectors.items.shape[1]), np.float32)
    rows = np.arange(len(vectors.items) + len(blank))
    first, last = np.roll(rows, len(blank)), rows
    longest_last = np.arange(len(vectors.items))[::-1]
    cases: list[tuple[str, str, Callable[[Float32Array], Search], Float32Array, Int64Array | None, Vectors]] = [
        ("voyager InnerProduct", "longest first", voyager_graph, vectors.items, None, vectors),
        ("voyager InnerProduct", "shuffled", voyager_graph, vectors.items[shuffled], shuffled, vectors),
        ("voyager InnerProduct", "longest last", voyager_graph, vectors.items[::-1].copy(), longest_last, vectors),
        ("faiss IndexHNSWFlat", "no blank items", faiss_hnsw, vectors.items, None, vectors),
        ("faiss IndexHNSWFlat", "blank items last", faiss_hnsw, np.vstack([vectors.items, blank]), last, vectors),
        ("faiss IndexHNSWFlat", "blank items first", faiss_hnsw, np.vstack([blank, vectors.items]), first, vectors),
        ("sqlite-vec cosine", "no blank items", _sqlite_cosine, unit.items, None, unit),
        ("sqlite-vec cosine", "one blank item, last", _sqlite_cosine, np.vstack([unit.items, blank[:1]]), last, unit),
        (
            "sqlite-vec cosine",
            "one blank item, first",
            _sqlite_cosine,
            np.vstack([blank[:1], unit.items]),
            last - 1,
            unit,
        ),
        ("usearch ip", "f32", usearch_graph, vectors.items, None, vectors),
        ("usearch ip", "f16", usearch_half, vectors.items, None, vectors),
        ("usearch ip", "i8", usearch_int8, vectors.items, None, vectors),
        ("annoy, 50 trees", "euclidean, one dimension more", annoy_euclidean, vectors.items, None, vectors),
        ("annoy, 50 trees", "dot", annoy_trees, vectors.items, None, vectors),
    ]
    print("\n| store | filled with | recall |\n|---|---|---|")
    for name, how, build, filled, rows_of, truth in cases:
        try:
            recall = measure_recall(build(filled), truth, rows=rows_of)
        except ImportError:
            continue
        print(f"| {name} | {how} | {recall:.2f} |", flush=True)


def _unit(vectors: Float32Array) -> Float32Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _sqlite_cosine(vectors: Float32Array) -> Search:
    return sqlite_vec(vectors, "cosine")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(STORES), default=list(STORES))
    parser.add_argument("--users", type=int, default=200)
    args = parser.parse_args()
    print_stores(args.only, args.users)
    print_mistakes(args.users)


if __name__ == "__main__":
    main()

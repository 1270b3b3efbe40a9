"""Roofline of each kernel: operations and bytes that it needs, the lower bound on its time, and the share that is reached.

    python benchmarks/kernels.py [--repeats 3] [--only NAME]

Gowalla (train without valid), vectors of 64 numbers. The bound counts the arithmetic at the speed of a large float32
product, and every array read or written once at the speed of a triad. Vectors that a kernel fetches again, in the order
of the data, are not in the bound. Exact top-k, item-kNN, and whole fits of iALS and EASE have their bounds beside their
peers (topk.py, item_knn.py, ials.py, linear.py).
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
from datasets import read_gowalla
from harness import Claim, Comparison, Contestant, Probe, Roofline

from leanrec.types import CSR, Float32Array

EMBEDDING_DIM, N_NEIGHBORS, N_NEGATIVES = 64, 200, 512
# Each item has a regression of its own, so a part of the items is enough.
N_REGRESSIONS = 4096


@dataclasses.dataclass(frozen=True)
class KernelCase:
    """A call of a kernel, and the operations and memory traffic that it needs at least.

    Attributes:
        work: the call.
        operations: additions and multiplications.
        numbers: 4-byte numbers read or written, each once.
        why: how these were counted.
    """

    work: Callable[[], Any]
    operations: float
    numbers: float
    why: str


def random_vectors(n: int, seed: int = 0, width: int = EMBEDDING_DIM, scale: float = 1.0) -> Float32Array:
    return np.float32(scale) * np.random.default_rng(seed).standard_normal((n, width), dtype=np.float32)


def propagation_case(X: CSR) -> KernelCase:
    """Propagation along the edges: sums of item vectors over histories."""
    from leanrec.kernels.graph.propagation import BipartiteGraph

    graph, V = BipartiteGraph.from_matrix(X), random_vectors(X.shape[1])
    numbers = 2 * X.nnz + EMBEDDING_DIM * (X.shape[0] + X.shape[1])
    return KernelCase(
        lambda: graph.propagate_to_rows(V),
        2 * X.nnz * EMBEDDING_DIM,
        numbers,
        "2 · E · D; matrix, vectors and sums once",
    )


def contrastive_case(X: CSR) -> KernelCase:
    """Sampled softmax of all edges against shared negatives, with its gradients."""
    from leanrec.kernels.graph.propagation import BipartiteEdges
    from leanrec.kernels.sgd.contrastive import sampled_softmax

    (U, N), S, links = X.shape, N_NEGATIVES, BipartiteEdges.from_matrix(X)
    rows, columns = random_vectors(U, scale=0.1), random_vectors(N, 1, scale=0.1)
    negatives = np.random.default_rng(2).choice(N, S, replace=False)
    weights, log_q = np.full(U, 1 / U, np.float32), np.zeros(S, np.float32)
    return KernelCase(
        lambda: sampled_softmax(links, rows, columns, negatives, log_q, weights),
        6 * U * S * EMBEDDING_DIM + 6 * X.nnz * EMBEDDING_DIM,
        4 * X.nnz + 2 * EMBEDDING_DIM * (U + N),
        "6 · U · S · D + 6 · E · D for scores and both gradients, exponentials not counted; graph and vectors once, gradients once",
    )


def spectral_case(X: CSR) -> KernelCase:
    """The 64 largest singular vectors by four rounds of subspace iteration."""
    import scipy.sparse as sp

    from leanrec.kernels.graph.spectral import normalize_adjacency, right_singular_vectors

    R = normalize_adjacency(X)
    Rt, passes, D = sp.csr_array(R.T), 4, EMBEDDING_DIM + 16
    return KernelCase(
        lambda: right_singular_vectors(R, Rt, EMBEDDING_DIM, passes, np.random.default_rng(0)),
        passes * (4 * X.nnz * D + 4 * X.shape[1] * D**2),
        passes * (4 * X.nnz + D * (X.shape[0] + 3 * X.shape[1])),
        "a round: 4 · E · D for both products, 4 · N · D² for the basis; both matrices and the vectors once a round",
    )


def least_squares_case(X: CSR, *, steps: int) -> KernelCase:
    """Half a pass of iALS, over all users: exact, or three steps of conjugate gradients."""
    from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows

    V = random_vectors(X.shape[1], scale=0.1)
    axes, moments = principal_axes(V)
    V, n = np.asarray(V @ axes, np.float32), np.diff(X.indptr).astype(np.float64)
    ridge, start = np.full(X.shape[0], 1.0, np.float32), random_vectors(X.shape[0], 1, scale=0.1)
    low, high = np.minimum(n, EMBEDDING_DIM), np.maximum(n, EMBEDDING_DIM)
    exact = low**2 * high + low**3 / 3
    # Short rows are solved exactly in either case.
    approximate = np.where(low <= 16, exact, 4 * (steps + 1) * n * EMBEDDING_DIM)
    why = (
        "per user min(n, D)² · max(n, D) + min(n, D)³ / 3"
        if not steps
        else "per user 4 · n · D a step, and short rows exactly"
    )
    return KernelCase(
        lambda: solve_rows(X, V, moments, ridge, start, cg_steps=steps),
        float((approximate if steps else exact).sum()),
        2 * X.nnz + EMBEDDING_DIM * (X.shape[1] + (2 if steps else 1) * X.shape[0]),
        f"{why}; matrix, item vectors and those of users {'before and after' if steps else 'after'} once",
    )


def nearest_neighbors(X: CSR) -> CSR:
    from leanrec.kernels.similarity.top_similar import top_similar

    return top_similar(X, N_NEIGHBORS, "cosine")


def count_pairs_in_rows(near: CSR, columns: CSR) -> float:
    """Number of pairs of columns that share a row, over the regressions."""
    import scipy.sparse as sp

    total, ones = 0.0, sp.csr_array((np.ones(columns.nnz, np.float32), columns.indices, columns.indptr), columns.shape)
    for first in range(0, near.shape[0], 256):
        block = near[first : first + 256]
        block.data = np.ones_like(block.data)
        counts = (block @ ones).data.astype(np.float64)
        total += float((counts * (counts + 1) / 2).sum())
    return total


def local_ridge_case(X: CSR) -> KernelCase:
    """Local regression: a ridge over the 200 nearest neighbors of each of 4,096 items."""
    import scipy.sparse as sp

    from leanrec.kernels.solvers.local_ridge import fit_local_ridges

    near, columns = nearest_neighbors(X)[:N_REGRESSIONS], sp.csr_array(X.T)
    ridge, pairs = np.full(X.shape[1], 10.0, np.float32), count_pairs_in_rows(near, columns)
    return regression_case(lambda: fit_local_ridges(columns, near, ridge), pairs, near, 2 * X.nnz)


def elastic_net_case(X: CSR) -> KernelCase:
    """SLIM: non-negative elastic nets over the 200 nearest neighbors of each of 4,096 items."""
    import scipy.sparse as sp

    from leanrec.kernels.solvers.coordinate_descent import ElasticNetPenalty, fit_local_elastic_nets

    near = nearest_neighbors(X)
    near.data[near.indptr[N_REGRESSIONS] :] = 0
    near.eliminate_zeros()
    pairs, penalty = (
        count_pairs_in_rows(near[:N_REGRESSIONS], sp.csr_array(X.T)),
        ElasticNetPenalty(1.0, 50.0, 100, 1e-4),
    )
    return regression_case(lambda: fit_local_elastic_nets(X, near, penalty), pairs, near, 4 * X.nnz)


def regression_case(work: Callable[[], Any], pairs: float, near: CSR, data: float) -> KernelCase:
    k = np.diff(near.indptr).astype(np.float64)
    return KernelCase(
        work,
        2 * pairs + 2 * float((k**2).sum()),
        data + 2 * near.nnz,
        "2 for each pair of neighbors in a history, 2 · K² for one pass of the solver; data (SLIM: both orders), neighbors and weights once",
    )


def pairwise_case(X: CSR) -> KernelCase:
    """BPR: an epoch over all interactions."""
    from leanrec.kernels.sgd.pairwise import PairwiseStep, run_epoch

    users, items, step = (
        random_vectors(X.shape[0], scale=0.1),
        random_vectors(X.shape[1], 1, EMBEDDING_DIM + 1, scale=0.1),
        PairwiseStep(0.01, 0.01, by_popularity=False),
    )
    return KernelCase(
        lambda: run_epoch(X, users, items, step, np.random.default_rng(0)),
        16 * X.nnz * EMBEDDING_DIM,
        2 * X.nnz + 2 * EMBEDDING_DIM * sum(X.shape),
        "16 · D an interaction: a difference of two products, three vectors moved; data once, vectors read and written once",
    )


def sparse_top_k_case(X: CSR) -> KernelCase:
    """Top 20 of 2,048 histories times item-item weights, 200 per item, seen items excluded."""
    from leanrec.kernels.sparse import top_k_sparse

    weights, some = nearest_neighbors(X), X[:2048]
    count = np.diff(weights.indptr).astype(np.float64)
    used, read = float(count[some.indices].sum()), float(count[np.unique(some.indices)].sum())
    return KernelCase(
        lambda: top_k_sparse(some, weights, 20, seen=some),
        2 * used,
        2 * read + 2 * some.nnz + 40 * some.shape[0],
        "2 for each weight of an item of a history; the weights of all their items with their columns, histories and lists once",
    )


def user_mean_case(X: CSR) -> KernelCase:
    """User-kNN: means over the histories of the 100 nearest users of 1,024 users."""
    import scipy.sparse as sp

    from leanrec.kernels.similarity.aggregation import mean_over_neighbors, rank_entries
    from leanrec.kernels.similarity.top_similar import top_similar

    near = rank_entries(top_similar(sp.csr_array(X.T), 100, "cosine")[:1024])
    entries = float(np.diff(X.indptr)[near.columns[near.columns >= 0]].sum())
    return KernelCase(
        lambda: mean_over_neighbors(near, X, 50),
        4 * entries,
        2 * X.nnz + 2 * 1024 * X.shape[1],
        "4 for each entry of a neighbor; data once, means and counts for every user and item written",
    )


def selection_case(X: CSR) -> KernelCase:
    """Top 20 of given scores, 1,024 users."""
    from leanrec.kernels.topk.selection import top_k

    scores, seen = random_vectors(1024, 0, X.shape[1]), X[:1024]
    return KernelCase(
        lambda: top_k(scores, 20, seen=seen),
        float(scores.size),
        scores.size,
        "a comparison per score; scores read once",
    )


def gram_case(X: CSR) -> KernelCase:
    """XᵀX of the 8,192 most popular items, dense."""
    from leanrec.kernels.solvers.dense_ridge import dense_gram

    part = most_popular_items(X)
    n = np.diff(part.indptr).astype(np.float64)
    return KernelCase(
        lambda: dense_gram(part),
        float((n * (n + 1)).sum()),
        2 * part.nnz + part.shape[1] ** 2,
        "2 for each pair of items in a history, one triangle; data once, the matrix written once",
    )


def inverse_case(X: CSR) -> KernelCase:
    """EASE: inverse of XᵀX + 500 I of the 8,192 most popular items."""
    from leanrec.kernels.solvers.dense_ridge import dense_gram
    from leanrec.kernels.solvers.inverse import sweep_inverse

    G = dense_gram(most_popular_items(X))
    G[np.diag_indices_from(G)] += 500
    n = len(G)
    return KernelCase(
        lambda: sweep_inverse(G.copy()),
        float(n) ** 3,
        5 * float(n) ** 2,
        "N³; the matrix copied, read and written once",
    )


def most_popular_items(X: CSR) -> CSR:
    order = np.argsort(-np.bincount(X.indices, minlength=X.shape[1]), kind="stable")[:8192]
    return X[:, np.sort(order)]


def adam_case(X: CSR) -> KernelCase:
    """A step of Adam on all user and item vectors."""
    from leanrec.kernels.sgd.adam import Adam

    arrays = {"users": random_vectors(X.shape[0]), "items": random_vectors(X.shape[1], 1)}
    gradients = {name: np.float32(0.1) * array for name, array in arrays.items()}
    optimizer = Adam(arrays)
    n = EMBEDDING_DIM * sum(X.shape)
    return KernelCase(
        lambda: optimizer.step(gradients, 1e-3),
        12 * n,
        7 * n,
        "about 12 a number; gradient read, value and both moments read and written",
    )


CASES: dict[str, Callable[[CSR], KernelCase]] = {
    "propagate": propagation_case,
    "contrastive": contrastive_case,
    "spectrum": spectral_case,
    "least squares, exact": functools.partial(least_squares_case, steps=0),
    "least squares, conjugate gradients": functools.partial(least_squares_case, steps=3),
    "local": local_ridge_case,
    "coordinate": elastic_net_case,
    "pairwise": pairwise_case,
    "sparse scores": sparse_top_k_case,
    "user means": user_mean_case,
    "selection": selection_case,
    "gram": gram_case,
    "inverse": inverse_case,
    "adam": adam_case,
}


def time_kernel(probe: Probe, name: str) -> None:
    X = read_gowalla("fit")
    with probe.run.limit_threads():
        probe.time_repeats(CASES[name](X[:3000] if probe.quick else X).work)


def count_rooflines() -> dict[str, Roofline]:
    """Operations and bytes that each kernel needs at least, counted on the data."""
    X = read_gowalla("fit")
    found = {}
    for name, case in CASES.items():
        counted = case(X)
        found[name] = Roofline(counted.operations, 4 * counted.numbers, counted.why)
    return found


def describe_case(name: str) -> str:
    case = CASES[name]
    text = (case.func if isinstance(case, functools.partial) else case).__doc__ or name
    return f"{name}: {text.strip().rstrip('.')}"


def make_claim(args: argparse.Namespace) -> Claim:
    counted = {} if args.contestant or args.quick else count_rooflines()
    return Claim(
        name="kernels",
        title="Each kernel compared with the roofline of the machine.",
        data="Gowalla, train without valid; 29,858 users, 40,981 items, 719,081 interactions",
        contestants={name: Contestant(functools.partial(time_kernel, name=name)) for name in CASES},
        comparisons=[Comparison(what=describe_case(name), ours=name, roofline=counted.get(name)) for name in CASES],
    )


if __name__ == "__main__":
    args = harness.build_parser(__doc__).parse_args()
    harness.run_claim(make_claim(args), args)

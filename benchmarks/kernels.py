"""How near each kernel comes to what the machine can do: operations, bytes, the floor that follows, and what is reached.

    python benchmarks/kernels.py [--repeats 3] [--only NAME]

Gowalla (train without valid), vectors of 64 numbers. The floor counts what the work cannot do without: its arithmetic at the speed
of a large float32 product, and every array read or written once at the speed of a triad. What a kernel fetches again,
because it meets vectors in the order of the data, is its own affair and shows as distance from the floor. Exact top-k,
item-kNN, whole fits of iALS and EASE have their floors beside their peers (topk.py, item_knn.py, ials.py, linear.py).
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import harness
import numpy as np
from datasets import gowalla
from harness import Claim, Comparison, Contestant, Probe, Roofline

from leanrec.types import CSR

WIDTH, NEIGHBOURS, NEGATIVES = 64, 200, 512
# Regressions take each item's neighbours, so a stretch of items is enough to time.
ITEMS = 4096


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of a kernel, and what it cannot do without.

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


def vectors(n: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width), dtype=np.float32)


def propagate(X: CSR) -> Case:
    """A pass along the edges: sums of item vectors over histories."""
    from leanrec.kernels.graph.propagation import BipartiteGraph

    graph, V = BipartiteGraph.of(X), vectors(X.shape[1])
    numbers = 2 * X.nnz + WIDTH * (X.shape[0] + X.shape[1])
    return Case(lambda: graph.to_rows(V), 2 * X.nnz * WIDTH, numbers, "2 · E · D; matrix, vectors and sums once")


def contrast(X: CSR) -> Case:
    """Softmax of all edges against shared negatives, with its gradients."""
    from leanrec.kernels.graph.propagation import BipartiteEdges
    from leanrec.kernels.sgd.contrastive import sampled_softmax

    (U, N), S, links = X.shape, NEGATIVES, BipartiteEdges.of(X)
    rows, columns = 0.1 * vectors(U), 0.1 * vectors(N, 1)
    negatives = np.random.default_rng(2).choice(N, S, replace=False)
    weights, log_q = np.full(U, 1 / U, np.float32), np.zeros(S, np.float32)
    return Case(
        lambda: sampled_softmax(links, rows, columns, negatives, log_q, weights),
        6 * U * S * WIDTH + 6 * X.nnz * WIDTH,
        4 * X.nnz + 2 * WIDTH * (U + N),
        "6 · U · S · D + 6 · E · D for scores and both gradients, exponentials not counted; graph and vectors once, gradients once",
    )


def spectrum(X: CSR) -> Case:
    """The 64 strongest directions in four rounds of subspace iteration."""
    import scipy.sparse as sp

    from leanrec.kernels.graph.spectral import normalize_adjacency, right_singular_vectors

    R = normalize_adjacency(X)
    Rt, passes, D = sp.csr_array(R.T), 4, WIDTH + 16
    return Case(
        lambda: right_singular_vectors(R, Rt, WIDTH, passes, np.random.default_rng(0)),
        passes * (4 * X.nnz * D + 4 * X.shape[1] * D**2),
        passes * (4 * X.nnz + D * (X.shape[0] + 3 * X.shape[1])),
        "a round: 4 · E · D for both products, 4 · N · D² for the basis; both matrices and the vectors once a round",
    )


def alternating(X: CSR, *, steps: int) -> Case:
    """A half step of iALS over all users: exact, or three steps of conjugate gradients."""
    from leanrec.kernels.solvers.least_squares import principal_axes, solve_rows

    V = 0.1 * vectors(X.shape[1])
    axes, moments = principal_axes(V)
    V, n = V @ axes, np.diff(X.indptr).astype(np.float64)
    ridge, start = np.full(X.shape[0], 1.0, np.float32), 0.1 * vectors(X.shape[0], 1)
    few, many = np.minimum(n, WIDTH), np.maximum(n, WIDTH)
    exact = few**2 * many + few**3 / 3
    # Short rows are solved exactly in either case.
    approximate = np.where(few <= 16, exact, 4 * (steps + 1) * n * WIDTH)
    why = (
        "per user min(n, D)² · max(n, D) + min(n, D)³ / 3"
        if not steps
        else "per user 4 · n · D a step, and short rows exactly"
    )
    return Case(
        lambda: solve_rows(X, V, moments, ridge, start, steps=steps),
        float((approximate if steps else exact).sum()),
        2 * X.nnz + WIDTH * (X.shape[1] + (2 if steps else 1) * X.shape[0]),
        f"{why}; matrix, item vectors and those of users {'before and after' if steps else 'after'} once",
    )


def neighbours_of(X: CSR) -> CSR:
    from leanrec.kernels.similarity.top_similar import top_similar

    return top_similar(X, NEIGHBOURS, "cosine")


def pairs_in_rows(near: CSR, columns: CSR) -> float:
    """Products of a pair of columns that meet in a row, over the columns of each regression."""
    import scipy.sparse as sp

    total, ones = 0.0, sp.csr_array((np.ones(columns.nnz, np.float32), columns.indices, columns.indptr), columns.shape)
    for first in range(0, near.shape[0], 256):
        block = near[first : first + 256]
        block.data = np.ones_like(block.data)
        met = (block @ ones).data.astype(np.float64)
        total += float((met * (met + 1) / 2).sum())
    return total


def local(X: CSR) -> Case:
    """Local regression: a ridge over the 200 nearest of each of 4,096 items."""
    import scipy.sparse as sp

    from leanrec.kernels.solvers.local_ridge import fit_local_ridges

    near, columns = neighbours_of(X)[:ITEMS], sp.csr_array(X.T)
    ridge, pairs = np.full(X.shape[1], 10.0, np.float32), pairs_in_rows(near, columns)
    return regression(lambda: fit_local_ridges(columns, near, ridge), pairs, near, 2 * X.nnz)


def coordinate(X: CSR) -> Case:
    """SLIM: non-negative elastic nets over the 200 nearest of each of 4,096 items."""
    import scipy.sparse as sp

    from leanrec.kernels.solvers.coordinate_descent import ElasticNetPenalty, fit_local_elastic_nets

    near = neighbours_of(X)
    near = sp.csr_array(sp.vstack([near[:ITEMS], sp.csr_array((X.shape[1] - ITEMS, X.shape[1]), dtype=np.float32)]))
    pairs, penalty = pairs_in_rows(near[:ITEMS], sp.csr_array(X.T)), ElasticNetPenalty(1.0, 50.0, 100, 1e-4)
    return regression(lambda: fit_local_elastic_nets(X, near, penalty), pairs, near, 4 * X.nnz)


def regression(work: Callable[[], Any], pairs: float, near: CSR, data: float) -> Case:
    k = np.diff(near.indptr).astype(np.float64)
    return Case(
        work,
        2 * pairs + 2 * float((k**2).sum()),
        data + 2 * near.nnz,
        "2 for each pair of neighbours in a history, 2 · K² for one pass of the solver; data (SLIM: both ways), neighbours and weights once",
    )


def pairwise(X: CSR) -> Case:
    """BPR: a pass over all interactions."""
    from leanrec.kernels.sgd.pairwise import PairwiseStep, run_epoch

    users, items, step = (
        0.1 * vectors(X.shape[0]),
        0.1 * vectors(X.shape[1], 1, WIDTH + 1),
        PairwiseStep(0.01, 0.01, popular=False),
    )
    return Case(
        lambda: run_epoch(X, users, items, step, np.random.default_rng(0)),
        16 * X.nnz * WIDTH,
        2 * X.nnz + 2 * WIDTH * sum(X.shape),
        "16 · D an interaction: a difference of two products, three vectors moved; data once, vectors read and written once",
    )


def sparse_scores(X: CSR) -> Case:
    """Top 20 of 2,048 histories times item-item weights, 200 an item, seen items left out."""
    from leanrec.kernels.sparse import top_k_sparse

    weights, some = neighbours_of(X), X[:2048]
    count = np.diff(weights.indptr).astype(np.float64)
    picked, read = float(count[some.indices].sum()), float(count[np.unique(some.indices)].sum())
    return Case(
        lambda: top_k_sparse(some, weights, 20, seen=some),
        2 * picked,
        2 * read + 2 * some.nnz + 40 * some.shape[0],
        "2 for each weight of an item of a history; the weights of all their items with their columns, histories and lists once",
    )


def user_means(X: CSR) -> Case:
    """User-kNN: means over the histories of the 100 nearest users of 1,024 users."""
    import scipy.sparse as sp

    from leanrec.kernels.similarity.aggregation import mean_over_neighbors, rank_entries
    from leanrec.kernels.similarity.top_similar import top_similar

    near = rank_entries(top_similar(sp.csr_array(X.T), 100, "cosine")[:1024])
    entries = float(np.diff(X.indptr)[near.columns[near.columns >= 0]].sum())
    return Case(
        lambda: mean_over_neighbors(near, X, 50),
        4 * entries,
        2 * X.nnz + 2 * 1024 * X.shape[1],
        "4 for each entry of a neighbour; data once, means and counts for every user and item written",
    )


def selection(X: CSR) -> Case:
    """The 20 best of given scores, 1,024 users."""
    from leanrec.kernels.topk.selection import top_k

    scores, seen = vectors(1024, 0, X.shape[1]), X[:1024]
    return Case(
        lambda: top_k(scores, 20, seen=seen),
        float(scores.size),
        scores.size,
        "a comparison a score; scores read once",
    )


def gram(X: CSR) -> Case:
    """XᵀX of the 8,192 most touched items, dense."""
    from leanrec.kernels.solvers.dense import dense_gram

    part = most_touched(X)
    n = np.diff(part.indptr).astype(np.float64)
    return Case(
        lambda: dense_gram(part),
        float((n * (n + 1)).sum()),
        2 * part.nnz + part.shape[1] ** 2,
        "2 for each pair of items in a history, one triangle; data once, the matrix written once",
    )


def inverse(X: CSR) -> Case:
    """EASE: the inverse of XᵀX + 500 I of the 8,192 most touched items."""
    from leanrec.kernels.solvers.dense import dense_gram
    from leanrec.kernels.solvers.inverse import sweep_inverse

    G = dense_gram(most_touched(X))
    G[np.diag_indices_from(G)] += 500
    n = len(G)
    return Case(
        lambda: sweep_inverse(G.copy()),
        float(n) ** 3,
        5 * float(n) ** 2,
        "N³; the matrix copied, read and written once",
    )


def most_touched(X: CSR) -> CSR:
    order = np.argsort(-np.bincount(X.indices, minlength=X.shape[1]), kind="stable")[:8192]
    return X[:, np.sort(order)]


def adam(X: CSR) -> Case:
    """A step of Adam on all user and item vectors."""
    from leanrec.kernels.sgd.adam import Adam

    arrays = {"users": vectors(X.shape[0]), "items": vectors(X.shape[1], 1)}
    gradients, optimiser = {name: 0.1 * array for name, array in arrays.items()}, Adam(arrays)
    n = WIDTH * sum(X.shape)
    return Case(
        lambda: optimiser.step(gradients, 1e-3),
        12 * n,
        7 * n,
        "about 12 a number; gradient read, value and both moments read and written",
    )


CASES: dict[str, Callable[[CSR], Case]] = {
    "propagate": propagate,
    "contrast": contrast,
    "spectrum": spectrum,
    "least squares, exact": functools.partial(alternating, steps=0),
    "least squares, conjugate gradients": functools.partial(alternating, steps=3),
    "local": local,
    "coordinate": coordinate,
    "pairwise": pairwise,
    "sparse scores": sparse_scores,
    "user means": user_means,
    "selection": selection,
    "gram": gram,
    "inverse": inverse,
    "descent": adam,
}


def judge(probe: Probe, name: str) -> None:
    X = gowalla("fit")
    with probe.run.limit_threads():
        probe.repeat(CASES[name](X[:3000] if probe.quick else X).work)


def floors() -> dict[str, Roofline]:
    """What each kernel cannot do without, counted on the data."""
    X = gowalla("fit")
    found = {}
    for name, case in CASES.items():
        counted = case(X)
        found[name] = Roofline(counted.operations, 4 * counted.numbers, counted.why)
    return found


def describe(name: str) -> str:
    case = CASES[name]
    text = (case.func if isinstance(case, functools.partial) else case).__doc__ or name
    return f"{name}: {text.strip().rstrip('.')}"


def make_claim(asked: argparse.Namespace) -> Claim:
    counted = {} if asked.contestant or asked.quick else floors()
    return Claim(
        name="kernels",
        title="Each kernel beside the floor of the machine.",
        data="Gowalla, train without valid; 29,858 users, 40,981 items, 719,081 interactions",
        contestants={name: Contestant(functools.partial(judge, name=name)) for name in CASES},
        comparisons=[Comparison(what=describe(name), ours=name, roofline=counted.get(name)) for name in CASES],
    )


if __name__ == "__main__":
    asked = harness.parser(__doc__).parse_args()
    harness.run(make_claim(asked), asked)

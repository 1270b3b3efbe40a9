"""Linear item models: EASE, SLIM and the sparse approximate inverse, compared with irspack.

    python benchmarks/linear.py [--repeats 3] [--quick]

ML-1M (a fifth of the ratings is held out) and the 10,000 most frequent items of Gowalla (train without valid).
"""

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import scipy.sparse as sp
from datasets import dataset_from_matrix, read_gowalla
from harness import Claim, Comparison, Contestant, Probe, Roofline, main

from leanrec.data import Dataset, EvaluationSet, find_data
from leanrec.types import CSR, Queries

L2, L1 = 200.0, 1.0
SLIM_L2 = 50.0
ML_ITEMS, GOWALLA_ITEMS = 3_706, 10_000
SLIM_CAUSE = (
    "A changed weight costs the row of 10,000 sums behind it, where a mean item of Gowalla has 41 users; the Gram matrix itself is a "
    "small part. Next: descent along the columns of the data where they are short."
)
SANSA_CAUSE = (
    "The weights beyond a hundred neighbors of each item; the time is a tenth. Next: two hundred (ml-1m: .2720 where a hundred have "
    ".2692), or a ridge that follows the frequency of the item."
)


def read_ml_1m() -> tuple[CSR, CSR]:
    """Binary ML-1M: four entries in five, and the fifth."""
    file = find_data("ml-1m") / "ratings.parquet"
    with duckdb.connect() as con:
        pairs = con.execute("SELECT userId, movieId FROM read_parquet(?) ORDER BY ALL", [str(file)]).fetchnumpy()
    codes = [np.unique(pairs[name], return_inverse=True)[1] for name in ("userId", "movieId")]
    shape = tuple(int(each.max()) + 1 for each in codes)
    held_out = np.random.default_rng(0).random(len(codes[0])) < 0.2
    return tuple(_binary_matrix(codes[0][part], codes[1][part], shape) for part in (~held_out, held_out))  # type: ignore[return-value]


def read_popular_gowalla() -> tuple[CSR, CSR]:
    """The most frequent items of Gowalla."""
    fit, valid = read_gowalla("fit"), read_gowalla("valid")
    order = np.argsort(-np.bincount(fit.indices, minlength=fit.shape[1]), kind="stable")[:GOWALLA_ITEMS]
    return fit[:, order], valid[:, order]


def _binary_matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> CSR:
    matrix = sp.coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix


def load_split(probe: Probe, which: str) -> tuple[CSR, CSR]:
    train, held_out = read_ml_1m() if which == "ml-1m" else read_popular_gowalla()
    keep = 1_000 if probe.quick else train.shape[1]
    return train[:, :keep], held_out[:, :keep]


def compute_recall(scorer: object, train: CSR, held_out: CSR) -> float:
    from leanrec.evaluation import evaluate

    rows = np.flatnonzero(np.diff(held_out.indptr)).astype(np.int32)
    evaluation_set = EvaluationSet(queries=Queries(users=rows, history=train[rows]), ground_truth=held_out[rows])
    return evaluate(scorer, evaluation_set, k=(20,)).means()["recall@20"]  # type: ignore[arg-type]


def fit_leanrec(probe: Probe, which: str, estimator: object) -> None:
    train, held_out = load_split(probe, which)
    data, small = dataset_from_matrix(train), dataset_from_matrix(train[:200, :300])
    build_interactions(data)
    with probe.warmup():
        estimator.fit(small, probe.run)  # type: ignore[attr-defined]
    with probe.timed():
        model = estimator.fit(data, probe.run)  # type: ignore[attr-defined]
    probe.record_quality(recall_20=compute_recall(model, train, held_out))
    if isinstance(model.weights, np.ndarray):
        probe.add_note(f"{model.weights.nbytes / 1e6:.0f} MB of weights")
    else:
        probe.add_note(f"{8 * model.weights.nnz / 1e6:.1f} MB of weights")


def build_interactions(data: Dataset) -> None:
    assert data.interactions.nnz


def fit_ease(probe: Probe, which: str) -> None:
    from leanrec.models import EASE

    fit_leanrec(probe, which, EASE(l2=L2))


def fit_sparse_ease(probe: Probe, which: str) -> None:
    from leanrec.models import EASE

    fit_leanrec(probe, which, EASE(l2=L2, top_k=100))


def fit_sansa(probe: Probe, which: str) -> None:
    from leanrec.models import SANSA

    fit_leanrec(probe, which, SANSA(l2=L2))


def fit_slim(probe: Probe, which: str) -> None:
    from leanrec.models import SLIM

    fit_leanrec(probe, which, SLIM(l1=L1, l2=SLIM_L2, n_neighbors=0))


def fit_irspack(probe: Probe, which: str, name: str, settings: dict[str, float]) -> None:
    import irspack

    train, held_out = load_split(probe, which)
    recommender = getattr(irspack, name)
    with probe.warmup():
        recommender(sp.csr_matrix(train[:200, :300]), **settings).learn()
    matrix = sp.csr_matrix(train)
    with probe.timed():
        learned = recommender(matrix, **settings).learn()
    probe.record_quality(recall_20=compute_recall(Weights(learned.W), train, held_out))


class Weights:
    """irspack's item weights as a scorer, so that both are evaluated in the same way."""

    def __init__(self, weights: Any) -> None:
        sparse = sp.issparse(weights)
        self.weights = sp.csr_array(weights).astype(np.float32) if sparse else np.asarray(weights, np.float32)

    @property
    def n_items(self) -> int:
        return int(self.weights.shape[0])

    def score(self, queries: Queries, items: np.ndarray | None = None) -> np.ndarray:
        from leanrec.kernels.sparse import history_scores

        return history_scores(queries.history, self.weights, items)


def fit_irspack_ease(probe: Probe, which: str) -> None:
    fit_irspack(probe, which, "DenseSLIMRecommender", {"reg": L2})


def fit_irspack_slim(probe: Probe, which: str) -> None:
    # Its penalties are divided by the number of users.
    users = load_split(probe, which)[0].shape[0]
    settings = {"alpha": (L1 + SLIM_L2) / users, "l1_ratio": L1 / (L1 + SLIM_L2), "n_threads": probe.threads}
    fit_irspack(probe, which, "SLIMRecommender", settings)


def bind_data(which: str, work: object) -> object:
    def contestant(probe: Probe) -> None:
        work(probe, which)  # type: ignore[operator]

    return contestant


def make_contestants(which: str) -> dict[str, Contestant]:
    works = {
        "ours EASE": fit_ease,
        "irspack EASE": fit_irspack_ease,
        "ours EASE top": fit_sparse_ease,
        "ours SANSA": fit_sansa,
        "ours SLIM": fit_slim,
        "irspack SLIM": fit_irspack_slim,
    }
    made = {f"{name} {which}": Contestant(bind_data(which, work)) for name, work in works.items()}  # type: ignore[arg-type]
    slow = f"irspack SLIM {which}"
    return made | {slow: replace(made[slow], repeats=2, seconds=1800)}


def make_comparisons(which: str, items: int) -> list[Comparison]:
    inverse = Roofline(operations=items**3, bytes=3 * 4 * items**2, why="N³ operations of an inverse by Cholesky")
    return [
        Comparison(
            what=f"EASE, {which}, {items:,} items",
            ours=f"ours EASE {which}",
            peer=f"irspack EASE {which}",
            at_most=1.0,
            quality="recall@20",
            tolerance=0.0005,
            roofline=inverse,
        ),
        Comparison(
            what=f"memory of EASE, {which}",
            ours=f"ours EASE {which}",
            peer=f"irspack EASE {which}",
            measure="peak",
            at_most=1.0,
        ),
        Comparison(
            what=f"SLIM over all items, {which}",
            ours=f"ours SLIM {which}",
            peer=f"irspack SLIM {which}",
            at_most=1 / 3,
            quality="recall@20",
            tolerance=0.0005,
            cause=SLIM_CAUSE,
        ),
        Comparison(
            what=f"sparse inverse compared with EASE, {which}",
            ours=f"ours SANSA {which}",
            peer=f"ours EASE {which}",
            at_most=1.0,
            quality="recall@20",
            tolerance=0.002,
            cause=SANSA_CAUSE,
        ),
    ]


CLAIM = Claim(
    name="linear",
    title="Linear item models.",
    data="ML-1M, four entries in five; the 10,000 most frequent items of Gowalla, train without valid",
    contestants=make_contestants("ml-1m") | make_contestants("gowalla"),
    comparisons=make_comparisons("ml-1m", ML_ITEMS) + make_comparisons("gowalla", GOWALLA_ITEMS),
)

if __name__ == "__main__":
    main(CLAIM, __doc__)

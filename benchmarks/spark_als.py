"""iALS on Gowalla at 64 factors compared with Spark's ALS: the same number of passes, no worse quality.

python benchmarks/spark_als.py [--repeats 1] [--quick]
"""

import dataclasses

import numpy as np
from harness import Claim, Comparison, Contestant, Probe, main

from leanrec.types import CSR, Float32Array, Int32Array, Queries

WIDTH, PASSES, ALPHA, RIDGE = 64, 10, 40.0, 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Factors:
    """A scorer of given user and item vectors."""

    users: Float32Array
    items: Float32Array

    @property
    def n_items(self) -> int:
        return len(self.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        assert items is None
        return np.asarray(self.users[queries.users] @ self.items.T)


def load_matrix(quick: bool) -> CSR:
    from datasets import read_gowalla

    X = read_gowalla("fit")
    return X[:2000] if quick else X


def fit_leanrec(probe: Probe) -> None:
    from datasets import dataset_from_matrix, gowalla_evaluation_set

    from leanrec.evaluation import evaluate
    from leanrec.models import IALS

    X = load_matrix(probe.quick)
    how = IALS(
        embedding_dim=WIDTH, epochs=2 if probe.quick else PASSES, weighting="binary", l2_exponent=1.0, relaxation=1.0
    )
    estimator = dataclasses.replace(how, unobserved_weight=1 / ALPHA, l2=RIDGE / (1 + ALPHA))
    with probe.warmup():
        estimator.fit(dataset_from_matrix(X[:300]), probe.run)
    data = dataset_from_matrix(X)
    assert data.interactions.nnz == X.nnz
    with probe.timed():
        model = estimator.fit(data, probe.run)
    if not probe.quick:
        means = evaluate(model, gowalla_evaluation_set("valid"), k=(20,)).means()
        probe.record_quality(recall_20=means["recall@20"], ndcg_20=means["ndcg@20"])


def fit_spark(probe: Probe) -> None:
    from datasets import gowalla_evaluation_set
    from pyspark.ml.recommendation import ALS
    from spark import collect_vectors, start_session, to_spark_frame

    from leanrec.evaluation import evaluate

    X = load_matrix(probe.quick)
    with probe.warmup():
        spark = start_session(probe.threads)
        passes = 2 if probe.quick else PASSES
        als = ALS(userCol="user", itemCol="item", ratingCol="weight", rank=WIDTH, maxIter=passes, seed=0)
        als.setImplicitPrefs(True).setAlpha(ALPHA).setRegParam(RIDGE).setNumBlocks(probe.threads)
        als.copy({als.maxIter: 1}).fit(to_spark_frame(spark, X[:300])).userFactors.count()
    rows = to_spark_frame(spark, X)
    with probe.timed():
        model = als.fit(rows)
        model.itemFactors.count()
    found = Factors(
        *(collect_vectors(v, n, WIDTH) for v, n in zip((model.userFactors, model.itemFactors), X.shape, strict=True))
    )
    if not probe.quick:
        means = evaluate(found, gowalla_evaluation_set("valid"), k=(20,)).means()
        probe.record_quality(recall_20=means["recall@20"], ndcg_20=means["ndcg@20"])
    spark.stop()


CLAIM = Claim(
    name="spark_als",
    title=f"iALS and Spark's ALS, both at {WIDTH} factors with {PASSES} passes.",
    data="Gowalla, train without valid; quality on valid, all users",
    contestants={"ours": Contestant(fit_leanrec), "spark": Contestant(fit_spark, repeats=1)},
    comparisons=[
        Comparison(
            what=f"iALS, {WIDTH} factors, {PASSES} passes",
            ours="ours",
            peer="spark",
            at_most=1 / 20,
            quality="recall@20",
            tolerance=0.002,
            notes=f"The same loss: alpha {ALPHA:g}, regParam {RIDGE:g}. The starts are random and differ. Spark’s session, its copy of the data and a first small fit are warm-up.",
        ),
        Comparison(what="memory of the process during the fit", ours="ours", peer="spark", measure="peak"),
    ],
)

if __name__ == "__main__":
    main(CLAIM, __doc__)

"""Offline evaluation of recommendations by ranking metrics, one value for each query.

Every item of the catalog competes (no sampled negatives: Krichene and Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020), and items in the user's history are excluded. Queries are processed in blocks, so no U × N
matrix is ever made.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.metrics.beyond_accuracy import (
    ItemStatistics,
    count_exposure,
    coverage,
    diversity,
    gini,
    novelty,
    popularity,
    popularity_lift,
)
from leanrec.evaluation.metrics.ranking import RANKING_METRICS, Float64Array, auc, graded_ndcg, match_ground_truth
from leanrec.evaluation.metrics.ratings import RatingErrors, evaluate_ratings
from leanrec.protocols import Context, RatingPredictor, Retriever, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.retrieval.ties import drop_unranked
from leanrec.run import Run
from leanrec.types import CSR, Candidates, Int64Array

__all__ = ["Evaluation", "evaluate", "warn_small_sample"]

# Queries that are scored at a time.
_BLOCK_SIZE = 512
# Means over fewer queries are not reliable.
_SMALL_SAMPLE = 30


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation(PerQueryMetrics):
    """Metrics of one model on one evaluation set.

    Attributes:
        per_query: "recall@10", "ndcg@10" … → (B,) float64, NaN for queries without relevant items.
        catalog: metrics of all lists together: "coverage@10", "gini@10", "popularity_lift@10".
        fallback: (B,) whether the fallback answered, because the model had no information about the user.
        n_empty: number of lists without a single item.
        k: the cut-offs.
        ratings: errors of predicted ratings; None where the model predicts none or none were held out.
    """

    catalog: dict[str, float]
    fallback: NDArray[np.bool_]
    n_empty: int
    k: tuple[int, ...]
    ratings: RatingErrors | None = None

    @property
    def n_queries(self) -> int:
        """Number of evaluated queries: those with at least one relevant item."""
        return int(np.isfinite(self.per_query[f"recall@{self.k[0]}"]).sum())

    @property
    def n_excluded(self) -> int:
        """Number of queries without a relevant item, which cannot be evaluated."""
        return len(self.fallback) - self.n_queries

    @property
    def fallback_share(self) -> float:
        """Share of the evaluated queries that the fallback answered."""
        return float(self.fallback.sum() / self.n_queries)

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Counts, means with intervals, catalog metrics and rating errors, as plain numbers."""
        return {
            "n_queries": self.n_queries,
            "n_excluded": self.n_excluded,
            "fallback_share": self.fallback_share,
            "empty_lists": self.n_empty,
            "level": level,
            "metrics": self.intervals(level),
            "catalog": self.catalog,
            "ratings": None if self.ratings is None else self.ratings.to_dict(level),
            "fingerprint": self.fingerprint,
            "seed": self.seed,
        }


def warn_small_sample(part: str, evaluation_set: EvaluationSet) -> str:
    """A warning if a part has too few queries for reliable means; otherwise empty."""
    n = int((evaluation_set.n_relevant > 0).sum())
    queries = "query" if n == 1 else "queries"
    warning = f"The {part} part holds {n} {queries}: means over fewer than {_SMALL_SAMPLE} are not reliable."
    return warning if n < _SMALL_SAMPLE else ""


def evaluate(
    model: Scorer | Retriever,
    evaluation_set: EvaluationSet,
    *,
    k: Sequence[int] = (10, 20),
    fallback: Scorer | None = None,
    train: Dataset | None = None,
    features: CSR | None = None,
    with_auc: bool = False,
    run: Run = Run(),
) -> Evaluation:
    """Compute recommendations for every query with ground truth, and their metrics.

    A Scorer ranks all items except those in the history (unless ``evaluation_set.allow_repeats``), in the lists that a
    ``Pipeline`` with the same fallback serves: where scores are equal, or 0 because the model has no evidence for an item,
    the fallback decides. The lists of a Retriever are taken as they are.

    Cost: the recommendations, O(B · K log K) for the metrics, memory for 512 queries at a time and 8 bytes for each query
    and metric. AUC scores every query a second time.

    Args:
        model: a fitted model, or any retriever.
        evaluation_set: the validation or test part of a split.
        k: cut-offs of the metrics; one above the size of the catalog is allowed.
        fallback: answers where a Scorer has no evidence for the user, and decides between items of equal score, such as 0
            for items without evidence; None leaves lists without evidence, and positions that several items of score 0
            compete for, empty.
        train: the data that the model was fitted on. With it, novelty, popularity and diversity are computed too.
        features: (N, F) item features for diversity, instead of the users who interacted with the items.
        with_auc: also compute AUC, which needs the scores of all items; for a Scorer only.
        run: seed of the bootstrap, threads, progress bar.

    Raises:
        SettingError: a cut-off below 1, or a fallback or AUC for a Retriever.
        DataError: no query has a relevant item, or model and evaluation set have different items.
    """
    cutoffs = tuple(sorted(set(k)))
    if not cutoffs or any(not isinstance(each, int | np.integer) or each < 1 for each in cutoffs):
        raise SettingError(f"k must be one or more whole numbers of at least 1, such as (10, 20). Got {k!r}.")
    if with_auc and not isinstance(model, Scorer):
        raise SettingError("AUC needs the scores of all items, and a retriever gives only lists. Pass the scorer.")
    retriever = _make_retriever(model, evaluation_set, fallback)
    rows = np.flatnonzero(evaluation_set.n_relevant)
    if not len(rows):
        raise DataError("No query has a relevant item, so nothing can be evaluated. Split the data another way.")
    evaluable = evaluation_set if len(rows) == len(evaluation_set) else evaluation_set.take(rows)
    statistics = None if train is None else ItemStatistics.from_dataset(train, features, run.seed)
    weights = evaluation_set.ground_truth.data
    is_graded = bool(len(weights)) and weights.min() != weights.max()
    accumulator = _MetricAccumulator(cutoffs, statistics, is_graded, evaluation_set.queries.n_items)
    scorer = model if with_auc and isinstance(model, Scorer) else None
    with run.limit_threads():
        starts = range(0, len(evaluable), _BLOCK_SIZE)
        for start in run.track(starts, "Evaluate", total=len(starts)):
            stop = start + _BLOCK_SIZE
            queries, ground_truth = evaluable.queries.block(start, stop), evaluable.ground_truth[start:stop]
            block = dataclasses.replace(evaluable, queries=queries, ground_truth=ground_truth, ratings=None)
            if isinstance(model, Retriever) or fallback is not None:
                candidates = retriever.retrieve(block.queries, cutoffs[-1])
            else:
                candidates = drop_unranked(retriever.retrieve(block.queries, cutoffs[-1] + 1))
            accumulator.add_block(block, candidates, scorer)
    ratings = None
    if isinstance(model, RatingPredictor) and evaluation_set.ratings is not None and evaluation_set.ratings.nnz:
        ratings = evaluate_ratings(model, evaluation_set, run=run)
    n = len(evaluation_set)
    return Evaluation(
        per_query={name: _scatter(values, rows, n) for name, values in accumulator.concatenate().items()},
        fingerprint=evaluation_set.fingerprint,
        seed=run.seed,
        catalog=accumulator.compute_catalog_metrics(evaluable),
        fallback=_scatter(np.concatenate(accumulator.fallback), rows, n) == 1,
        n_empty=accumulator.n_empty,
        k=cutoffs,
        ratings=ratings,
    )


class _MetricAccumulator:
    """Collects metrics block by block."""

    def __init__(
        self, cutoffs: tuple[int, ...], statistics: ItemStatistics | None, is_graded: bool, n_items: int
    ) -> None:
        self.cutoffs = cutoffs
        self.statistics = statistics
        self.metrics = (*RANKING_METRICS, ("graded_ndcg", graded_ndcg)) if is_graded else RANKING_METRICS
        self.exposure = {k: np.zeros(n_items, np.int64) for k in cutoffs}
        self.blocks: list[dict[str, Float64Array]] = []
        self.fallback: list[NDArray[np.bool_]] = []
        self.n_empty = 0

    def add_block(self, block: EvaluationSet, candidates: Candidates, scorer: Scorer | None) -> None:
        """Add the metrics of a block of queries and their recommendations."""
        # A retriever with fewer items may return shorter lists.
        missing = max(0, self.cutoffs[-1] - candidates.items.shape[1])
        items = np.pad(candidates.items, ((0, 0), (0, missing)), constant_values=-1)[:, : self.cutoffs[-1]]
        relevance = match_ground_truth(items, block.ground_truth)
        values = {f"{name}@{k}": metric(relevance, k) for k in self.cutoffs for name, metric in self.metrics}
        if scorer is not None:
            queries = block.queries
            seen = queries.history if queries.seen is None else queries.seen
            values["auc"] = auc(scorer.score(queries), block.ground_truth, None if block.allow_repeats else seen)
        for k in self.cutoffs:
            top = items[:, :k]
            self.exposure[k] += count_exposure(top, len(self.exposure[k]))
            if self.statistics is not None:
                values[f"novelty@{k}"] = novelty(top, self.statistics)
                values[f"popularity@{k}"] = popularity(top, self.statistics)
                values[f"diversity@{k}"] = diversity(top, self.statistics)
        self.blocks.append(values)
        none = np.zeros(len(items), np.bool_)
        self.fallback.append(none if candidates.fallback is None else candidates.fallback)
        self.n_empty += int((items < 0).all(axis=1).sum())

    def concatenate(self) -> dict[str, Float64Array]:
        """Metric → values of all queries."""
        return {name: np.concatenate([block[name] for block in self.blocks]) for name in self.blocks[0]}

    def compute_catalog_metrics(self, evaluation_set: EvaluationSet) -> dict[str, float]:
        """Metrics of all lists together."""
        found = {}
        for k in self.cutoffs:
            found[f"coverage@{k}"] = coverage(self.exposure[k])
            found[f"gini@{k}"] = gini(self.exposure[k])
            if self.statistics is not None:
                of_lists = np.concatenate([block[f"popularity@{k}"] for block in self.blocks])
                history = evaluation_set.queries.history
                found[f"popularity_lift@{k}"] = popularity_lift(of_lists, history, self.statistics)
        return found


def _make_retriever(model: Scorer | Retriever, evaluation_set: EvaluationSet, fallback: Scorer | None) -> Retriever:
    if isinstance(model, Retriever):
        if fallback is not None:
            raise SettingError("A fallback goes with a scorer; a retriever has its own. Leave fallback out.")
        return model
    if model.n_items != evaluation_set.queries.n_items:
        raise DataError(
            f"Model and evaluation set must have the same items. The model scores {model.n_items}, the evaluation set "
            f"has {evaluation_set.queries.n_items}. Fit on the training part of the same split."
        )
    context = Context(exclude_seen=not evaluation_set.allow_repeats)
    return ExactRetriever(model, fallback=fallback, context=context)


def _scatter(values: NDArray[Any], rows: Int64Array, n: int) -> Float64Array:
    """(n,) the values at ``rows``, NaN elsewhere."""
    scattered = np.full(n, np.nan)
    scattered[rows] = values
    return scattered

"""Samples of evaluation queries on which a model and its compressed versions are compared list by list."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError
from leanrec.evaluation.bootstrap import PerQueryMetrics, bootstrap_means
from leanrec.evaluation.metrics.ranking import Float64Array, match_ground_truth, ndcg, recall
from leanrec.protocols import Context, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import CSR, Int32Array

__all__ = ["METRICS", "MeasuredLists", "RankingSample", "RelativeLoss", "draw_samples", "find_tail_items"]

METRICS = ("ndcg", "recall", "tail_recall")
_HEAD_SHARE = 0.2
_N_RESAMPLES = 2000
_BLOCK = 512
# An interval over fewer users says nothing.
_MIN_QUERIES = 10


@dataclasses.dataclass(frozen=True)
class RelativeLoss:
    """What a model loses of a metric of another one on the same queries, as a share: 0.01 is one percent less.

    Attributes:
        value: 1 − mean / mean of the other.
        low: lower end of the 95 % interval, by a paired bootstrap over queries.
        high: upper end: the loss is below it with a probability of 97.5 %.
    """

    value: float
    low: float
    high: float

    @property
    def kept(self) -> float:
        """The share of the metric that is kept for certain: 1 − ``high``."""
        return 1 - self.high


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredLists(PerQueryMetrics):
    """The lists of one model for a sample, with a value of each metric for each query.

    Attributes:
        items: (B, K) rows of the recommended items, −1 past the end.
    """

    items: Int32Array

    def compute_loss(self, other: "MeasuredLists", metric: str) -> RelativeLoss:
        """What ``other`` loses of this model's metric. 0 where both have a mean of 0."""
        both = np.column_stack([self.values(metric), other.values(metric)])
        both = both[np.isfinite(both).all(axis=1)]
        drawn = bootstrap_means(both, n_resamples=_N_RESAMPLES, seed=self.seed)
        mine, theirs = (float(each) for each in both.mean(axis=0)) if len(both) else (0.0, 0.0)
        if not mine:
            return RelativeLoss(0.0, 0.0, 0.0)
        losses = 1 - drawn[:, 1] / np.maximum(drawn[:, 0], np.finfo(np.float64).tiny)
        low, high = np.quantile(losses, [0.025, 0.975])
        return RelativeLoss(1 - theirs / mine, float(low), float(high))

    def share_identical(self, other: "MeasuredLists") -> float:
        """Share of the queries for which both models list the same items, in whatever order."""
        same = (np.sort(self.items, axis=1) == np.sort(other.items, axis=1)).all(axis=1)
        return float(same.mean()) if len(same) else 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class RankingSample:
    """Queries with ground truth on which models are compared.

    Attributes:
        queries: the queries, each with at least one relevant item.
        is_tail: (N,) whether an item is one of the rarer ones; see ``find_tail_items``.
        fallback: answers where a model has no evidence, as in a pipeline.
        k: length of the lists.
    """

    queries: EvaluationSet
    is_tail: NDArray[np.bool_]
    fallback: Scorer | None
    k: int = 20

    @functools.cached_property
    def _tail_truth(self) -> CSR:
        """The ground truth without the popular items."""
        truth = self.queries.ground_truth.copy()
        # Items that the model does not know come after those that it knows, and have no events.
        kept = np.concatenate([self.is_tail, np.ones(max(truth.shape[1] - len(self.is_tail), 0), np.bool_)])
        truth.data = np.where(kept[truth.indices], truth.data, 0).astype(np.float32)
        truth.eliminate_zeros()
        return truth

    def measure(self, model: Scorer, run: Run = Run()) -> MeasuredLists:
        """The lists of a model, with NDCG, recall, and recall of the rarer items."""
        context = Context(exclude_seen=not self.queries.allow_repeats)
        retriever = ExactRetriever(model, fallback=self.fallback, context=context)
        with run.limit_threads():
            queries = self.queries.queries
            blocks = [
                retriever.retrieve(queries.block(start, start + _BLOCK), self.k).items
                for start in range(0, len(queries), _BLOCK)
            ]
        items = np.concatenate(blocks)
        return MeasuredLists(
            per_query=self._compute_metrics(items),
            fingerprint=self.queries.fingerprint,
            seed=run.seed,
            items=items,
        )

    def _compute_metrics(self, items: Int32Array) -> Mapping[str, Float64Array]:
        relevance = match_ground_truth(items, self.queries.ground_truth)
        of_tail = match_ground_truth(items, self._tail_truth)
        return {
            "ndcg": ndcg(relevance, self.k),
            "recall": recall(relevance, self.k),
            "tail_recall": recall(of_tail, self.k),
        }


def draw_samples(
    part: EvaluationSet,
    report: EvaluationSet | None,
    train: Dataset,
    fallback: Scorer | None,
    run: Run,
    *,
    k: int,
    max_queries: tuple[int, int],
) -> tuple[RankingSample, RankingSample]:
    """Samples of at most so many queries: one of ``part`` to choose by, and one of ``report`` to report on.

    Without ``report`` each is of half of the queries of ``part``. Raises DataError for samples of fewer
    than ten users.
    """
    rng = np.random.default_rng(run.seed)
    rows = rng.permutation(np.flatnonzero(part.n_relevant))
    if report is None:
        half = len(rows) // 2
        sets, chosen = (part, part), (rows[:half], rows[half:])
    else:
        sets, chosen = (part, report), (rows, rng.permutation(np.flatnonzero(report.n_relevant)))
    if min(map(len, chosen)) < _MIN_QUERIES:
        raise DataError(
            f"A compression must be chosen by held-out events of at least {_MIN_QUERIES} users, and reported on events of as "
            f"many. There are {len(chosen[0])} and {len(chosen[1])} with known items. Hold out more events, or give other ones."
        )
    is_tail = find_tail_items(train)
    first, second = (
        RankingSample(each.take(np.sort(rows[:limit])), is_tail, fallback, k)
        for each, rows, limit in zip(sets, chosen, max_queries, strict=True)
    )
    return first, second


def find_tail_items(train: Dataset) -> NDArray[np.bool_]:
    """(N,) True for all items but the most popular ones, which together have a fifth of the events."""
    counts = np.bincount(train.events.item, minlength=len(train.items))
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    is_tail = np.ones(len(counts), np.bool_)
    is_tail[order[before < _HEAD_SHARE * counts.sum()]] = False
    return is_tail

"""Lists and truth → one value for each query.

Every item of the catalogue competes (no sampled negatives: Krichene and Rendle, "On Sampled Metrics for Item
Recommendation", KDD 2020), and what the asker has seen is left out. Queries stream through in blocks, so no
U × N matrix is ever made.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQuery
from leanrec.evaluation.metrics.beyond_accuracy import (
    Background,
    coverage,
    diversity,
    exposure,
    gini,
    novelty,
    popularity,
    popularity_lift,
)
from leanrec.evaluation.metrics.ranking import RANKING, Float64Array, auc, graded_ndcg, judge
from leanrec.evaluation.metrics.ratings import RatingErrors, evaluate_ratings
from leanrec.protocols import RatingPredictor, Retriever, Scorer
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import CSR, Candidates, Int32Array, Int64Array

__all__ = ["Evaluation", "evaluate", "warn_of_few"]

_BLOCK = 512
# Queries below which a mean is an anecdote.
_FEW = 30


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation(PerQuery):
    """What one model did on one set of cases.

    Attributes:
        per_query: "recall@10", "ndcg@10" … → (B,) float64, NaN for queries without an answer.
        catalogue: measures of all lists together: "coverage@10", "gini@10", "popularity_lift@10".
        fallback: (B,) whether the list came from the fallback because the model knew nothing of the asker.
        empty: lists without a single item.
        k: the cut-offs.
        ratings: errors of predicted ratings, or None where the model predicts none or none were held out.
    """

    catalogue: dict[str, float]
    fallback: NDArray[np.bool_]
    empty: int
    k: tuple[int, ...]
    ratings: RatingErrors | None = None

    @property
    def n_queries(self) -> int:
        """Queries that were asked: those with an answer."""
        return int(np.isfinite(self.per_query[f"recall@{self.k[0]}"]).sum())

    @property
    def n_excluded(self) -> int:
        """Queries without an answer, which cannot be judged."""
        return len(self.fallback) - self.n_queries

    @property
    def fallback_share(self) -> float:
        """Share of the asked queries that the fallback answered."""
        return float(self.fallback.sum() / self.n_queries)

    def to_dict(self, level: float = 0.95) -> dict[str, Any]:
        """Counts, means with intervals, catalogue measures and rating errors, as plain numbers."""
        return {
            "n_queries": self.n_queries,
            "n_excluded": self.n_excluded,
            "fallback_share": self.fallback_share,
            "empty_lists": self.empty,
            "level": level,
            "metrics": self.intervals(level),
            "catalogue": self.catalogue,
            "ratings": None if self.ratings is None else self.ratings.to_dict(level),
            "cases": self.cases,
            "seed": self.seed,
        }


def warn_of_few(part: str, cases: EvaluationSet) -> str:
    """A sentence where a part holds so few queries that its means say little; else nothing."""
    n = int((np.diff(cases.ground_truth.indptr) > 0).sum())
    few = f"The {part} part holds {n} {'query' if n == 1 else 'queries'}: means over fewer than {_FEW} say little."
    return few if n < _FEW else ""


def evaluate(
    model: Scorer | Retriever,
    cases: EvaluationSet,
    *,
    k: Sequence[int] = (10, 20),
    fallback: Scorer | None = None,
    train: Dataset | None = None,
    features: CSR | None = None,
    with_auc: bool = False,
    run: Run = Run(),
) -> Evaluation:
    """Ask every case that has an answer and judge the lists.

    A Scorer ranks all items, without those the asker has seen (unless ``cases.allow_repeats``). A Retriever answers
    as it is.

    Cost: the model's lists, O(B · K log) to judge them, memory for 512 queries at a time and 8 bytes for each
    query and metric. AUC scores every query a second time.

    Args:
        model: a fitted model, or anything that retrieves.
        cases: from a split.
        k: cut-offs; one above the size of the catalogue is allowed.
        fallback: answers where a Scorer knows nothing of the asker; None leaves such lists empty.
        train: what the model was fitted on. With it, novelty, popularity and diversity are measured too.
        features: (N, F) content by which diversity is measured instead of by who touched the items.
        with_auc: also measure AUC, which needs the scores of all items; for a Scorer only.
        run: seed of the resamples, threads, progress bar.

    Raises:
        SettingError: a cut-off below 1, or a fallback or AUC for a Retriever.
        DataError: no case has an answer, or model and cases are about different items.
    """
    depths = _cut_offs(k)
    retriever = _retriever(model, cases, fallback)
    rows = np.flatnonzero(cases.n_relevant)
    if not len(rows):
        raise DataError("None of the cases has an answer, so nothing can be measured. Split the data another way.")
    asked = cases if len(rows) == len(cases) else cases.take(rows)
    background = None if train is None else Background.of(train, features, run.seed)
    judge_block = _Judge(depths, background, _graded(cases), cases.queries.n_items)
    scorer = _scorer(model) if with_auc else None
    with run.limit_threads():
        for part in _blocks(asked, run):
            judge_block.add(part, retriever.retrieve(part.queries, depths[-1]), scorer)
    return Evaluation(
        per_query={name: _spread(values, rows, len(cases)) for name, values in judge_block.values().items()},
        cases=cases.fingerprint,
        seed=run.seed,
        catalogue=judge_block.catalogue(asked),
        fallback=_spread(np.concatenate(judge_block.fallback), rows, len(cases)) == 1,
        empty=judge_block.empty,
        k=depths,
        ratings=_rating_errors(model, cases, run),
    )


class _Judge:
    """Collects the values of each block of queries."""

    def __init__(self, k: tuple[int, ...], background: Background | None, graded: bool, n_items: int) -> None:
        self.k = k
        self.background = background
        self.metrics = (*RANKING, ("graded_ndcg", graded_ndcg)) if graded else RANKING
        self.shown = {depth: np.zeros(n_items, np.int64) for depth in k}
        self.parts: list[dict[str, Float64Array]] = []
        self.fallback: list[NDArray[np.bool_]] = []
        self.empty = 0

    def add(self, cases: EvaluationSet, candidates: Candidates, scorer: Scorer | None) -> None:
        items = _padded(candidates.items, self.k[-1])
        judged = judge(items, cases.ground_truth)
        values = {f"{name}@{k}": metric(judged, k) for k in self.k for name, metric in self.metrics}
        if scorer is not None:
            queries = cases.queries
            seen = queries.history if queries.seen is None else queries.seen
            values["auc"] = auc(scorer.score(queries), cases.ground_truth, None if cases.allow_repeats else seen)
        for k in self.k:
            self.shown[k] += exposure(items[:, :k], len(self.shown[k]))
            values.update(self._variety(items[:, :k], k))
        self.parts.append(values)
        none = np.zeros(len(items), np.bool_)
        self.fallback.append(none if candidates.fallback is None else candidates.fallback)
        self.empty += int((items < 0).all(axis=1).sum())

    def _variety(self, items: Int32Array, k: int) -> dict[str, Float64Array]:
        if self.background is None:
            return {}
        return {
            f"novelty@{k}": novelty(items, self.background),
            f"popularity@{k}": popularity(items, self.background),
            f"diversity@{k}": diversity(items, self.background),
        }

    def values(self) -> dict[str, Float64Array]:
        return {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}

    def catalogue(self, cases: EvaluationSet) -> dict[str, float]:
        found = {}
        for k in self.k:
            found[f"coverage@{k}"] = coverage(self.shown[k])
            found[f"gini@{k}"] = gini(self.shown[k])
            if self.background is not None:
                listed = np.concatenate([part[f"popularity@{k}"] for part in self.parts])
                found[f"popularity_lift@{k}"] = popularity_lift(listed, cases.queries.history, self.background)
        return found


def _cut_offs(k: Sequence[int]) -> tuple[int, ...]:
    depths = tuple(sorted(set(k)))
    if not depths or any(not isinstance(each, int | np.integer) or each < 1 for each in depths):
        raise SettingError(f"k must be one or more whole numbers of at least 1, such as (10, 20). Got {k!r}.")
    return depths


def _retriever(model: Scorer | Retriever, cases: EvaluationSet, fallback: Scorer | None) -> Retriever:
    if isinstance(model, Retriever):
        if fallback is not None:
            raise SettingError("A fallback goes with a scorer; a retriever brings its own. Leave fallback out.")
        return model
    if model.n_items != cases.queries.n_items:
        raise DataError(
            f"Model and cases must be about the same items. The model scores {model.n_items}, "
            f"the cases hold {cases.queries.n_items}. Fit on the training part of the same split."
        )
    return ExactRetriever(model, fallback=fallback, exclude_seen=not cases.allow_repeats)


def _scorer(model: Scorer | Retriever) -> Scorer:
    if not isinstance(model, Scorer):
        raise SettingError("AUC needs the scores of all items, and a retriever gives only lists. Pass the scorer.")
    return model


def _rating_errors(model: object, cases: EvaluationSet, run: Run) -> RatingErrors | None:
    if not isinstance(model, RatingPredictor) or cases.ratings is None or not cases.ratings.nnz:
        return None
    return evaluate_ratings(model, cases, run=run)


def _graded(cases: EvaluationSet) -> bool:
    data = cases.ground_truth.data
    return bool(len(data)) and data.min() != data.max()


def _blocks(cases: EvaluationSet, run: Run) -> Iterator[EvaluationSet]:
    starts = range(0, len(cases), _BLOCK)
    for start in run.track(starts, "Evaluate", total=-(-len(cases) // _BLOCK)):
        stop = start + _BLOCK
        yield dataclasses.replace(
            cases, queries=cases.queries.block(start, stop), ground_truth=cases.ground_truth[start:stop], ratings=None
        )


def _padded(items: Int32Array, k: int) -> Int32Array:
    """Lists of exactly k places; a retriever with fewer items to give may return shorter ones."""
    short = k - items.shape[1]
    return items[:, :k] if short <= 0 else np.pad(items, ((0, 0), (0, short)), constant_values=-1)


def _spread(values: NDArray[Any], rows: Int64Array, n: int) -> Float64Array:
    spread = np.full(n, np.nan)
    spread[rows] = values
    return spread

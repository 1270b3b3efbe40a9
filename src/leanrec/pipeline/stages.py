"""One list: what the model says, and what stands where it says nothing."""

import dataclasses
import time

import numpy as np

from leanrec.pipeline.catalog import Rules
from leanrec.pipeline.scorers import Padded, one_query
from leanrec.pipeline.snapshot import State
from leanrec.protocols import RatingPredictor
from leanrec.retrieval.exact import ExactRetriever
from leanrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["Listed", "listed"]


@dataclasses.dataclass(frozen=True)
class Listed:
    """The list of one asker, best first.

    Attributes:
        rows: item rows.
        scores: one for each; of a model that predicts ratings, inside the range of the data.
        spoken: for the first so many the model has something to say; the order of the others is the fallback's.
        fell_back: the model knew nothing of the asker, and all of the list is the fallback's.
    """

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    spoken: int
    fell_back: bool


def listed(
    state: State,
    queries: Queries,
    n: int,
    rules: Rules,
    *,
    exclude_seen: bool,
    rating_range: tuple[float, float] | None = None,
) -> Listed:
    """The n best items for the one asker in ``queries``.

    Items with the score 0 at the end of a list have nothing in common with the asker; those that the fallback
    likes best take their places. Cost: one query, and O(N) more for such a list.
    """
    fallback = None if state.fallback is None else Padded(state.fallback, len(state.catalogue))
    now = dataclasses.replace(queries, time=np.array([int(time.time())], np.int64))
    retriever = ExactRetriever(state.model, fallback, exclude_seen, rules.allow, rules.deny)
    with one_query():
        found = retriever.retrieve(now, min(n, len(state.catalogue)))
        rows, scores = _kept(found)
        fell_back = found.fallback is not None and bool(found.fallback[0])
        spoken = len(rows) if fell_back or fallback is None or scores.min(initial=0) < 0 else int((scores > 0).sum())
        if spoken < len(rows):
            free = _unspoken(state, now, rules, exclude_seen=exclude_seen)
            liked = free[np.argsort(-fallback.score(now)[0, free], kind="stable")]  # type: ignore[union-attr]
            rows = np.concatenate([rows[:spoken], liked[: len(rows) - spoken]]).astype(np.int32)
    if rating_range is not None and not fell_back and isinstance(state.model, RatingPredictor):
        scores = scores.clip(*rating_range)
    return Listed(tuple(rows.tolist()), tuple(scores.tolist()), spoken, fell_back)


def _kept(found: Candidates) -> tuple[Int32Array, Float32Array]:
    there = found.items[0] >= 0
    return found.items[0][there], found.scores[0][there]


def _unspoken(state: State, queries: Queries, rules: Rules, *, exclude_seen: bool) -> Int32Array:
    """Rows that may be shown and have the score 0."""
    free = np.asarray(state.model.score(queries)[0] == 0)
    if rules.allow is not None:
        free &= np.isin(np.arange(len(free)), rules.allow)
    if rules.deny is not None:
        free[rules.deny] = False
    if exclude_seen:
        free[(queries.history if queries.seen is None else queries.seen).indices] = False
    return np.flatnonzero(free).astype(np.int32)

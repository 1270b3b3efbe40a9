"""Prequential evaluation: a stream of events is first predicted, then learned from, by models that follow it or do not.

Gama, Sebastião and Rodrigues, "On evaluating stream learning algorithms", Machine Learning 90, 2013.
"""

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.splits.split import TEST, TRAIN, build_split
from leanrec.data.time_kind import TimeKind
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.evaluate import evaluate
from leanrec.models import get_model
from leanrec.models.baselines.popularity import Popularity
from leanrec.protocols import Estimator, Scorer, Updatable
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of
from leanrec.types import Int32Array, Int64Array

__all__ = ["POLICIES", "PrequentialEvaluation", "evaluate_prequentially"]

Float64Array = NDArray[np.float64]
POLICIES = ("frozen", "online", "refit")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PrequentialEvaluation(PerQueryMetrics):
    """One way to follow a stream, over all its blocks.

    The values are means over the blocks of a user, weighted by the number of blocks, so that intervals draw users and not lists, which are
    alike for the same user.

    Attributes:
        policy: "frozen", "online" or "refit".
        cpu_seconds: CPU time of all updates or fits after the first fit.
        first_cpu_seconds: CPU time of the first fit, which all policies share.
        blocks: metric → (T,) mean of each block, in the order of the stream.
    """

    policy: str
    cpu_seconds: float
    first_cpu_seconds: float
    blocks: dict[str, tuple[float, ...]]


class _Follower:
    """A model, and the fallback beside it, that follow a stream in one way."""

    def __init__(self, policy: str, estimator: Estimator, model: Scorer, fallback: Scorer, data: Dataset) -> None:
        self.policy, self._estimator, self._model, self._fallback = policy, estimator, model, fallback
        self._known = np.diff(data.indptr)
        self.cpu_seconds = 0.0
        self.per_query: list[dict[str, Float64Array]] = []

    def predict(self, part: EvaluationSet, data: Dataset, k: Sequence[int], run: Run) -> None:
        """Recommend to the users of the next block, by their histories up to it."""
        is_stale = (np.diff(data.indptr) != self._known)[part.queries.users]
        part = dataclasses.replace(part, queries=dataclasses.replace(part.queries, is_stale=is_stale))
        found = evaluate(self._model, part, k=k, fallback=self._fallback, run=run)
        self.per_query.append(dict(found.per_query))

    def learn(self, data: Dataset, items: Int32Array, run: Run) -> None:
        """Learn from a block, which ``data`` ends with and which has events on these items."""
        if self.policy == "frozen":
            return
        start = time.process_time()
        if self.policy == "online":
            self._model, self._fallback = (
                each.update(data, items, run)  # type: ignore[attr-defined]
                for each in (self._model, self._fallback)
            )
        else:
            self._model, self._fallback = (each.fit(data, run) for each in (self._estimator, Popularity()))
        self.cpu_seconds += time.process_time() - start
        self._known = np.diff(data.indptr)


def evaluate_prequentially(
    estimator: str | Estimator,
    data: Dataset,
    *,
    policies: Sequence[str] = POLICIES,
    first: float = 0.5,
    n_blocks: int = 50,
    k: Sequence[int] = (10,),
    allow_repeats: bool = False,
    run: Run = Run(),
) -> dict[str, PrequentialEvaluation]:
    """Evaluate a model on a stream that it follows in different ways: not at all, by updates, or by fits from the start.

    The first events are for one fit, which all policies share. The others come in blocks of equal size. Each block is first
    predicted, for the users who have events in it and by their histories up to it, and then learned from. The queries of all policies are the
    same, so ``compare(results, "ndcg@10", against="refit")`` tests their differences in pairs. All policies follow the histories of the
    users, as a server does.

    The stream is in the order of time. Where times only give the order within each user, the events of each user
    are spread evenly over the stream, so there are no new users in it.

    Cost: for each block a list for each of its users and policy, and an update or a fit for those that learn.

    Args:
        estimator: a model by name, or settings.
        data: the data set.
        policies: "frozen" keeps the first fit; "online" updates what it knows of the items of the block, see `leanrec.protocols.Updatable`; "refit" fits again on all
            events so far.
        first: share of the events for the first fit.
        n_blocks: number of blocks. A server learns more often than a benchmark can.
        k: cut-offs of the lists.
        allow_repeats: count items that a user had before as relevant, and recommend them again.
        run: seed, threads and budget of each fit.

    Returns the evaluation of each policy.

    Raises:
        SettingError: an unknown policy, or "online" for a model that cannot be updated.
        DataError: the log has no order, or no block has anything to predict.
    """
    settings = get_model(estimator)() if isinstance(estimator, str) else estimator
    for policy in policies:
        check_one_of("policies", policy, POLICIES)
    check_between("first", first, 0.01, 0.99)
    check_at_least("n_blocks", n_blocks, 2)
    rank = _find_positions(data, run.seed)
    cuts = np.linspace(round(first * len(rank)), len(rank), n_blocks + 1).round().astype(np.int64)
    start = dataclasses.replace(data, events=data.events.take(rank < cuts[0]))
    begin = time.process_time()
    model, fallback = settings.fit(start, run), Popularity().fit(start, run)
    cpu = time.process_time() - begin
    if "online" in policies and not isinstance(model, Updatable):
        raise SettingError(
            f"policies must be 'frozen' or 'refit' for {type(settings).__name__}, which cannot be updated. Got 'online'."
        )
    followers = [_Follower(each, settings, model, fallback, start) for each in policies]
    users: list[Int32Array] = []
    digest = hashlib.sha256()
    blocks = list(itertools.pairwise(cuts.tolist()))
    for low, high in run.track(blocks, "Follow", total=len(blocks)):
        known = dataclasses.replace(data, events=data.events.take(rank < high))
        is_new = rank[rank < high] >= low
        try:
            parts = build_split(known, np.where(is_new, np.int8(TEST), np.int8(TRAIN)), "time", "", allow_repeats)
        except DataError:  # nothing to predict
            parts = None
        if parts is not None:
            users.append(parts.test.queries.users)
            digest.update(parts.test.fingerprint.encode())
            for each in followers:
                each.predict(parts.test, parts.train, k, run)
        if high < len(rank):
            items = np.unique(known.events.item[is_new])
            for each in followers:
                each.learn(known, items, run.restart())
    if not users:
        raise DataError(
            "A block must have a positive event on an item that is new to its user. None has: use fewer blocks."
        )
    user = np.concatenate(users)
    return {each.policy: _summarize(each, user, digest.hexdigest(), cpu, run.seed) for each in followers}


def _find_positions(data: Dataset, seed: int) -> Int64Array:
    """(E,) position of each event in the stream."""
    user, n_events = data.events.user, np.diff(data.indptr)
    if data.time_kind is TimeKind.NONE:
        raise DataError("A stream needs an order. This log has no times.")
    moment: NDArray[Any] = data.events.time
    if not data.time_kind.is_comparable:
        moment = (np.arange(len(user)) - data.indptr[user] + 0.5) / n_events[user]
    by_chance = np.random.default_rng(seed).permutation(len(n_events))[user]  # among users with the same moment
    order = np.lexsort((np.arange(len(user)), by_chance, moment))
    rank = np.empty(len(user), np.int64)
    rank[order] = np.arange(len(user))
    return rank


def _summarize(follower: _Follower, user: Int32Array, fingerprint: str, cpu: float, seed: int) -> PrequentialEvaluation:
    """Average the blocks of each user."""
    values, weights, blocks = {}, None, {}
    for name in follower.per_query[0]:
        lists = np.concatenate([each[name] for each in follower.per_query])
        is_known = np.isfinite(lists)
        counts = np.bincount(user[is_known])
        sums = np.bincount(user[is_known], lists[is_known], len(counts))
        weights = counts[counts > 0].astype(np.float64)
        values[name] = sums[counts > 0] / weights
        blocks[name] = tuple(float(np.nanmean(each[name])) for each in follower.per_query)
    return PrequentialEvaluation(
        per_query=values,
        fingerprint=fingerprint,
        seed=seed,
        weights=weights,
        policy=follower.policy,
        cpu_seconds=follower.cpu_seconds,
        first_cpu_seconds=cpu,
        blocks=blocks,
    )

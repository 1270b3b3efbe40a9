"""Early stopping: a validation split of latest events, and NDCG on it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.kernels.topk.selection import top_k
from leanrec.protocols import Embedder
from leanrec.types import CSR, Events, Float32Array, Queries

__all__ = ["hold_out", "mean_ndcg", "mean_ndcg_of_embedder", "mean_ndcg_of_lists", "mean_ndcg_of_scores"]

# Share of the users whose latest event is held out, and the maximum number of them.
_SHARE, _MAX_USERS = 0.05, 2_000
_BLOCK = 512


def hold_out(data: Dataset, rng: np.random.Generator) -> tuple[Dataset, EvaluationSet]:
    """Split off the latest new item of 5 % of the users (at most 2,000) for validation.

    That is the latest positive event with an item that the user had no positive event with before: lists exclude what the
    user has seen, so no list can hold an item that repeats. Later repeats, and all other events of the pair, are left out
    of both parts. Only users with a positive event before it are eligible. Queries carry the time of their event if times
    are comparable between users. O(E log E).
    """
    events = data.events
    positive = np.flatnonzero(data.is_positive)
    pair = events.user[positive].astype(np.int64) * len(data.items) + events.item[positive]
    # Events are in time order within a user, so the first position of a pair is its first event.
    new = np.sort(np.unique(pair, return_index=True)[1])
    latest = np.flatnonzero(np.diff(events.user[positive[new]], append=-1) != 0)
    eligible = positive[new[latest[np.diff(latest, prepend=-1) > 1]]]
    n_users = max(1, min(_MAX_USERS, int(_SHARE * len(eligible))))
    held_out = np.sort(rng.permutation(eligible)[:n_users])
    train = data.with_events(events.take(~_find_later(events, held_out)))
    users = events.user[held_out].astype(np.int32)
    shape = (len(held_out), len(data.items))
    entries = np.ones(len(held_out), np.float32), (np.arange(len(held_out)), events.item[held_out])
    time = events.time[held_out] if data.time_kind.is_comparable else None
    queries = dataclasses.replace(train.queries(users), time=time)
    return train, EvaluationSet(queries, sp.csr_array(entries, shape=shape))


def _find_later(events: Events, held_out: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(E,) whether an event is of the pair of a held-out one, or positive and later in the log of the same user."""
    if not len(held_out):
        return np.zeros(len(events), np.bool_)
    # The held-out event of each event's user, if there is one.
    which = np.minimum(np.searchsorted(events.user[held_out], events.user), len(held_out) - 1)
    of_user = held_out[which]
    is_later = (np.arange(len(events)) >= of_user) & (events.weight > 0)
    return np.asarray((events.user[of_user] == events.user) & (is_later | (events.item[of_user] == events.item)))


def mean_ndcg(states: Float32Array, items: Float32Array, cases: EvaluationSet, k: int = 10) -> float:
    """Mean NDCG@k of the rankings by ``states`` (B, D) · ``items`` (N, D)ᵀ, over the queries with ground truth.

    Seen items are excluded, as in every mean of this module. O(B · N · D).
    """
    return mean_ndcg_of_lists(lambda rows, seen: top_k(states[rows] @ items.T, k, seen=seen)[0], cases, k)


def mean_ndcg_of_embedder(model: Embedder, cases: EvaluationSet, k: int = 10) -> float:
    """Mean NDCG@k of a fitted model with query and item vectors."""
    return mean_ndcg(model.embed_queries(cases.queries), model.embed_items(), cases, k)


def mean_ndcg_of_scores(score: Callable[[Queries], Float32Array], cases: EvaluationSet, k: int = 10) -> float:
    """Mean NDCG@k for any scorer: ``score`` returns (B, N) for a block of queries."""
    return mean_ndcg_of_lists(lambda rows, seen: top_k(score(cases.queries.take(rows)), k, seen=seen)[0], cases, k)


def mean_ndcg_of_lists(
    recommend: Callable[[NDArray[Any], CSR | None], NDArray[Any]],
    cases: EvaluationSet,
    k: int = 10,
    block: int = _BLOCK,
) -> float:
    """Mean NDCG@k of recommendation lists: ``recommend`` maps rows of ``cases`` and their seen items to (B, k) items."""
    truth = cases.ground_truth
    seen = cases.queries.seen if cases.queries.seen is not None else cases.queries.history
    evaluated = np.flatnonzero(np.diff(truth.indptr))
    gains = 1 / np.log2(np.arange(2, k + 2))
    total = 0.0
    for start in range(0, len(evaluated), block):
        rows = evaluated[start : start + block]
        lists = recommend(rows, None if cases.allow_repeats else seen[rows])
        for row, items in zip(rows.tolist(), lists, strict=True):
            relevant = truth.indices[truth.indptr[row] : truth.indptr[row + 1]]
            total += float(gains[: len(items)][np.isin(items, relevant)].sum() / gains[: len(relevant)].sum())
    return total / max(1, len(evaluated))

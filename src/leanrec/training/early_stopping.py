"""The latest events of a few users, kept from training so that it can see when to stop."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.data.splits.split import clock_of
from leanrec.kernels.topk.selection import top_k
from leanrec.types import CSR, Float32Array, Queries

__all__ = ["hold_out", "mean_ndcg", "mean_ndcg_of", "mean_ndcg_of_lists"]

_SHARE, _MOST = 0.05, 2_000


def hold_out(data: Dataset, rng: np.random.Generator) -> tuple[Dataset, Cases]:
    """Training without the latest positive event of 5 % of the users (at most 2,000), and these events as cases.

    Only users of two events or more take part. Queries carry the time of their event where the log has a clock. Cost O(E).
    """
    events = data.events
    positive = np.flatnonzero(events.weight > 0)
    last = np.flatnonzero(np.diff(events.user[positive], append=-1) != 0)
    first = np.concatenate([[0], last[:-1] + 1])
    able = last[last > first]
    chosen = rng.permutation(able)[: max(1, min(_MOST, int(_SHARE * len(able))))] if len(able) else able
    held = np.sort(positive[chosen])
    keep = np.ones(len(events), np.bool_)
    keep[held] = False
    train = data.with_events(events.take(keep))
    users = events.user[held].astype(np.int32)
    shape = (len(held), len(data.items))
    truth = sp.csr_array((np.ones(len(held), np.float32), (np.arange(len(held)), events.item[held])), shape=shape)
    time = events.time[held] if clock_of(data) == "clock" else None
    return train, Cases(dataclasses.replace(train.queries(users), time=time), truth)


def mean_ndcg(states: Float32Array, items: Float32Array, cases: Cases, k: int = 10) -> float:
    """Mean NDCG@k of the lists by ``states`` · ``items``, seen items left out, over queries that have an answer."""
    return _mean(lambda rows: states[rows] @ items.T, cases, k)


def mean_ndcg_of(score: Callable[[Queries], Float32Array], cases: Cases, k: int = 10) -> float:
    """The same for scores that are no product of vectors: ``score`` gives (B, N) for a block of queries."""
    return _mean(lambda rows: score(cases.queries.take(rows)), cases, k)


def _mean(scores: Callable[[NDArray[Any]], Float32Array], cases: Cases, k: int) -> float:
    return mean_ndcg_of_lists(lambda rows, seen: top_k(scores(rows), k, seen=seen)[0], cases, k)


def mean_ndcg_of_lists(
    best: Callable[[NDArray[Any], CSR | None], NDArray[Any]], cases: Cases, k: int = 10, block: int = 512
) -> float:
    """The same for lists that are made elsewhere: ``best`` gives (B, k) items for rows of the cases and what these have seen."""
    truth, seen = cases.truth, cases.queries.seen if cases.queries.seen is not None else cases.queries.history
    asked = np.flatnonzero(np.diff(truth.indptr))
    gains = 1 / np.log2(np.arange(2, k + 2))
    total = 0.0
    for start in range(0, len(asked), block):
        rows = asked[start : start + block]
        lists = best(rows, None if cases.repeats else seen[rows])
        for row, listed in zip(rows.tolist(), lists, strict=True):
            answers = truth.indices[truth.indptr[row] : truth.indptr[row + 1]]
            total += float(gains[: len(listed)][np.isin(listed, answers)].sum() / gains[: len(answers)].sum())
    return total / max(1, len(asked))

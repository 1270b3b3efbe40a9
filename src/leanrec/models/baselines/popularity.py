"""Popularity: the most frequent items, with exponential decay.

The decay is that of Ding & Li, "Time Weight Collaborative Filtering", CIKM 2005.
"""

import dataclasses
import functools
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.topk.shared_scores import order_scores, top_k_shared
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["Popularity", "PopularityModel"]

_DAY = 86_400.0
# Entries that are counted together.
_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class Popularity:
    """The number of users of each item; the weight of an interaction halves every ``half_life`` days.

    It also scores empty histories, and is the fallback of all other models. Of items with the same number, the one with
    the latest event comes first, where times of users are comparable; then the one whose users have fewer other items.
    So the order does not depend on ids or on the order of the log.

    When to use: the baseline that every other model must beat, and the fallback for users without a history.

    Cost: fit O(E) time and 24 bytes an event, 64 with ``half_life``; a query O(k + history), with scores of all items O(N); the model 4 N bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "times"})

    half_life: float = setting(
        0.0,
        at_least=0,
        search="0,7,30,90,365",
        doc=(
            "Days in which the weight of an event halves, counted back from the last event; 0 = no decay. Needs times "
            "in seconds; leave it at 0 where time is only an order."
        ),
    )
    count: str = setting(
        "users",
        one_of=("users", "weights"),
        search="users,weights",
        doc='"users" = each user counts once for an item, by the latest event; "weights" = sum of all event weights.',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The matrix of interactions and flags of the events, or with a half-life eight columns of 8 bytes; the counts."""
        return (64 if self.half_life else 24) * shape.events + 40 * shape.items + 2**25

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "PopularityModel":
        """Count positive events. An item without any gets 0."""
        run.require_memory(self.fit_bytes(data.shape), f"Popularity over {len(data.events)} events")
        if self.half_life:
            counts = self._count_with_decay(data)
        else:
            # The matrix has each pair once with the sum of its weights.
            X = data.interactions
            counts = np.zeros(len(data.items))
            for start in range(0, X.nnz, _BLOCK):
                entries = slice(start, start + _BLOCK)
                weights = X.data[entries] if self.count == "weights" else None
                counts += np.bincount(X.indices[entries], weights=weights, minlength=len(counts))
        return PopularityModel(self, _order_ties(counts.astype(np.float32), data))

    def _count_with_decay(self, data: Dataset) -> np.ndarray:
        events, n_items = data.events, len(data.items)
        positive = np.flatnonzero(data.is_positive)
        item = events.item[positive]
        time = events.time[positive]
        decay = np.exp2((time - time.max(initial=np.iinfo(time.dtype).min)) / (self.half_life * _DAY))
        if self.count == "weights":
            decay *= events.weight[positive]
        else:
            # Events of a user are sorted by time, so that the last event of a pair has decayed least.
            pair = events.user[positive].astype(np.int64) * n_items + item
            _, from_end = np.unique(pair[::-1], return_index=True)
            latest = len(pair) - 1 - from_end
            item, decay = item[latest], decay[latest]
        return np.bincount(item, weights=decay, minlength=n_items)


def _order_ties(counts: Float32Array, data: Dataset) -> Float32Array:
    """(N,) the counts; among equal ones above 0 all but the last are raised by the smallest steps of float32."""
    X = data.interactions
    latest, votes = np.zeros(len(counts), np.int64), np.zeros(len(counts))
    for users, events in data.iter_blocks():
        if data.time_kind.is_comparable:
            positive = data.is_positive[events]
            np.maximum.at(latest, data.events.item[events][positive], data.events.time[events][positive])
        # Each user has one vote, in equal shares.
        bounds = X.indptr[users.start : users.stop + 1]
        degrees = np.diff(bounds)
        shares = np.repeat(1 / np.maximum(degrees, 1), degrees)
        votes += np.bincount(X.indices[bounds[0] : bounds[-1]], shares, len(counts))
    votes = votes.round(9)  # the sum depends on the order of the users
    order = np.lexsort((votes, latest, counts))
    columns = [column[order] for column in (counts, latest, votes)]
    is_new_count = np.diff(columns[0], prepend=-1) > 0
    differs = np.any([np.diff(column, prepend=column[:1]) != 0 for column in columns[1:]], axis=0)
    rank = np.cumsum(is_new_count | differs)
    steps = rank - rank[is_new_count][np.cumsum(is_new_count) - 1]
    bits = columns[0].view(np.int32).astype(np.int64)
    # The steps end below the next count.
    starts = np.append(bits[is_new_count], np.iinfo(np.int32).max)
    room = starts[np.cumsum(is_new_count)] - bits - 1
    raised = np.where(columns[0] > 0, bits + np.minimum(steps, room), bits).astype(np.int32)
    out = np.empty_like(counts)
    out[order] = raised.view(np.float32)
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class PopularityModel:
    """A fitted `Popularity`.

    Attributes:
        settings: settings of the fit.
        counts: (N,) float32 decayed number of users, or sum of weights; equal ones differ by rounding, in their order.
    """

    settings: Popularity
    counts: Annotated[Float32Array, ArrayShape("N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.counts)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """The counts, the same for all users: (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        chosen = self.counts if items is None else self.counts[items]
        return np.array(np.broadcast_to(chosen, (len(queries), chosen.shape[-1])))

    @functools.cached_property
    def _order(self) -> Int32Array:
        return order_scores(self.counts)

    def search(
        self, queries: Queries, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        """The k most popular items that each query may get, without a copy of the counts. See `leanrec.protocols.Searcher`."""
        items, scores = top_k_shared(self.counts, self._order, len(queries), k, seen=seen, allowed=allowed)
        is_constant = self.counts.min(initial=np.inf) >= self.counts.max(initial=-np.inf)
        return items, scores, np.full(len(queries), is_constant)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "PopularityModel":  # noqa: ARG002 - counted in one pass
        """The model of a fit on ``data``. O(E)."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:  # noqa: ARG002 - the same for all users
        """The reason is "popularity"; no item of the history contributes."""
        return [Explanation("popularity", np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(items)

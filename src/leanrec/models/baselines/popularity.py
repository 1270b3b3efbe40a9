"""Popularity: the most frequent items, with exponential decay.

The decay is that of Ding & Li, "Time Weight Collaborative Filtering", CIKM 2005.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["Popularity", "PopularityModel"]

_DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class Popularity:
    """The number of users of each item; the weight of an interaction halves every ``half_life`` days.

    It also scores empty histories, and is the fallback of all other models. Of items with the same number, the one with
    the latest event comes first, where times of users are comparable; then the one whose users have fewer other items.
    So the order does not depend on ids or on the order of the log.

    When to use: the baseline that every other model must beat, and the fallback for users without a history.

    Cost: fit O(E) time and 64 bytes an event; a query O(N) to copy; the model 4 N bytes.
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
        """Eight columns of 8 bytes over the events, and the counts."""
        return 64 * shape.events + 12 * shape.items + 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "PopularityModel":
        """Count positive events. An item without any gets 0."""
        run.require_memory(self.fit_bytes(data.shape), f"Popularity over {len(data.events)} events")
        if self.half_life:
            counts = self._count_with_decay(data)
        else:
            # The matrix has each pair once with the sum of its weights.
            X = data.interactions
            weights = X.data if self.count == "weights" else None
            counts = np.bincount(X.indices, weights=weights, minlength=len(data.items))
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
    X, positive = data.interactions, data.is_positive
    latest = np.zeros(len(counts), np.int64)
    if data.time_kind.is_comparable:
        np.maximum.at(latest, data.events.item[positive], data.events.time[positive])
    degrees = np.diff(X.indptr)
    # Each user has one vote, in equal shares. Rounded, because the sum depends on the order of the users.
    votes = np.bincount(X.indices, np.repeat(1 / np.maximum(degrees, 1), degrees), len(counts)).round(9)
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

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "PopularityModel":  # noqa: ARG002 - counted in one pass
        """The model of a fit on ``data``. O(E)."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:  # noqa: ARG002 - the same for all users
        """The reason is "popularity"; no item of the history contributes."""
        return [Explanation("popularity", np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(items)

"""Popularity: the items that most people chose, lately.

The decay by half-life is the exponential forgetting of Ding and Li, "Time Weight Collaborative Filtering",
CIKM 2005.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["Popularity", "PopularityModel"]

_DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class Popularity:
    """Count who chose each item; a choice loses half its say every ``half_life`` days.

    Answers anybody, an empty history too: it is the fallback of all other models.
    Cost: fit O(E) time and 40 bytes an event; a query O(N) to copy; the model 4 N bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "times"})

    half_life: float = setting(
        0.0,
        at_least=0,
        search="0,7,30,90,365",
        doc=(
            "Days after which an event counts half, seen from the last event of the log; 0 = no decay. It needs times "
            "in seconds: where time is only an order, leave it at 0."
        ),
    )
    count: str = setting(
        "users",
        one_of=("users", "weights"),
        search="users,weights",
        doc='"users" counts each user once an item (their latest event); "weights" adds up all event weights.',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """A few columns over the events, and the counts."""
        return 64 * shape.events + 12 * shape.items + 2**20

    def fit(self, data: Dataset, run: Run = Run()) -> "PopularityModel":
        """Count positive events. An item without any gets 0."""
        run.require_memory(self.fit_bytes(data.shape), f"Popularity over {len(data.events)} events")
        counts = self._decayed(data) if self.half_life else self._counted(data)
        return PopularityModel(self, counts.astype(np.float32))

    def _counted(self, data: Dataset) -> np.ndarray:
        """From the matrix that the other models share: it has each pair once, with the sum of its weights."""
        X = data.interactions
        return np.bincount(X.indices, weights=X.data if self.count == "weights" else None, minlength=len(data.items))

    def _decayed(self, data: Dataset) -> np.ndarray:
        events, n_items = data.events, len(data.items)
        positive = np.flatnonzero(events.weight > 0)
        item = events.item[positive]
        time = events.time[positive]
        say = np.exp2((time - time.max(initial=np.iinfo(time.dtype).min)) / (self.half_life * _DAY))
        if self.count == "weights":
            say *= events.weight[positive]
        else:
            # Events are in time order within a user, so the last of a pair is the one that has decayed least.
            pair = events.user[positive].astype(np.int64) * n_items + item
            _, from_the_end = np.unique(pair[::-1], return_index=True)
            latest = len(pair) - 1 - from_the_end
            item, say = item[latest], say[latest]
        return np.bincount(item, weights=say, minlength=n_items)


@dataclasses.dataclass(frozen=True, eq=False)
class PopularityModel:
    """Counted popularity.

    Attributes:
        settings: what it was fitted with.
        counts: (N,) float32, decayed number of users or sum of weights.
    """

    settings: Popularity
    counts: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.counts)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """The counts, the same for every asker: (B, N), or (B, K) for ``items`` (K,) or (B, K)."""
        chosen = self.counts if items is None else self.counts[items]
        return np.array(np.broadcast_to(chosen, (len(queries), chosen.shape[-1])))

    def explain(self, queries: Queries, item: int) -> Explanation:  # noqa: ARG002 - nothing of the asker matters
        """The reason is "popularity"; no item of the history speaks for it."""
        return Explanation("popularity", np.zeros(0, np.int32), np.zeros(0, np.float32))

"""Scorers that stand around the fitted one, and the conditions under which one query is answered."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator

import numba
import numpy as np

from leanrec.protocols import Scorer
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["Fixed", "Padded", "one_query"]

_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def one_query() -> Iterator[None]:
    """Conditions for one query among concurrent ones: one kernel thread, for there is one row to work on.

    Numba's portable threading layer ends the process when two threads enter it at once; with that layer, and
    until a first kernel has shown which layer there is, queries take turns.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with contextlib.nullcontext() if _concurrent() else _ONE_AT_A_TIME:
            yield
    finally:
        numba.set_num_threads(before)


def _concurrent() -> bool:
    try:
        layer: str = numba.threading_layer()  # type: ignore[attr-defined]
    except ValueError:  # no kernel has run yet
        return False
    return layer != "workqueue"


@dataclasses.dataclass(frozen=True)
class Padded:
    """A fallback over the items it was fitted on, that puts newer items last."""

    scorer: Scorer
    n_items: int

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Those of the scorer, and lower ones for newer items."""
        known = self.scorer.n_items
        if known < self.n_items:
            narrow = Queries(queries.users, queries.history[:, :known])
            scores = self.scorer.score(narrow)
            lowest = scores.min(axis=1, keepdims=True, initial=0) - 1
            scores = np.concatenate([scores, np.repeat(lowest, self.n_items - known, axis=1)], axis=1)
        else:
            scores = self.scorer.score(queries)
        return (
            scores
            if items is None
            else np.take_along_axis(scores, np.broadcast_to(items, (len(queries), np.shape(items)[-1])), 1)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Fixed:
    """Scores that are there already."""

    scores: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.scores.shape[1])

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:  # noqa: ARG002
        """The scores, whoever asks."""
        return self.scores if items is None else self.scores[:, items]

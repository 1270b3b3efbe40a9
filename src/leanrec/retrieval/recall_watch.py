"""Recall watch: some of the lists of an approximate index are compared with exact ones, after their answers."""

import functools
import random
from collections.abc import Callable

from leanrec.pacing import SpareTimeWorker

__all__ = ["SHARE", "RecallWatch"]

SHARE = 0.001  # of the lists
_WORKER = SpareTimeWorker("leanrec-recall")  # one in a process, however many versions of a model come and go


class RecallWatch:
    """Measures the recall of a share of the lists in spare time.

    Attributes:
        share: share of the lists to compare, 0 to 1.
        n_compared: number of lists that were compared.
        n_failed: number of lists that could not be.
        n_dropped: number of lists for which there was no time.
        total: sum of the recalls of the compared lists.
    """

    def __init__(self, share: float = SHARE) -> None:
        self.share = share
        self.n_compared = self.n_failed = self.n_dropped = 0
        self.total = 0.0

    def is_due(self) -> bool:
        """Whether the next list is one of the share. Costs a tenth of a microsecond."""
        return random.random() < self.share  # noqa: S311 - not for secrets

    def offer(self, measure: Callable[[], float]) -> None:
        """Measure the recall of a list later, or drop it. Returns at once."""
        if not _WORKER.offer(functools.partial(self._compare, measure)):
            self.n_dropped += 1

    def _compare(self, measure: Callable[[], float]) -> None:
        try:
            self.total += measure()
        except Exception:  # noqa: BLE001 - whatever it is, no client waits for the list
            self.n_failed += 1
            return
        self.n_compared += 1

"""Shadow lists: a version makes lists after the answers; they are not served, only compared with what was."""

import functools
import random
import time
from collections.abc import Mapping
from typing import Any

from leanrec.data.vocabulary import Id
from leanrec.pacing import SpareTimeWorker
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations

__all__ = ["ShadowLists"]

_SMOOTHING = 0.01


class ShadowLists:
    """Makes a share of the lists once more by another version, in a thread of its own that works a tenth of the time.

    A list that finds the queue full is dropped, so a server under load makes fewer of them and answers no later.

    Attributes:
        n_compared: number of lists that were compared.
        n_failed: number of lists that the version could not make.
        n_dropped: number of lists that found the queue full.
        overlap: mean share of items that are in both lists.
        seconds: mean CPU seconds of a list by the current version and by this one; of the last hundreds of lists.
    """

    def __init__(self, pipeline: Pipeline, share: float) -> None:
        """Prepare. The thread starts with the first list, in the process that makes it.

        Args:
            pipeline: the version.
            share: share of the lists to make once more.
        """
        self._pipeline, self.share = pipeline, share
        self._worker = SpareTimeWorker("leanrec-shadow")
        self.n_compared = self.n_failed = self.n_dropped = 0
        self._overlaps = 0.0
        self.seconds = (0.0, 0.0)

    @property
    def overlap(self) -> float | None:
        """Mean share of items that are in both lists; None before the first one."""
        return self._overlaps / self.n_compared if self.n_compared else None

    def offer(self, user: Id | None, options: Mapping[str, Any], made: Recommendations, seconds: float) -> None:
        """Take a list that was made, and make it once more later, or drop it. Returns at once.

        Args:
            user: the user of the list.
            options: other arguments of ``Pipeline.recommend``.
            made: the list.
            seconds: CPU seconds that it took.
        """
        if random.random() >= self.share:  # noqa: S311
            return
        if not self._worker.offer(functools.partial(self._compare, user, options, made, seconds)):
            self.n_dropped += 1

    def describe(self) -> dict[str, Any]:
        """The comparison so far, for JSON."""
        current, candidate = self.seconds
        return {
            "compared": self.n_compared,
            "failed": self.n_failed,
            "dropped": self.n_dropped,
            "overlap": self.overlap,
            "current_ms": current * 1e3,
            "candidate_ms": candidate * 1e3,
        }

    def close(self) -> None:
        """Stop the thread, and drop the lists that wait."""
        self.share = 0.0
        self._worker.close()

    def _compare(self, user: Id | None, options: Mapping[str, Any], made: Recommendations, seconds: float) -> None:
        start = time.thread_time()
        try:
            other = self._pipeline.recommend(user, **{**options, "trace": False})
        except Exception:  # noqa: BLE001 - whatever it is, no client waits for the list
            self.n_failed += 1
            return
        weight = max(_SMOOTHING, 1 / (self.n_compared + 1))
        pair = zip(self.seconds, (seconds, time.thread_time() - start), strict=True)
        mine, its = (mean + weight * (value - mean) for mean, value in pair)
        self.seconds = (mine, its)
        listed, others = {item.id for item in made.items}, {item.id for item in other.items}
        self._overlaps += len(listed & others) / max(len(listed), len(others), 1)
        self.n_compared += 1

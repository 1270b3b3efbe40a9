"""Quality factor: how much work a server puts into a list, so that a percentile of its latency stays at a target.

Law: twitter/the-algorithm, product-mixer, LinearLatencyQualityFactor (2023).
"""

import dataclasses
import math
import time
from collections.abc import Callable

from leanrec.pipeline.responses import RUNGS
from leanrec.settings import check_at_least, check_between, check_positive

__all__ = ["LoadLimits", "QualityFactor"]

# The quality factor below which the rung of this place is left for the next one, and how far above it is taken again.
_THRESHOLDS = (0.75, 0.5, 0.25)
_HYSTERESIS = 0.1
_DWELL_SECONDS = 0.5
_STEP = 0.001
_TARGET_SECONDS, _TARGET_LISTS = 0.25, 4  # where no target is set
_RECOVERY_SECONDS = 4.0


@dataclasses.dataclass(frozen=True)
class LoadLimits:
    """What a server under load keeps.

    Attributes:
        latency_target_ms: milliseconds from the arrival of a request for a list to its answer; lists get simpler where they
            would take longer. None = 250, or four times the CPU time of one list if that is more.
        percentile: percentage of the requests that is to be answered in this time.
        max_in_flight: largest number of requests for lists that are being answered or wait for it; others get status 503.
    """

    latency_target_ms: float | None = None
    percentile: float = 99.0
    max_in_flight: int = 256

    def __post_init__(self) -> None:
        if self.latency_target_ms is not None:
            check_positive("latency_target_ms", self.latency_target_ms)
        check_between("percentile", self.percentile, 1, 99.99)
        check_at_least("max_in_flight", self.max_in_flight, 1)


class QualityFactor:
    """A number from 0 to 1 that falls while lists are too slow, and the rung of the ladder that follows from it.

    With p the percentile, a list within the target adds d to the factor, and one that is slower, or refused for want of a
    place, takes away d · p / (100 - p): the factor rests where p % of the lists are in time. It knows no baseline of
    latency, so nothing that lasts, such as a load a little above what can be done, or requests that all time out, is ever
    taken for normal.

    d is 0.001, or more where fewer than 250 lists a second are answered: then a list in time adds the seconds since the
    last one, divided by four, so that the factor recovers within four seconds at any load. After four seconds without any
    list it is 1.

    A rung lasts for half a second at least, and a better one is taken only when the factor is 0.1 above the threshold below
    which it was left. A list that is late, but had arrived before the last change of the rung, has waited behind lists of the
    rung before, and takes nothing away. O(1). Of one thread.

    Attributes:
        limits: target and percentile.
        value: the factor.
    """

    def __init__(self, limits: LoadLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.value = limits, 1.0
        self._target = _TARGET_SECONDS if limits.latency_target_ms is None else limits.latency_target_ms / 1e3
        self._fall = _STEP * limits.percentile / (100 - limits.percentile)
        self._clock = clock
        self._last, self._changed, self._level = -math.inf, -math.inf, 0

    def note_cost(self, seconds: float) -> None:
        """Take the CPU time of one full list, which does not grow with the load. A target that was not set follows it."""
        if self.limits.latency_target_ms is None:
            self._target = max(_TARGET_SECONDS, _TARGET_LISTS * seconds)

    def add_answer(self, seconds: float, *, is_list: bool = True) -> None:
        """Take the latency of a list; or of an error, which counts only if it came too late: a quick one tells nothing."""
        now = self._clock()
        if seconds > self._target:
            if now - seconds >= self._changed:
                self._lower()
            self._last = now
        elif is_list:
            if self.value < 1:
                self.value = min(1.0, self.value + max(_STEP, (now - self._last) / _RECOVERY_SECONDS))
            self._last = now

    def add_refusal(self) -> None:
        """Take a list that was refused for want of a place."""
        self._lower()
        self._last = self._clock()

    def _lower(self) -> None:
        self.value = max(0.0, self.value - self._fall)

    def choose_rung(self) -> str:
        """The best rung that a list may have now."""
        if self.value >= _THRESHOLDS[0] and not self._level:
            return RUNGS[0]
        now = self._clock()
        if now - self._last > _RECOVERY_SECONDS:
            self.value, self._level = 1.0, 0
        elif now - self._changed >= _DWELL_SECONDS:
            change = 0
            if self._level < len(_THRESHOLDS) and self.value < _THRESHOLDS[self._level]:
                change = 1
            elif self._level and self.value >= _THRESHOLDS[self._level - 1] + _HYSTERESIS:
                change = -1
            if change:
                self._level += change
                self._changed = now
        return RUNGS[self._level]

"""Drift: whether people respond to fewer of the lists of a version than they did at first.

Page, "Continuous inspection schemes", Biometrika 41, 1954; Hinkley, "Inference about the change-point from cumulative sum
tests", Biometrika 58, 1971.
"""

import array
import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from leanrec.events.event_reader import EventReader

__all__ = ["MIN_LISTS", "ListResponses", "find_fall", "page_hinkley", "read_responses"]

MIN_LISTS = 2_000  # from which the first response rate is known well enough
_MIN_LOG = 1.0  # least allowance, in units of the exponent of the false alarms


@dataclasses.dataclass(frozen=True, eq=False)
class ListResponses:
    """Lists of a version in the order in which they were served.

    Attributes:
        responded: (L,) whether a list got a positive event.
        n_waiting: number of lists that are too young to be judged, and are not among them.
    """

    responded: NDArray[np.bool_]
    n_waiting: int

    @property
    def rate(self) -> float:
        """Share of the lists that got a positive event; NaN without lists."""
        return float(self.responded.mean()) if len(self.responded) else float("nan")


def read_responses(log: EventReader, version: str, patience: float = 1_800.0) -> ListResponses:
    """Read from a log which lists of a version got a positive event. O(lists and events).

    Args:
        log: the event log of the server.
        version: id of the version.
        patience: seconds that a list is given for its events. Younger ones than that, by the newest list, are left out: they would
            look like a fall.
    """
    answered = {each.request for each in log.user_events() if each.request is not None and each.weight > 0}
    times, answers = array.array("d"), bytearray()  # nine bytes for each list
    for each in log.served_lists():
        if each.version == version:
            times.append(each.time)
            answers.append(each.request in answered)
    is_old = np.frombuffer(times) <= max(times, default=0.0) - patience
    responded = np.frombuffer(answers, np.bool_)[is_old]
    return ListResponses(responded, len(times) - len(responded))


def find_fall(responded: NDArray[np.bool_], fall: float = 0.2, false_alarms: float = 1e-6) -> int | None:
    """The list at which a lasting fall of the response rate is noticed, or None. O(L).

    The allowance and the threshold of ``page_hinkley`` follow from the rate of the first 2,000 lists: half of the fall is allowed for, and
    a list of a stream without drift raises an alarm with about the given probability. In simulations (``python benchmarks/drift.py``) there are
    0.6 alarms in a million lists, and a fall from 5 to 4 percent after 50,000 lists is noticed after 4,900 more in the median, and
    10,600 in nine of ten streams. The smaller the rate, the later: of falls from 2 percent, more than one in ten is missed, because the mean
    so far follows them.

    Args:
        responded: (L,) bool, in the order of serving.
        fall: relative fall of the rate that must be noticed.
        false_alarms: probability of an alarm at a list while nothing changes.
    """
    rate = float(responded[:MIN_LISTS].mean()) if len(responded) > MIN_LISTS else 0.0
    if not 0 < rate < 1:
        return None
    variance, allowance = rate * (1 - rate), fall * rate / 2
    # Mean number of lists to an alarm, of a random walk with this drift (Siegmund, "Sequential Analysis", 1985, chapter 2).
    threshold = variance / (2 * allowance) * max(math.log(2 * allowance**2 / variance / false_alarms), _MIN_LOG)
    return page_hinkley(responded.astype(np.float64), allowance, threshold, MIN_LISTS)


def page_hinkley(values: NDArray[np.float64], allowance: float, threshold: float, min_values: int = 30) -> int | None:
    """Position of the value at which a fall of the mean is noticed, or None. O(n).

    The sum of the deviations from the mean so far, plus the allowance, rises while nothing changes. A fall is noticed when it is
    more than the threshold below its highest point.

    Args:
        values: (n,) in order.
        allowance: deviation of the mean that is no drift.
        threshold: of the alarm.
        min_values: no alarm before so many values.
    """
    numbers = np.arange(1, len(values) + 1)
    total = np.cumsum(values - np.cumsum(values) / numbers + allowance)
    is_alarm = (np.maximum.accumulate(total) - total > threshold) & (numbers >= min_values)
    return int(is_alarm.argmax()) if is_alarm.any() else None

"""What the times of a log mean: timestamps, a scale shared by all users, an order within each user, or nothing.

The kind is decided once, where events become a ``Dataset``, and saved with it as ``Dataset.time_kind``. Events that are
added later, such as those recorded by a service, have the time of a clock. They do not change the kind: where the log has
only an order, or nothing, they follow the events that it has, in their own order.
"""

import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.types import Events, Int64Array

__all__ = ["TimeKind", "infer_time_kind", "is_sorted"]

_EARLIEST_TIMESTAMP = 10**8  # seconds, in 1973; an order within a user does not get there
_BLOCK = 1_000_000


class TimeKind(enum.StrEnum):
    """Meaning of ``Events.time``.

    Attributes:
        TIMESTAMP: seconds since 1970, so times have dates and hours.
        COMPARABLE: numbers that are comparable between users but are not dates, such as days since the start of the log.
        ORDER: numbers that give the order within each user; times of two users are not comparable.
        NONE: the times of the log are equal. Later events have later times, so that they follow it.
        UNKNOWN: not inferred yet. The times of a Dataset are never of this kind.
    """

    TIMESTAMP = "timestamp"
    COMPARABLE = "comparable"
    ORDER = "order"
    NONE = "none"
    UNKNOWN = "unknown"

    @property
    def is_comparable(self) -> bool:
        """Whether times of different users can be compared, as a split by time needs."""
        return self in {TimeKind.TIMESTAMP, TimeKind.COMPARABLE}

    @property
    def has_dates(self) -> bool:
        """Whether times can be converted to dates."""
        return self is TimeKind.TIMESTAMP


def infer_time_kind(events: Events, bounds: tuple[int, int] | None = None) -> TimeKind:
    """Infer the kind from the values of events.

    Small whole numbers that mostly increase by one within each user, and start at the lowest value for most users, are an
    order. ``bounds`` are the lowest and the highest time, where they are known. Cost: O(E) time and one block of memory; where times are no timestamps and the events are not sorted by user and
    time, O(E log E).
    """
    time, user = events.time, events.user
    if not len(time):
        return TimeKind.NONE
    lowest, highest = bounds or (int(time.min()), int(time.max()))
    if lowest == highest:
        return TimeKind.NONE
    if highest >= _EARLIEST_TIMESTAMP:
        return TimeKind.TIMESTAMP if lowest >= _EARLIEST_TIMESTAMP else TimeKind.COMPARABLE
    if not is_sorted(user, time):
        order = np.lexsort((time, user))
        time, user = time[order], user[order]
    # First events of a user, those of them at the start of the scale; pairs of successive events, those one apart.
    firsts = 1
    low_firsts = int(time[0] <= lowest + 1)
    pairs = steps = 0
    for start in range(0, len(time) - 1, _BLOCK):
        stop = min(start + _BLOCK, len(time) - 1)
        same = np.diff(user[start : stop + 1]) == 0
        pairs += int(np.count_nonzero(same))
        steps += int(np.count_nonzero(np.diff(time[start : stop + 1])[same] == 1))
        firsts += int(np.count_nonzero(~same))
        low_firsts += int(np.count_nonzero(time[start + 1 : stop + 1][~same] <= lowest + 1))
    is_order = bool(pairs) and 2 * steps >= pairs and 2 * low_firsts >= firsts
    return TimeKind.ORDER if is_order else TimeKind.COMPARABLE


def is_sorted(user: NDArray[Any], time: Int64Array) -> bool:
    """Whether events are in order of user, then time. In blocks, so that it takes little memory."""
    for start in range(0, len(time) - 1, _BLOCK):
        stop = min(start + _BLOCK, len(time) - 1)
        step = user[start + 1 : stop + 1] - user[start:stop]
        if (step < 0).any() or ((step == 0) & (np.diff(time[start : stop + 1]) < 0)).any():
            return False
    return True

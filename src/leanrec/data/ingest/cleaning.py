"""Cleaning rules: settings, and the rules that need all events of a user.

Every rule is explicit, and every row that it rejects is counted. The rules for single rows (missing ids, impossible times,
ratings outside their range) are part of the SQL in ``staging``. The rules here work on blocks of whole users with events in
time order, so that a log of any size fits the memory.
"""

import dataclasses
import datetime
import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import SettingError
from leanrec.settings import check_at_least, check_one_of, check_positive
from leanrec.types import Int64Array

__all__ = ["CleaningRules", "count_busiest_day", "find_duplicates", "robust_log_limit"]

_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class CleaningRules:
    """Settings of the cleaning. The defaults reject only what is certainly wrong.

    Attributes:
        duplicates: "drop" rejects an event that equals an earlier one in user, item, event type, time, weight and
            rating. Where the log has neither times nor ratings a repeated row is a repeated event, and is kept.
        min_user: minimum number of events of a user (k-core, repeated until it holds together with ``min_item``).
        min_item: minimum number of events of an item.
        since: earliest time that is kept: seconds since 1970 or an ISO date ("2019-05-01"), UTC.
        until: first time that is not kept.
        rating_range: lowest and highest rating allowed. None: the narrowest common scale (1 to 5, 0 to 10,
            …) that contains at least 99.9 % of the ratings.
        no_rating: ratings that mean "not rated": the event stays, without a rating. None: found from the values, which
            is told in the report (-1 beside 1 to 10, a frequent 0 below 1 to 10, 99 above). Empty: none.
        bot_sigmas: a user is a bot if the logarithm of the number of events is more than this many robust standard
            deviations (1.4826 times the median absolute deviation, at least 1) above the median of all users. At 8
            that is never fewer than 2,980 times the median. None: no such rule.
        max_bot_share: where bots by ``bot_sigmas`` have more than this share of all events they are kept, with a warning:
            the rule may be wrong about them. 1: they are rejected in any case.
        max_per_day: a user with more events than this on one day (UTC) is a bot. None: no such rule.
        outlier_sigmas: the rule of ``bot_sigmas`` for the weight column (plays, hours), among the events of one event
            type.
    """

    duplicates: Literal["drop", "keep"] = "drop"
    min_user: int = 1
    min_item: int = 1
    since: str | float | None = None
    until: str | float | None = None
    rating_range: tuple[float, float] | None = None
    no_rating: float | tuple[float, ...] | None = None
    bot_sigmas: float | None = 8.0
    max_bot_share: float = 0.05
    max_per_day: int | None = None
    outlier_sigmas: float | None = 8.0

    def __post_init__(self) -> None:
        check_one_of("duplicates", self.duplicates, ("drop", "keep"))
        check_at_least("min_user", self.min_user, 1)
        check_at_least("min_item", self.min_item, 1)
        if not 0 <= self.max_bot_share <= 1:
            raise SettingError(f"max_bot_share must be a share from 0 to 1. Got {self.max_bot_share!r}.")
        for name in ("bot_sigmas", "max_per_day", "outlier_sigmas"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        scale = self.rating_range
        if scale is not None and (len(scale) != 2 or not all(map(math.isfinite, scale)) or scale[0] >= scale[1]):
            raise SettingError(f"rating_range must be a lower and a higher number. Got {scale!r}.")
        if not all(isinstance(each, int | float) and math.isfinite(each) for each in self.list_no_ratings() or ()):
            raise SettingError(f"no_rating must be a number, or several. Got {self.no_rating!r}.")
        since, until = self.time_window()
        if since is not None and until is not None and since >= until:
            raise SettingError(f"since must be before until. Got {self.since!r} and {self.until!r}.")

    def list_no_ratings(self) -> tuple[float, ...] | None:
        """Return ``no_rating`` as a tuple; None = found from the values."""
        if self.no_rating is None:
            return None
        return tuple(self.no_rating) if isinstance(self.no_rating, tuple | list) else (float(self.no_rating),)

    def time_window(self) -> tuple[float | None, float | None]:
        """Return ``since`` and ``until`` in seconds since 1970."""
        return _parse_time("since", self.since), _parse_time("until", self.until)


def _parse_time(name: str, value: str | float | None) -> float | None:
    if value is None or isinstance(value, int | float):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise SettingError(
            f"{name} must be an ISO date such as 2019-05-01, or seconds since 1970. Got {value!r}."
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def find_duplicates(keys: list[NDArray[Any]], tied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(E,) whether a row equals an earlier row in all of ``keys``.

    Args:
        keys: columns; the rows are sorted by the first (user) or the first two (user and time), ties in log order.
        tied: (E - 1,) whether row j + 1 equals row j in these: only such rows are compared.

    Cost: O(T log T) time for the T rows that are tied with another one.
    """
    repeated = np.zeros(len(keys[0]), bool)
    member = np.zeros(len(keys[0]), bool)
    member[1:] |= tied
    member[:-1] |= tied
    rows = np.flatnonzero(member)
    if not len(rows):
        return repeated
    # NaN (no rating) must equal itself.
    columns = [np.nan_to_num(key[rows], nan=-np.inf) if key.dtype.kind == "f" else key[rows] for key in keys]
    order = np.lexsort(columns[::-1])  # stable, so the earliest of equal rows comes first
    same = np.ones(len(rows) - 1, bool)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    repeated[rows[order[1:][same]]] = True
    return repeated


def count_busiest_day(user: Int64Array, time: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the users (sorted, distinct) and the number of events on the busiest UTC day of each; rows are sorted by (user, time)."""
    day = time // _DAY
    starts = np.flatnonzero(np.concatenate([[True], (user[1:] != user[:-1]) | (day[1:] != day[:-1])]))
    lengths = np.diff(np.append(starts, len(user)))
    day_user = user[starts]
    first = np.flatnonzero(np.concatenate([[True], day_user[1:] != day_user[:-1]]))
    return day_user[first], np.maximum.reduceat(lengths, first)


def robust_log_limit(values: NDArray[Any], sigmas: float, counts: NDArray[Any] | None = None) -> float:
    """Return the highest value that is not an outlier: exp(median + sigmas · max(1, 1.4826 · MAD)) of the logarithms.

    Args:
        values: (n,) positive numbers.
        sigmas: robust standard deviations allowed above the median.
        counts: number of occurrences of each value; None = one.
    """
    if not len(values):
        return math.inf
    weights = np.ones(len(values)) if counts is None else np.asarray(counts, np.float64)
    logs = np.log(np.asarray(values, np.float64))
    median = _weighted_median(logs, weights)
    spread = max(1.0, 1.4826 * _weighted_median(np.abs(logs - median), weights))
    return float(np.exp(min(median + sigmas * spread, 700.0)))


def _weighted_median(values: NDArray[Any], weights: NDArray[Any]) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2)]])

"""Moments: time of day and weekday on their circles, and how recent."""

import dataclasses

import numpy as np

from leanrec.features.base import Column, as_seconds, csr
from leanrec.run import Run
from leanrec.settings import check_between, check_positive
from leanrec.types import CSR

__all__ = ["Recency", "RecencyScale", "TimeOfDay", "TimeOfDayScale"]

_DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class TimeOfDay:
    """Sine and cosine of the time of day and of the day of the week: 23:59 is next to 0:00, Sunday to Monday.

    Rows have unit length; a missing time gives zeros. Cost O(n).

    Attributes:
        utc_offset: hours that local time is ahead of UTC.
    """

    utc_offset: float = 0.0

    def __post_init__(self) -> None:
        check_between("utc_offset", self.utc_offset, -24, 24)

    def fit(self, column: Column, run: Run = Run()) -> "TimeOfDayScale":  # noqa: ARG002 - nothing to learn
        """There is nothing to learn."""
        return TimeOfDayScale(self)


@dataclasses.dataclass(frozen=True)
class TimeOfDayScale:
    """A TimeOfDay, ready to use.

    Attributes:
        settings: what it was made with.
    """

    settings: TimeOfDay

    @property
    def names(self) -> tuple[str, ...]:
        """Two for the day, two for the week."""
        return ("time of day, sine", "time of day, cosine", "weekday, sine", "weekday, cosine")

    def transform(self, column: Column) -> CSR:
        """(n, 4)."""
        days = (as_seconds(column) + 3600 * self.settings.utc_offset) / _DAY
        # 1 January 1970 was a Thursday: four days before a Monday.
        angles = 2 * np.pi * np.array([days, np.floor(days - 4) / 7])
        waves = np.stack([np.sin(angles[0]), np.cos(angles[0]), np.sin(angles[1]), np.cos(angles[1])], axis=1)
        return csr(np.nan_to_num(waves, nan=0.0) / np.sqrt(2))


@dataclasses.dataclass(frozen=True)
class Recency:
    """1 for the latest time of the training data, half with every ``half_life`` days before, 0 for missing.

    Attributes:
        half_life: days; 0 = half the age of the median row.
    """

    half_life: float = 0.0

    def __post_init__(self) -> None:
        check_between("half_life", self.half_life, 0, 1e6)

    def fit(self, column: Column, run: Run = Run()) -> "RecencyScale":  # noqa: ARG002 - nothing random
        """Learn the latest time, and the half-life if none is set."""
        times = as_seconds(column)
        times = times[np.isfinite(times)]
        latest = float(times.max()) if len(times) else 0.0
        usual = float(latest - np.median(times)) / _DAY / 2 if len(times) else 0.0
        return RecencyScale(self, latest, self.half_life or usual or 1.0)


@dataclasses.dataclass(frozen=True)
class RecencyScale:
    """A fitted Recency.

    Attributes:
        settings: what it was fitted with.
        latest: seconds since 1970 that give 1; anything later gives 1 too.
        half_life: days.
    """

    settings: Recency
    latest: float
    half_life: float

    def __post_init__(self) -> None:
        check_positive("half_life", self.half_life)

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return ("recent",)

    def transform(self, column: Column) -> CSR:
        """(n, 1)."""
        age = np.maximum(self.latest - as_seconds(column), 0) / _DAY
        return csr(np.nan_to_num(0.5 ** (age / self.half_life), nan=0.0).reshape(-1, 1))

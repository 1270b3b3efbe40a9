"""Temporal features: cyclical encoding of time of day and weekday, and exponential decay of age."""

import dataclasses

import numpy as np

from leanrec.features.base import Column, to_csr, to_seconds
from leanrec.run import Run
from leanrec.settings import check_positive, check_settings, setting
from leanrec.types import CSR

__all__ = ["FittedRecencyDecay", "FittedTimeOfDay", "RecencyDecay", "TimeOfDay"]

_DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class TimeOfDay:
    """Sine and cosine of the time of day and of the day of the week: 23:59 is next to 0:00, Sunday to Monday.

    Rows have unit length; a missing time gives zeros. Cost O(n).
    """

    utc_offset: float = setting(0.0, between=(-24, 24), doc="Hours that local time is ahead of UTC.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedTimeOfDay":  # noqa: ARG002 - nothing to learn
        """Return the transformer; it learns nothing."""
        return FittedTimeOfDay(self)


@dataclasses.dataclass(frozen=True)
class FittedTimeOfDay:
    """A fitted TimeOfDay.

    Attributes:
        settings: settings of the fit.
    """

    settings: TimeOfDay

    @property
    def names(self) -> tuple[str, ...]:
        """Sine and cosine of the time of day, and of the weekday."""
        return ("time of day, sine", "time of day, cosine", "weekday, sine", "weekday, cosine")

    def transform(self, column: Column) -> CSR:
        """(n, 4)."""
        days = (to_seconds(column) + 3600 * self.settings.utc_offset) / _DAY
        # 1 January 1970 was a Thursday: four days before a Monday.
        angles = 2 * np.pi * np.array([days, np.floor(days - 4) / 7])
        waves = np.stack([np.sin(angles[0]), np.cos(angles[0]), np.sin(angles[1]), np.cos(angles[1])], axis=1)
        return to_csr(np.nan_to_num(waves, nan=0.0) / np.sqrt(2))


@dataclasses.dataclass(frozen=True)
class RecencyDecay:
    """Exponential decay: 1 at the latest training time, halved every ``half_life`` days before it; 0 for missing."""

    half_life: float = setting(0.0, between=(0, 1e6), doc="Days; 0 = half the age of the median row.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedRecencyDecay":  # noqa: ARG002 - nothing random
        """Learn the latest time, and the half-life if none is set."""
        times = to_seconds(column)
        times = times[np.isfinite(times)]
        latest = float(times.max()) if len(times) else 0.0
        default = float(latest - np.median(times)) / _DAY / 2 if len(times) else 0.0
        return FittedRecencyDecay(self, latest, self.half_life or default or 1.0)


@dataclasses.dataclass(frozen=True)
class FittedRecencyDecay:
    """A fitted RecencyDecay.

    Attributes:
        settings: settings of the fit.
        latest: latest training time, in seconds since 1970; this and later times map to 1.
        half_life: days.
    """

    settings: RecencyDecay
    latest: float
    half_life: float

    def __post_init__(self) -> None:
        check_positive("half_life", self.half_life)

    @property
    def names(self) -> tuple[str, ...]:
        """``recent``."""
        return ("recent",)

    def transform(self, column: Column) -> CSR:
        """(n, 1)."""
        age = np.maximum(self.latest - to_seconds(column), 0) / _DAY
        return to_csr(np.nan_to_num(0.5 ** (age / self.half_life), nan=0.0).reshape(-1, 1))

"""Numeric features: standard scaling, and soft assignment to quantile bins."""

import dataclasses
from typing import Annotated

import numpy as np
import scipy.sparse as sp

from leanrec.features.base import Column, Float64Array, to_csr, to_numbers
from leanrec.field_checks import ArrayShape
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, empty_csr

__all__ = ["FittedQuantileBins", "FittedStandardScaler", "QuantileBins", "StandardScaler"]


@dataclasses.dataclass(frozen=True)
class StandardScaler:
    """(x − mean) / standard deviation, clipped at ± ``limit``, and a second column that is 1 where x is missing.

    The mean and deviation are of the values between the first and the last percentile, so that one outlier
    does not compress all other values. Cost O(n log n).
    """

    limit: float = setting(3.0, above=0, doc="Largest absolute value of the result.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedStandardScaler":  # noqa: ARG002 - nothing random
        """Learn center and scale: 0 and 1 for a column without numbers."""
        numbers = to_numbers(column)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return FittedStandardScaler(self, 0.0, 1.0)
        core = np.clip(numbers, *np.percentile(numbers, (1, 99)))
        return FittedStandardScaler(self, float(core.mean()), float(core.std()) or 1.0)


@dataclasses.dataclass(frozen=True)
class FittedStandardScaler:
    """A fitted StandardScaler.

    Attributes:
        settings: settings of the fit.
        center: the value that maps to 0.
        scale: the value of one unit.
    """

    settings: StandardScaler
    center: float
    scale: float

    @property
    def names(self) -> tuple[str, ...]:
        """``value`` and ``missing``."""
        return ("value", "missing")

    def transform(self, column: Column) -> CSR:
        """(n, 2)."""
        numbers = to_numbers(column)
        missing = np.isnan(numbers)
        scaled = np.clip((numbers - self.center) / self.scale, -self.settings.limit, self.settings.limit)
        return to_csr(np.column_stack([np.where(missing, 0, scaled), missing]))


@dataclasses.dataclass(frozen=True)
class QuantileBins:
    """Soft assignment of a number to its two nearest knots, so that close numbers have similar rows.

    A standardized number cannot do this: the cosine of an average value, 0, with every other is 0.
    Knots are quantiles. Rows have unit length; a missing number gives zeros. Cost O(n log n).
    """

    n_bins: int = setting(8, between=(2, 1000), doc="Number of knots F; fewer where the quantiles coincide.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, column: Column, run: Run = Run()) -> "FittedQuantileBins":  # noqa: ARG002 - nothing random
        """Learn the knots."""
        numbers = to_numbers(column)
        numbers = numbers[np.isfinite(numbers)]
        return FittedQuantileBins(
            self, np.unique(np.quantile(numbers, np.linspace(0, 1, self.n_bins))) if len(numbers) else numbers
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FittedQuantileBins:
    """A fitted QuantileBins.

    Attributes:
        settings: settings of the fit.
        knots: (F,) float64, increasing.
    """

    settings: QuantileBins
    knots: Annotated[Float64Array, ArrayShape("F")]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each knot, such as ``about 1995``."""
        return tuple(f"about {knot:.6g}" for knot in self.knots.tolist())

    def transform(self, column: Column) -> CSR:
        """(n, F)."""
        numbers = to_numbers(column)
        rows = np.flatnonzero(np.isfinite(numbers))
        if not len(rows) or not len(self.knots):
            return empty_csr(len(numbers), len(self.knots))
        inside = np.clip(numbers[rows], self.knots[0], self.knots[-1])
        right = np.clip(np.searchsorted(self.knots, inside), min(1, len(self.knots) - 1), None)
        left = np.maximum(right - 1, 0)
        gap = self.knots[right] - self.knots[left]
        share = np.divide(inside - self.knots[left], gap, out=np.ones_like(gap), where=gap > 0)
        length = np.hypot(share, 1 - share)
        values, columns = (
            np.concatenate([share, 1 - share]) / np.tile(length, 2),
            np.concatenate([right, left]),
        )
        return to_csr(sp.coo_array((values, (np.tile(rows, 2), columns)), shape=(len(numbers), len(self.knots))))

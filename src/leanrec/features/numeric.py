"""Numbers: standardised, or spread over overlapping bins."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.features.base import Column, Float64Array, as_numbers, csr
from leanrec.run import Run
from leanrec.settings import check_between, check_positive
from leanrec.types import CSR, empty_csr

__all__ = ["BinKnots", "Bins", "Standard", "StandardScale"]


@dataclasses.dataclass(frozen=True)
class Standard:
    """(x − mean) / standard deviation, cut at ± ``limit``, and a second column that is 1 where x is missing.

    The mean and deviation are of the values between the first and the last percentile, so that one absurd
    value does not flatten all others. Cost O(n log n).

    Attributes:
        limit: largest value that comes out.
    """

    limit: float = 3.0

    def __post_init__(self) -> None:
        check_positive("limit", self.limit)

    def fit(self, column: Column, run: Run = Run()) -> "StandardScale":  # noqa: ARG002 - nothing random
        """Learn centre and scale; a column without numbers gets 0 and 1."""
        numbers = as_numbers(column)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return StandardScale(self, 0.0, 1.0)
        core = np.clip(numbers, *np.percentile(numbers, (1, 99)))
        return StandardScale(self, float(core.mean()), float(core.std()) or 1.0)


@dataclasses.dataclass(frozen=True)
class StandardScale:
    """A fitted Standard.

    Attributes:
        settings: what it was fitted with.
        centre: what gives 0.
        scale: the unit.
    """

    settings: Standard
    centre: float
    scale: float

    @property
    def names(self) -> tuple[str, ...]:
        """Value and missing."""
        return ("value", "missing")

    def transform(self, column: Column) -> CSR:
        """(n, 2)."""
        numbers = as_numbers(column)
        missing = np.isnan(numbers)
        scaled = np.clip((numbers - self.centre) / self.scale, -self.settings.limit, self.settings.limit)
        return csr(np.column_stack([np.where(missing, 0, scaled), missing]))


@dataclasses.dataclass(frozen=True)
class Bins:
    """A number spread over its two nearest knots, in proportion, so that near numbers have similar rows.

    A standardised number cannot do this: under a cosine, average is like nothing and far from everything.
    Knots are quantiles. Rows have unit length; a missing number gives zeros. Cost O(n log n).

    Attributes:
        n: number of knots F; fewer where the quantiles coincide.
    """

    n: int = 8

    def __post_init__(self) -> None:
        check_between("n", self.n, 2, 1000)

    def fit(self, column: Column, run: Run = Run()) -> "BinKnots":  # noqa: ARG002 - nothing random
        """Learn the knots."""
        numbers = as_numbers(column)
        numbers = numbers[np.isfinite(numbers)]
        return BinKnots(self, np.unique(np.quantile(numbers, np.linspace(0, 1, self.n))) if len(numbers) else numbers)


@dataclasses.dataclass(frozen=True, eq=False)
class BinKnots:
    """Fitted Bins.

    Attributes:
        settings: what they were fitted with.
        knots: (F,) float64, rising.
    """

    settings: Bins
    knots: Float64Array

    @property
    def names(self) -> tuple[str, ...]:
        """``about 1995``."""
        return tuple(f"about {knot:.6g}" for knot in self.knots.tolist())

    def transform(self, column: Column) -> CSR:
        """(n, F)."""
        numbers = as_numbers(column)
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
        return csr(sp.coo_array((values, (np.tile(rows, 2), columns)), shape=(len(numbers), len(self.knots))))

"""Meaning of rating values: the scale, values that stand for no rating, and amounts of money that are no ratings."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from leanrec.data.engine import SqlEngine, quote_identifier
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.meaning.column_names import split_words
from leanrec.data.ingest.sources import SourcePart
from leanrec.types import Int64Array

__all__ = ["RatingValues", "count_ratings", "describe_no_ratings", "find_no_rating", "holds_amounts"]

# Common rating scales; the narrowest that contains nearly all ratings decides which ratings are outside.
_SCALES = (
    (0, 1), (-1, 1), (1, 3), (1, 4), (0.5, 4), (1, 5), (0.5, 5), (0, 5), (1, 6), (1, 7), (1, 10), (0.5, 10), (0, 10), (-10, 10),
    (0, 100), (-100, 100),
)  # fmt: skip
_NEARLY_ALL = 0.999
_MAX_VALUES = 100_000  # more distinct values are a measurement, in which no value stands for nothing
_FREQUENT = 0.01
_MIN_ROWS = 3
_CODES = {9.0, 99.0, 999.0, 9999.0}
_HIGHEST = 10.0  # of a scale below which 0, and above which a larger number, may stand for no rating
_SAMPLE = 10_000
_WEAK_NAMES = {"value", "score", "overall"}


@dataclasses.dataclass(frozen=True, eq=False)
class RatingValues:
    """The distinct ratings of a log.

    Attributes:
        values: (n,) distinct finite ratings, ascending.
        counts: (n,) rows of each.
        missing: rows without a rating that are no bad rows.
    """

    values: NDArray[np.float64]
    counts: Int64Array
    missing: int = 0

    def drop(self, values: tuple[float, ...]) -> "RatingValues":
        """Return the ratings without these values."""
        kept = ~np.isin(self.values, values)
        return RatingValues(self.values[kept], self.counts[kept])

    def infer_scale(self, known: tuple[float, float] | None = None) -> tuple[float, float]:
        """Return the narrowest common scale that contains nearly all ratings, or the lowest and the highest rating.

        It contains ``known``, the scale of an earlier log.
        """
        low, high = known or (np.inf, -np.inf)
        if known and self.counts[(self.values >= low) & (self.values <= high)].sum() >= _NEARLY_ALL * self.counts.sum():
            return known
        fitting = [
            scale
            for scale in _SCALES
            if scale[0] <= low
            and high <= scale[1]
            and self.counts[(self.values >= scale[0]) & (self.values <= scale[1])].sum()
            >= _NEARLY_ALL * self.counts.sum()
        ]
        ends = (min(low, float(self.values[0])), max(high, float(self.values[-1])))
        low, high = min(fitting, key=lambda scale: scale[1] - scale[0], default=ends)
        return float(low), float(high)

    def find_outside(self, scale: tuple[float, float]) -> float | None:
        """Return a rating outside the scale, or None."""
        outside = self.values[(self.values < scale[0]) | (self.values > scale[1])]
        return float(outside[0]) if len(outside) else None

    def count(self, value: float) -> int:
        """Return the number of rows with this rating."""
        return int(self.counts[self.values == value].sum())


def count_ratings(engine: SqlEngine) -> RatingValues:
    """Count the distinct ratings ``v`` of ``staged``. Cost: one scan of the column."""
    counted = (
        "SELECT coalesce(v, 'nan'::FLOAT)::DOUBLE AS v, CASE WHEN v IS NULL THEN count_if(bad = 0) ELSE count(*) END AS n "
        "FROM staged WHERE coalesce(isfinite(v), true) GROUP BY staged.v ORDER BY v"
    )
    found = engine.fetch_arrays(counted)
    values, counts = np.asarray(found["v"], np.float64), np.asarray(found["n"], np.int64)
    rated = ~np.isnan(values)
    return RatingValues(values[rated], counts[rated], int(counts[~rated].sum()))


def find_no_rating(ratings: RatingValues, scale: tuple[float, float] | None = None) -> tuple[float, ...]:
    """Find the values that stand for "no rating": they stand apart from the other ratings, and are frequent.

    −1 beside 1 to 10, 0 below 1 to 10 where it is far more frequent than its neighbor, and 99 above −10 to 10 are such
    values. A value within ``scale``, where one is given, is a rating.
    """
    if not 2 <= len(ratings.values) <= _MAX_VALUES:
        return ()
    found: list[float] = []
    for find in (_find_above, _find_negative, _find_zero):
        rest = ratings.drop(tuple(found))
        if len(rest.values) > 1:
            found += find(rest)
    return tuple(sorted(value for value in found if scale is None or not scale[0] <= value <= scale[1]))


def _find_negative(ratings: RatingValues) -> list[float]:
    """Return one or two negative whole numbers beside ratings from 0 on: the scale has no negative side then."""
    negative, rest = ratings.values[ratings.values < 0], ratings.values[ratings.values >= 0]
    if not 1 <= len(negative) <= 2 or not len(rest) or rest[-1] < 3 or (negative != np.floor(negative)).any():
        return []
    # −5 beside 5, and −10 beside 10, are the two ends of one scale.
    far = -negative[0]
    is_apart = far < rest[-1] or far > 2 * rest[-1] or (far in _CODES and far > rest[-1])
    return [float(value) for value in negative] if is_apart else []


def _find_above(ratings: RatingValues) -> list[float]:
    """Return a highest value that is far above a short scale, such as 99 above −10 to 10 or 9 above 1 to 5."""
    value, rest = float(ratings.values[-1]), ratings.values[:-1]
    n, total = int(ratings.counts[-1]), int(ratings.counts.sum())
    gap, span = value - rest[-1], rest[-1] - rest[0]
    if len(rest) < 2 or n < _MIN_ROWS:
        return []
    if value > _HIGHEST and rest[-1] <= _HIGHEST:
        is_apart = gap >= span and (n >= _FREQUENT * total or value in _CODES)
        return [value] if is_apart else []
    is_dense = len(rest) >= 4 and span == len(rest) - 1  # whole numbers without a gap
    return [value] if is_dense and value == 9 and gap >= 3 and n >= _FREQUENT * total else []


def _find_zero(ratings: RatingValues) -> list[float]:
    """Return 0 below a scale from 1 (or ½) on where it is far more frequent than the next rating, or far below it."""
    rest = ratings.values[1:]
    n, total = int(ratings.counts[0]), int(ratings.counts.sum())
    fits = ratings.values[0] == 0 and len(rest) >= 2 and rest[0] >= 0.5 and 3 <= rest[-1] <= _HIGHEST
    if not fits or n < max(_MIN_ROWS, _FREQUENT * total) or ((2 * rest) != np.floor(2 * rest)).any():
        return []
    is_far = rest[0] >= 1.5 * np.diff(rest).max()
    return [0.0] if is_far or n >= 2 * ratings.counts[1] else []


def holds_amounts(engine: SqlEngine, part: SourcePart, column: str, event_type: str | None) -> bool:
    """Whether a column called value, overall or any score holds amounts (money, quantities, points) rather than ratings.

    Looks at the first ten thousand rows. Amounts are far above every rating scale, or have two decimals beyond a short
    scale, or belong to some of the event types only.
    """
    name = normalize_name(column)
    if name not in _WEAK_NAMES and split_words(column)[-1:] != ["score"]:
        return False
    scan = part.scan if part.file is None else part.file.preview_scan()
    number = f"try_cast({quote_identifier(column)} AS DOUBLE)"
    rows, n, high, long, fine, cents, lowest, highest = engine.fetch_rows(
        "SELECT count(*), count(x), count_if(x > 100), count_if(x > 10), count_if(x * 2 <> floor(x * 2)), "
        "count_if(abs(x * 10 - round(x * 10)) > 1e-6), min(x), max(x) "
        f"FROM (SELECT {number} AS x FROM {scan} LIMIT {_SAMPLE}) WHERE x IS NULL OR isfinite(x)",
        part.label,
    )[0]
    if not n:
        return False
    if high > 0.05 * n:
        return True
    if name != "value":
        return False
    has_cents = fine > 0.1 * n and long > 0.05 * n
    # Shares and probabilities have decimals too, and are at most 1.
    has_prices = cents > 0.2 * n and lowest >= 0 and fine > 0.2 * n and highest > 1
    return has_cents or has_prices or bool(event_type and n < 0.8 * rows and long)


def describe_no_ratings(
    no_rating: Mapping[float, int], scale: tuple[float, float] | None, zeros: int, unrated: int, *, given: bool
) -> Iterator[str]:
    """Yield what was decided about values that may mean "not rated", in sentences.

    Args:
        no_rating: value that means "not rated" → rows.
        scale: lowest and highest rating, None = no ratings are left.
        zeros: rows with a 0 that is kept as a rating although the other ratings begin at 1 or more.
        unrated: rows without a rating.
        given: the values were given, not found.
    """
    for value, n in no_rating.items():
        rows = "1 row" if n == 1 else f"{n:,} rows"
        note = f'The rating {value:g} of {rows} means "not rated": the events stay, without a rating.'
        if scale is not None and not given:
            low, high = min(value, scale[0]), max(value, scale[1])
            note += (
                f" It stands apart from the scale {scale[0]:g} to {scale[1]:g}. Where it is a rating, pass "
                f"CleaningRules(rating_range=({low:g}, {high:g}))."
            )
        yield note
    if unrated:
        rows = "1 row has" if unrated == 1 else f"{unrated:,} rows have"
        yield f"{rows} no rating: the events stay, without a rating."
    if zeros:
        rows = "1 row" if zeros == 1 else f"{zeros:,} rows"
        yield f'The rating 0 of {rows} is read as the lowest rating. Where it means "not rated", pass CleaningRules(no_rating=0).'

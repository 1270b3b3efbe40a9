"""Conventions of a log: what was settled when it was read, kept for the events that come later."""

import dataclasses
from collections.abc import Mapping

__all__ = ["LogConventions"]


@dataclasses.dataclass(frozen=True)
class LogConventions:
    """What was settled about a log when it was read. Held-out files are read, and new events are weighted, by the same.

    Attributes:
        columns: role → column of the log.
        event_weights: event type → weight as evidence: of every type of the log, and of given types that have no event yet.
        positive_from: ratings below it are no evidence of a preference; None = every rating is.
        rating_range: lowest and highest rating that was allowed, given or inferred; None = the log has no ratings.
        rating_range_inferred: whether the ratings of the log gave it. Then a later log may have others, which widen it.
        no_rating: ratings that mean "not rated".
        time_formats: strptime formats of the times that the common notations do not cover, in the order tried.
        only_time_formats: whether times have no other format.
        layout: layout of the log, where it was named.
        delimiter: text between two fields, where it was named.
        decimal: mark before the decimals of numbers, where it was named or thousands separators were found.
        rating_words: word → rating, where ratings are words.
        names: names of the columns of a log without a line of names, where they were named.
        has_clock: whether times are seconds since 1970; None = the log has no times.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    event_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    positive_from: float | None = None
    rating_range: tuple[float, float] | None = None
    rating_range_inferred: bool = False
    no_rating: tuple[float, ...] = ()
    time_formats: tuple[str, ...] = ()
    only_time_formats: bool = False
    layout: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    rating_words: Mapping[str, float] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()
    has_clock: bool | None = None

"""Why a row is set aside, in the words of the report."""

__all__ = ["CODE", "FOREIGN", "REASONS", "UNREADABLE"]

REASONS = (
    "",
    "missing user",
    "missing item",
    "missing event type",
    "missing time",
    "time not understood",
    "missing rating",
    "rating is not a finite number",
    "missing weight",
    "weight is not a finite number",
    "negative weight",
    "label is not 0 or 1",
    "time before 1990 or in the future",
    "negative order",
    "rating outside the range",
    "before since",
    "from until on",
    "duplicate",
    "bot: far more events than other users",
    "bot: too many events in one day",
    "outlier: weight far above the others",
    "fewer events than the k-core asks",
)
"""Reasons of rows that were read; the place is the code, 0 = kept."""

CODE = {reason: code for code, reason in enumerate(REASONS)}
"""Reason → code."""

UNREADABLE = "unreadable line"
"""Reason of a line of text that is no row."""

FOREIGN = "line is not UTF-8 text"
"""Reason of a line whose letters cannot be told."""

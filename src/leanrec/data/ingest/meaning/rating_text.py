"""Ratings written with their scale, such as ``4/5``, ``★★★☆☆`` and ``80%``, and words such as thumbs up."""

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.forms.values import number_of_text, text_expression
from leanrec.data.ingest.sources import SourcePart

__all__ = ["describe_rating_text", "holds_opinions", "rating_of_text"]

_SAMPLE = 1000
_NEARLY_ALL = 0.95
_NUMBER = r"[0-9]+(?:[.,][0-9]+)?"
_SCALE = rf"(?:/|out of|of|von|sur|de)\s*({_NUMBER})"
_UNIT = r"(?:stars?|★|⭐\x{FE0F}?|sterne?|étoiles?|estrellas?|%|percent|points?|pts)"
_WRITTEN = quote_literal(rf"^\s*({_NUMBER})\s*(?:{_SCALE})?\s*{_UNIT}?\s*$")
_STARS = quote_literal(r"^[\s★⭐🌟✮☆✩½\x{FE0F}]+$")
_FULL = quote_literal("[^★⭐🌟✮]")
_WORDS = quote_literal(r"^[^0-9★⭐]+$")


def rating_of_text(column: str) -> str:
    """SQL: a rating as DOUBLE that is a number, a truth value, a number with its scale, or stars; NULL for other text.

    The number is the rating: ``4/5`` is 4, and ``80%`` is 80.
    """
    text = f"lower({column}::VARCHAR)"
    written = f"try_cast(replace(regexp_extract({text}, {_WRITTEN}, 1), ',', '.') AS DOUBLE)"
    halves = f"CASE WHEN contains({column}::VARCHAR, '½') THEN 0.5 ELSE 0 END"
    stars = f"length(regexp_replace({column}::VARCHAR, {_FULL}, '', 'g')) + {halves}"
    drawn = f"CASE WHEN regexp_matches({column}::VARCHAR, {_STARS}) THEN {stars} END"
    return f"coalesce({number_of_text(column, 'DOUBLE')}, {written}, {drawn})"


def describe_rating_text(engine: SqlEngine, part: SourcePart, column: str) -> str | None:
    """Say how ratings with their scale are read; None where the first values are no such ratings, or have several scales."""
    text = text_expression(column, part.types[column])
    n, read, scales, example = engine.fetch_rows(
        f"SELECT count(x), count({rating_of_text('x')}), "
        f"count(DISTINCT nullif(regexp_extract(lower(x), {_WRITTEN}, 2), '')), min(x) FROM ({_select_first(part, text)})",
        part.label,
    )[0]
    if not n or read < _NEARLY_ALL * n or scales > 1:
        return None
    number = engine.fetch_rows(f"SELECT {rating_of_text(quote_literal(example))}")[0][0]
    return f"{part.label}: ratings such as {example!r} are read as {number:g}."


def holds_opinions(engine: SqlEngine, part: SourcePart, column: str) -> bool:
    """Whether nearly all of the first values are words for yes and no, such as like and dislike, or TRUE and FALSE."""
    if part.types[column] == "BOOLEAN":
        return True
    if part.types[column] not in {"VARCHAR", "JSON"}:
        return False
    text = text_expression(column, part.types[column])
    n, words = engine.fetch_rows(
        f"SELECT count(x), count_if({number_of_text('x', 'DOUBLE')} IS NOT NULL AND regexp_matches(x, {_WORDS})) "
        f"FROM ({_select_first(part, text)})",
        part.label,
    )[0]
    return bool(n) and words >= _NEARLY_ALL * n


def _select_first(part: SourcePart, text: str) -> str:
    scan = part.scan if part.file is None else part.file.preview_scan()
    return f"SELECT {text} AS x FROM {scan} WHERE nullif(trim({text}), '') IS NOT NULL LIMIT {_SAMPLE}"

"""Ratings with their scale or a word (``4/5``, ``★★★☆☆``, ``80%``, ``5 - excellent``), and words such as good."""

import dataclasses
import re
from collections.abc import Mapping

from leanrec.data.engine import SqlEngine, quote_literal
from leanrec.data.ingest.forms.values import number_of_text, text_expression
from leanrec.data.ingest.meaning.id_forms import is_missing
from leanrec.data.ingest.sources import SourcePart

__all__ = ["RatingWords", "describe_rating_text", "find_rating_words", "holds_opinions", "list_words", "rating_of_text"]

_SAMPLE = 1000
_NEARLY_ALL = 0.95
_NUMBER = r"(?:[0-9]+(?:[.,][0-9]+)?|[.][0-9]+)"
_SCALE = rf"(?:/|out of|of|von|sur|de|su|uit|из|av|af|z)\s*({_NUMBER})"
_UNIT = (
    r"(?:stars?|★|⭐\x{FE0F}?|sterne?n?|étoiles?|estrellas?|estrelas?|stell[ae]|sterren|ster|gwiazd\pL*|зв[её]зд\pL*|星|颗星|つ星|"
    r"%|percent|points?|pts|punkte?n?|puntos?|分|点|점)"
)
_WRITTEN = quote_literal(rf"^\s*({_NUMBER})\s*(?:{_SCALE})?\s*{_UNIT}?\s*$")
# A word beside the number, 5 - excellent, 5: very good, 5 (sehr gut) or excellent (5), only explains it.
_LABELED = quote_literal(rf"^\s*({_NUMBER})\s*[-–—:=.,;(]\s*\pL[^0-9]*$")
_LABEL_FIRST = quote_literal(rf"^\s*\pL[^0-9]*[(:=–—-]\s*({_NUMBER})\s*\)?\s*$")
_STARS = quote_literal(r"^[\s★⭐🌟✮☆✩½\x{FE0F}]+$")
_FULL = quote_literal("[^★⭐🌟✮]")
_WORDS = quote_literal(r"^[^0-9★⭐]+$")
_MAX_WORDS = 20
# Scales from the worst rating, 1, to the best one; words of one level are separated by |. The first that has all words counts.
_SCALES = (
    "one, two, three, four, five, six, seven, eight, nine, ten",
    "f, d, c, b, a",
    "e, d, c, b, a",
    "f, e, d, c, b, a",
    "poor, fair, good, very good, excellent",
    "did not like it, it was ok, liked it, really liked it, it was amazing",
    (
        "hated it|hate it|hated|hate, didn't like it|did not like it|disliked it|dislike it|disliked|dislike, "
        "ok|okay|it was ok|it was okay|neutral|meh|indifferent, liked it|like it|liked|like, loved it|love it|loved|love"
    ),
    (
        "strongly disagree|disagree strongly|fully disagree|totally disagree, disagree|somewhat disagree, "
        "neutral|undecided|neither|neither agree nor disagree|unsure, agree|somewhat agree, strongly agree|agree strongly|fully agree|totally agree"
    ),
    (
        "very dissatisfied|very unsatisfied|extremely dissatisfied, dissatisfied|unsatisfied|somewhat dissatisfied, "
        "neutral|neither|neither satisfied nor dissatisfied, satisfied|somewhat satisfied, very satisfied|extremely satisfied"
    ),
    "very unlikely, unlikely, neutral|undecided, likely, very likely",
    "very negative, negative, neutral|mixed, positive, very positive",
    "very low, low, medium|moderate|mid, high, very high",
    "never, rarely|seldom, sometimes|occasionally, often|usually, always",
    (
        "terrible|awful|horrible|very bad|very poor|worst|hated it, bad|poor|below average, "
        "ok|okay|average|neutral|so-so|so so|fair|mediocre|medium|acceptable|satisfactory, good|above average, "
        "very good|excellent|great|perfect|amazing|outstanding|awesome|fantastic|superb|best"
    ),
    # German, French, Spanish, Portuguese, Italian, Dutch, Polish, Russian, Chinese, Japanese and Korean.
    "sehr schlecht, schlecht, mittel|mittelmäßig|ok|okay|neutral|durchschnittlich, gut, sehr gut|ausgezeichnet|hervorragend",
    "ungenügend, mangelhaft, ausreichend, befriedigend, gut, sehr gut",
    "sehr unzufrieden, unzufrieden, neutral|teils teils, zufrieden, sehr zufrieden",
    "très mauvais|très mauvaise|nul|nulle, mauvais|mauvaise, moyen|moyenne|correct|passable|neutre, bon|bonne|bien, très bon|très bonne|très bien|excellent|excellente",
    "muy malo|muy mala|muy mal|pésimo|pésima, malo|mala|mal, regular|neutral|normal, bueno|buena|bien, muy bueno|muy buena|muy bien|excelente",
    "muito ruim|péssimo|péssima, ruim|mau, regular|razoável|médio|neutro, bom|boa, muito bom|muito boa|ótimo|ótima|excelente",
    "pessimo|pessima|molto scarso, scarso|scarsa|cattivo, discreto|sufficiente|medio|neutro, buono|buona, ottimo|ottima|molto buono|eccellente",
    "zeer slecht|heel slecht, slecht|matig, gemiddeld|voldoende|neutraal|ok, goed, zeer goed|heel goed|uitstekend",
    "bardzo zły|bardzo słaby|fatalny, zły|słaby, średni|przeciętny, dobry, bardzo dobry|doskonały|świetny",
    "очень плохо|ужасно, плохо, нормально|средне|удовлетворительно, хорошо, очень хорошо|отлично|превосходно",
    "很差|非常差|极差, 差|较差, 一般|中等|还行, 好|较好|不错|推荐, 很好|非常好|优秀|极好|力荐",
    "とても悪い|非常に悪い|最悪, 悪い, 普通|ふつう, 良い|よい|いい, とても良い|非常に良い|最高",
    "매우 나쁨|매우 불만족, 나쁨|불만족, 보통, 좋음|만족, 매우 좋음|매우 만족",
)


_NUMBERS = [
    {word: float(number) for number, level in enumerate(scale.split(", "), 1) for word in level.split("|")}
    for scale in _SCALES
]
# Grades with + and − are a third of a grade better or worse.
_GRADES = {
    f"{grade}{sign}": number + shift
    for grade, number in _NUMBERS[1].items()
    for sign, shift in (("-", -0.3), ("", 0.0), ("+", 0.3))
}


@dataclasses.dataclass(frozen=True)
class RatingWords:
    """Ratings in words.

    Attributes:
        numbers: word in lower case → rating.
    """

    numbers: Mapping[str, float]

    def read(self, column: str) -> str:
        """SQL: a rating in words, or as a number, as DOUBLE; NULL for other text."""
        cases = " ".join(
            f"WHEN {quote_literal(_normalize(word))} THEN {number}" for word, number in self.numbers.items()
        )
        word = f"regexp_replace(lower(trim({column}::VARCHAR)), '(\\pL)[_-](.)', '\\1 \\2', 'g')"
        return f"CASE regexp_replace({word}, ' stars?$', '') {cases} ELSE try_cast({column} AS DOUBLE) END"


def _normalize(word: str) -> str:
    """Return a word for a rating without case, with blanks between its parts: of ``FIVE_STARS`` it is ``five``."""
    return re.sub(r" stars?$", "", re.sub(r"(?<=[^\W\d_])[_-](?=.)", " ", word.strip().lower()))


def rating_of_text(column: str) -> str:
    """SQL: a rating as DOUBLE that is a number, a truth value, a number with its scale or a word, or stars; NULL for other text.

    The number is the rating: ``4/5`` and ``4 - good`` are 4, and ``80%`` is 80.
    """
    text = f"regexp_replace(lower({column}::VARCHAR), ' *½', '.5')"
    number = f"coalesce(nullif(regexp_extract({text}, {_WRITTEN}, 1), ''), nullif(regexp_extract({text}, {_LABELED}, 1), ''), regexp_extract({text}, {_LABEL_FIRST}, 1))"
    written = f"try_cast(replace({number}, ',', '.') AS DOUBLE)"
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


def find_rating_words(
    engine: SqlEngine, part: SourcePart, column: str, given: Mapping[str, float]
) -> tuple[RatingWords | None, str]:
    """Return the ratings that words stand for, None where the first values are no words of one scale, and what to tell about it.

    Args:
        engine: the connection.
        part: the table.
        column: the column.
        given: word → rating, as the user says; {}: one of the common scales.
    """
    counts = list_words(engine, part, column)
    lowered: dict[str, int] = {}
    for word, n in counts.items():
        lowered[_normalize(word)] = lowered.get(_normalize(word), 0) + n
    scales = [{_normalize(word): float(number) for word, number in given.items()}] if given else [*_NUMBERS, _GRADES]
    total = sum(lowered.values())
    for scale in scales:
        known = [word for word in lowered if word in scale]
        if (len(known) > 1 or given) and sum(lowered[word] for word in known) >= _NEARLY_ALL * total:
            read = ", ".join(f"{word} = {scale[word]:g}" for word in sorted(known, key=lambda word: scale[word]))
            other = ", ".join(f'"{word}": {scale[word]:g}' for word in sorted(known, key=lambda word: scale[word]))
            note = f"{part.label}: the words in the column {column!r} are read as ratings: {read}."
            return RatingWords(scale), note if given else f"{note} For other numbers pass rating_words={{{other}}}."
    return None, ""


def list_words(engine: SqlEngine, part: SourcePart, column: str) -> dict[str, int]:
    """Return the texts among the first values that are no numbers → rows, most frequent first; {} where there are many."""
    text = text_expression(column, part.types[column])
    rows = engine.fetch_rows(
        f"SELECT trim(x), count(*) FROM ({_select_first(part, f'{text}::VARCHAR')}) "
        f"WHERE NOT {is_missing('x')} AND try_cast(x AS DOUBLE) IS NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MAX_WORDS + 1}",
        part.label,
    )
    return dict(rows) if len(rows) <= _MAX_WORDS else {}


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

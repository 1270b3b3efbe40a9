"""Values in the types of other systems: text as bytes, categories, decimals, nanoseconds, and booleans as text."""

import dataclasses
import re
from typing import TYPE_CHECKING

from leanrec.data.engine import SqlEngine, match_words, quote_identifier
from leanrec.data.event_types import DISLIKED, LIKED

if TYPE_CHECKING:
    from leanrec.data.ingest.sources import SourcePart

__all__ = ["convert_columns", "holds_labels", "holds_numbers", "number_of_text", "text_expression"]

_SAMPLE = 1000
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_MAX_DIGITS = 18
_TRUE = (
    "true",
    "t",
    "yes",
    "y",
    "like",
    "liked",
    "up",
    "thumbs up",
    "thumb up",
    "thumbs_up",
    "upvote",
    "positive",
    "recommended",
    "👍",
    # German, French, Spanish, Italian, Portuguese, the Slavic, Nordic and other languages, as spreadsheets write truth values too.
    "ja", "oui", "si", "sí", "sì", "sim", "tak", "ano", "да", "evet", "kyllä", "igen", "是", "はい", "예", "네", "wahr", "vrai", "verdadero",
    "vero", "verdadeiro", "waar", "prawda", "истина", "doğru", "真", *LIKED,
)  # fmt: skip
_FALSE = (
    "false", "f", "no", "n", "dislike", "disliked", "down", "thumbs down", "thumb down", "thumbs_down", "downvote", "negative",
    "not recommended", "👎", "nein", "non", "não", "nao", "nee", "nie", "ne", "нет", "hayır", "hayir", "ei", "nem", "nej", "nei", "否", "いいえ", "아니요",
    "아니오", "falsch", "faux", "falso", "onwaar", "fałsz", "ложь", "yanlış", "假", *DISLIKED,
)  # fmt: skip
_UUID_BYTES = 16


def convert_columns(engine: SqlEngine, part: "SourcePart") -> "SourcePart":
    """Return the table with plain types in place of bytes, categories, decimals and times in nanoseconds.

    Bytes are decoded where the first values are UTF-8; otherwise they become hexadecimal digits, and 16 of them a UUID.
    """
    values: dict[str, tuple[str, str]] = {}
    for name, column_type in part.types.items():
        column = quote_identifier(name)
        if column_type in {"BLOB", "BYTEA"}:
            values[name] = _decode_bytes(engine, part, column), "VARCHAR"
        elif column_type.startswith("ENUM(") and not column_type.endswith("]"):
            values[name] = f"{column}::VARCHAR", "VARCHAR"
        elif column_type == "TIMESTAMPTZ_NS":
            values[name] = f"{column}::TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"
        elif (decimal := _DECIMAL.fullmatch(column_type)) is not None:
            whole = "BIGINT" if int(decimal[1]) <= _MAX_DIGITS else "HUGEINT"  # ids may have more digits than a double
            plain = whole if decimal[2] == "0" else "DOUBLE"
            values[name] = f"{column}::{plain}", plain
    if not values:
        return part
    replaced = ", ".join(f"{value} AS {quote_identifier(name)}" for name, (value, _) in values.items())
    types = {name: values[name][1] if name in values else each for name, each in part.types.items()}
    return dataclasses.replace(part, scan=f"(SELECT * REPLACE ({replaced}) FROM {part.scan})", types=types)


def _decode_bytes(engine: SqlEngine, part: "SourcePart", column: str) -> str:
    """SQL: a column of bytes as text."""
    sample = f"SELECT {column} AS x FROM {part.scan} WHERE {column} IS NOT NULL LIMIT {_SAMPLE}"
    text, longest, shortest = engine.fetch_rows(
        "SELECT count_if(try(decode(x)) IS NULL OR contains(try(decode(x)), chr(0))), max(octet_length(x)), min(octet_length(x)) "
        f"FROM ({sample})",
        part.label,
    )[0]
    digits = f"lower(hex({column}))"
    if longest == shortest == _UUID_BYTES:
        groups = r"\1-\2-\3-\4-\5"
        digits = f"regexp_replace({digits}, '^(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})$', '{groups}')"
    return digits if text else f"coalesce(try(decode({column})), {digits})"


def text_expression(column: str, column_type: str) -> str:
    """SQL: a column as text. A cast of JSON to text keeps the quotation marks."""
    return f"({quote_identifier(column)} ->> '$')" if column_type == "JSON" else quote_identifier(column)


def number_of_text(column: str, number_type: str) -> str:
    """SQL: a number or a truth value that is written as text; NULL for other text."""
    yes, no = (match_words(f"{column}::VARCHAR", words, " ") for words in (_TRUE, _FALSE))
    truth = f"CASE WHEN {yes} THEN 1 WHEN {no} THEN 0 END"
    return f"coalesce(try_cast({column} AS {number_type}), {truth}::{number_type})"


def holds_labels(engine: SqlEngine, part: "SourcePart", column: str) -> bool:
    """Whether most of the first values of a column are 1, 0, −1 or truth values."""
    scan = part.scan if part.file is None else part.file.preview_scan()
    sample = f"SELECT {text_expression(column, part.types[column])}::VARCHAR AS x FROM {scan} LIMIT {_SAMPLE}"
    n, labels = engine.fetch_rows(
        f"SELECT count(nullif(trim(x), '')), count_if({number_of_text('x', 'DOUBLE')} IN (-1, 0, 1)) FROM ({sample})",
        part.label,
    )[0]
    return bool((labels or 0) * 2 > n)


def holds_numbers(engine: SqlEngine, part: "SourcePart", column: str) -> bool:
    """Whether most of the first values of a column of text are numbers or truth values."""
    if part.types[column] not in {"VARCHAR", "JSON"}:
        return False
    scan = part.scan if part.file is None else part.file.preview_scan()
    text = text_expression(column, part.types[column])
    sample = f"SELECT {text} AS x FROM {scan} WHERE nullif(trim({text}), '') IS NOT NULL LIMIT {_SAMPLE}"
    n, numbers = engine.fetch_rows(
        f"SELECT count(x), count({number_of_text('x', 'DOUBLE')}) FROM ({sample})", part.label
    )[0]
    return bool(n) and numbers * 2 > n

"""Forms of ids other than their text: words for nothing, whole numbers as ``13085.0``, and ``b'13085'``."""

import dataclasses

from leanrec.data.engine import SqlEngine, match_words, quote_literal

__all__ = ["MISSING_WORDS", "IdForm", "IdForms", "describe_rounded", "find_id_form", "is_missing"]

MISSING_WORDS = (
    "", "null", "(null)", "<null>", "\\n", "nan", "none", "(none)", "<none>", "undefined", "(not set)", "not set", "n/a", "#n/a", "na",
    "<na>", "nat", "nil", "-", "--",
)  # fmt: skip
_BLANKS = quote_literal(" \t\u00a0")


def is_missing(value: str) -> str:
    r"""SQL: whether a text is empty or a word for nothing, such as NULL, \\N, nan or (not set)."""
    return match_words(value, MISSING_WORDS, " \t\u00a0")


@dataclasses.dataclass(frozen=True)
class IdForm:
    """How the ids of a column differ from their text.

    Attributes:
        missing: some are words for nothing.
        whole: all others are whole numbers, some with ``.0`` at the end.
        printed: all others are values as a program prints them: b'13085', '13085', ObjectId(13085), ="13085" of spreadsheets.
        rounded: an id that was rounded, such as 7.65612E+16, or 76561198012345600 where all long ids end so; "" if there is none.
        damaged: at least half of the ids are rounded.
    """

    missing: bool = False
    whole: bool = False
    printed: bool = False
    rounded: str = ""
    damaged: bool = False

    def __bool__(self) -> bool:
        return self.missing or self.whole or self.printed or bool(self.rounded)

    def apply(self, value: str) -> str:
        """SQL: the id; NULL where it is missing."""
        if self.missing:
            value = f"CASE WHEN {is_missing(value)} THEN NULL ELSE {value} END"
        if self.printed:
            value = f"regexp_replace({value}, {_PRINTED}, '\\1\\2\\3\\4')"
        return f"regexp_replace({value}, '\\.0+$', '')" if self.whole else value


@dataclasses.dataclass(frozen=True)
class IdForms:
    """How the ids of a log differ from their text.

    Attributes:
        users: the form of the user ids.
        items: the form of the item ids.
        trim: ids of delimited text have blanks around them.
        trimmed_rows: rows in which blanks were removed.
    """

    users: IdForm = IdForm()
    items: IdForm = IdForm()
    trim: bool = False
    trimmed_rows: int = 0

    def list_notes(self) -> list[str]:
        """Return what was done to the ids, in sentences."""
        notes = [f"Blanks around ids were removed in {self.trimmed_rows:,} rows."] if self.trimmed_rows else []
        for role, form in (("User", self.users), ("Item", self.items)):
            if form.missing:
                notes.append(
                    f"{role} ids such as NULL, nan, None or (not set) are words for nothing: they count as missing."
                )
            if form.printed:
                notes.append(
                    f"{role} ids are printed as b'7', '7', =\"7\" or ObjectId(7). They are read without these marks: 7."
                )
            if form.rounded:
                notes.append(describe_rounded(role, form))
            if form.whole:
                notes.append(f"{role} ids are whole numbers that end in .0. They are read without it: 7.0 is 7.")
        return notes


def describe_rounded(role: str, form: IdForm) -> str:
    """Return what is wrong with rounded ids, in sentences. ``role`` is "User" or "Item"."""
    return (
        f"{role} ids such as {form.rounded} were rounded, as spreadsheets and floating-point numbers do, so that several "
        f"{role.lower()}s may have become one. Export the log again, with the ids as text."
    )


def find_id_form(engine: SqlEngine, table: str, column: str = "id") -> IdForm:
    """Return the form of the ids in a table, which should have each id once. Of numbers only long ones have one."""
    kind = engine.fetch_rows(f"SELECT typeof({column}) FROM {table} WHERE {column} IS NOT NULL LIMIT 1")
    if not kind:
        return IdForm()
    if kind[0][0] != "VARCHAR":
        longest = engine.fetch_rows(f"SELECT max({column}) FROM {table}")[0][0] if "INT" in kind[0][0] else 0
        return _find_rounded(engine, table, column) if longest >= _LONG else IdForm()
    named = f"SELECT {column} AS id, {is_missing(column)} AS missing FROM {table} WHERE {column} IS NOT NULL"
    # The short test comes first: nearly all ids fail it.
    whole = f"ends_with(trim(id, {_BLANKS}), '.0') OR ends_with(trim(id, {_BLANKS}), '.00')"
    begins = " OR ".join(
        f"starts_with(id, {quote_literal(each)})" for each in ("'", "b'", 'b"', "u'", "ObjectId(", '="')
    )
    missing, pointed, printed = engine.fetch_rows(
        f"SELECT bool_or(missing), bool_or({whole}), bool_and({begins} OR missing) FROM ({named})"
    )[0]
    if printed:
        test = f"SELECT bool_and(regexp_matches(id, {_PRINTED})) FROM ({named}) WHERE NOT missing"
        return IdForm(missing=bool(missing), printed=bool(engine.fetch_rows(test)[0][0]))
    if pointed:
        pattern = quote_literal(r"^\s*-?(0|[1-9][0-9]*)(\.0+)?\s*$")
        test = f"SELECT bool_and(regexp_matches(id, {pattern})) FROM ({named}) WHERE NOT missing"
        pointed = engine.fetch_rows(test)[0][0]
    return dataclasses.replace(_find_rounded(engine, table, column), missing=bool(missing), whole=bool(pointed))


def _find_rounded(engine: SqlEngine, table: str, column: str) -> IdForm:
    """Return whether ids are rounded: numbers with an exponent, or long numbers that all end in zeros."""
    text = f"{column}::VARCHAR"
    power = f"contains(id, '+') AND regexp_matches(id, {_POWER})"
    long = f"length(id) >= 16 AND regexp_full_match(id, {_LONG_NUMBER})"
    n, powers, short, power_example, longs, zeros, long_example = engine.fetch_rows(
        f"SELECT count(*), count_if({power}), count_if({power} AND length(id) <= {_SHORT}), min(CASE WHEN {power} THEN id END), "
        f"count_if({long}), count_if({long} AND regexp_full_match(id, {_ZEROS})), max(CASE WHEN {long} THEN id END) "
        f"FROM (SELECT {text} AS id FROM {table} WHERE {column} IS NOT NULL)"
    )[0]
    if powers:
        return IdForm(rounded=power_example, damaged=2 * short >= n)
    return IdForm(rounded=long_example, damaged=2 * longs >= n) if longs >= _MIN_LONG and zeros == longs else IdForm()


_PRINTED = quote_literal(r"""^(?:[bu]?'([^'\\]*)'|b"([^"\\]*)"|ObjectId\(["']?([^"')]*)["']?\)|="([^"]*)")\s*$""")
_LONG = 10**15
_MIN_LONG = 8  # of them all would end in 0 by chance once in a hundred million logs
_SHORT = 16  # of more letters than 1.2345678901E+16 nearly all digits are left
_POWER = quote_literal(r"^\s*[1-9]([.,][0-9]+)?[eE]\+[0-9]+\s*$")
_LONG_NUMBER = quote_literal("[1-9][0-9]{15,18}")
_ZEROS = quote_literal("[1-9][0-9]{14,16}0+")

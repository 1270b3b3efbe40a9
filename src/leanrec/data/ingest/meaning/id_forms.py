"""Forms of ids other than their text: words for nothing, whole numbers as ``13085.0`` and ``13,085``, and ``b'13085'``."""

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
        thousands: all others are whole numbers, and this mark separates the thousands of those that have any; "" if there is none.
        printed: all others are values as a program prints them: b'13085', '13085', ObjectId(13085), ="13085" of spreadsheets.
        rounded: an id that was rounded, such as 7.65612E+16, or 76561198012345600 where all long ids end so; "" if there is none.
        damaged: at least half of the ids are rounded.
    """

    missing: bool = False
    whole: bool = False
    thousands: str = ""
    printed: bool = False
    rounded: str = ""
    damaged: bool = False

    def __bool__(self) -> bool:
        return self.missing or self.whole or bool(self.thousands) or self.printed or bool(self.rounded)

    def apply(self, value: str) -> str:
        """SQL: the id; NULL where it is missing."""
        if self.missing:
            value = f"CASE WHEN {is_missing(value)} THEN NULL ELSE {value} END"
        if self.printed:
            value = f"regexp_replace({value}, {_PRINTED}, '\\1\\2\\3\\4')"
        if self.thousands:
            value = f"replace({value}, {quote_literal(self.thousands)}, '')"
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
            if form.thousands:
                notes.append(describe_thousands(role, form))
            if form.whole:
                notes.append(f"{role} ids are whole numbers that end in .0. They are read without it: 7.0 is 7.")
        return notes


def describe_rounded(role: str, form: IdForm) -> str:
    """Return what is wrong with rounded ids, in sentences. ``role`` is "User" or "Item"."""
    return (
        f"{role} ids such as {form.rounded} were rounded, as spreadsheets and floating-point numbers do, so that several "
        f"{role.lower()}s may have become one. Export the log again, with the ids as text."
    )


def describe_thousands(role: str, form: IdForm) -> str:
    """Return how ids with thousands separators are read, in a sentence. ``role`` is such as "User"."""
    return f"{role} ids are whole numbers with thousands separators, such as 1{form.thousands}001. They are read without them: 1001."


def find_id_form(
    engine: SqlEngine, table: str, column: str = "id", others: str = "", *, settled: bool = False
) -> IdForm:
    """Return the form of the ids in a table, which should have each id once. Of numbers only long ones have one.

    Args:
        engine: the connection.
        table: the table, or a query in parentheses.
        column: its column.
        others: SQL: a query for the same ids as another table has them, which decides where the ids alone do not; "" if there is none.
        settled: the others have their final form, and decide in any case.
    """
    kind = engine.fetch_rows(f"SELECT typeof({column}) FROM {table} WHERE {column} IS NOT NULL LIMIT 1")
    if not kind:
        return IdForm()
    if kind[0][0] != "VARCHAR":
        longest = engine.fetch_rows(f"SELECT max({column}) FROM {table}")[0][0] if "INT" in kind[0][0] else 0
        return _find_rounded(engine, table, column) if longest >= _LONG else IdForm()
    named = f"SELECT {column} AS id, {is_missing(column)} AS missing, trim({column}, {_BLANKS}) AS bare FROM {table} WHERE {column} IS NOT NULL"
    # The short tests come first: nearly all ids fail them.
    begins = " OR ".join(
        f"starts_with(id, {quote_literal(each)})" for each in ("'", "b'", 'b"', "u'", "ObjectId(", '="')
    )
    missing, pointed, printed, mark = engine.fetch_rows(
        f"SELECT bool_or(missing), bool_or(ends_with(bare, '.0') OR ends_with(bare, '.00')), bool_and({begins} OR missing), {_MARK} FROM ({named})"
    )[0]
    if printed:
        test = f"SELECT bool_and(regexp_matches(id, {_PRINTED})) FROM ({named}) WHERE NOT missing"
        return IdForm(missing=bool(missing), printed=bool(engine.fetch_rows(test)[0][0]))
    bare, whole = f"(SELECT bare FROM ({named}) WHERE NOT missing)", False
    if pointed:
        # 1,001.0 has both marks.
        bare = f"(SELECT regexp_replace(bare, '[.]0+$', '') AS bare FROM {bare})"
        pattern = quote_literal(r"^-?(0|[1-9][0-9]*)$")
        whole, mark = engine.fetch_rows(f"SELECT bool_and(regexp_matches(bare, {pattern})), {_MARK} FROM {bare}")[0]
    has_mark = mark not in {None, engine.decimal, "." if pointed else None}
    if not has_mark or not _separates_thousands(engine, bare, mark, others, settled=settled):
        mark = ""
    form = _find_rounded(engine, table, column)
    return dataclasses.replace(
        form, missing=bool(missing), whole=bool(whole or (pointed and mark)), thousands=str(mark)
    )


def _separates_thousands(engine: SqlEngine, ids: str, mark: str, others: str, *, settled: bool) -> bool:
    """Whether ids are whole numbers with this mark between their thousands.

    In doubt are numbers above a thousand without the mark, codes of nine digits or more and of one length with blanks between them
    (732 829 320), and points: 1.200 may be a version, unless some ids have two points and others one, or three digits and none.
    ``others`` decides then.
    """
    loose = quote_literal(f"[1-9][0-9]{{0,2}}([{mark}][0-9]{{3}})+|0|[1-9][0-9]*")
    marked, plain = f"contains(bare, {quote_literal(mark)})", f"replace(bare, {quote_literal(mark)}, '')"
    n, known, large, three, shortest, longest = engine.fetch_rows(
        f"SELECT count(*), count_if(regexp_full_match(bare, {loose})), count_if(length(bare) > 3 AND NOT {marked}), "
        f"count_if(length(bare) = 3), min(length({plain})), max(length({plain})) FROM {ids}"
    )[0]
    if known < n:
        return False
    is_sure = not large
    if mark in _BLANK_MARKS:
        is_sure &= longest < _CODE_DIGITS or shortest < longest
    elif mark == ".":
        is_sure &= engine.decimal == "," or three > 0 or (shortest < 7 <= longest <= _CODE_DIGITS)
    if not others or (is_sure and not settled):
        return is_sure
    with_mark, without = (
        engine.fetch_rows(
            f"SELECT count(*) FROM (SELECT {each} AS id FROM {ids} WHERE {marked}) SEMI JOIN ({others}) AS o USING (id)"
        )[0][0]
        for each in ("bare", plain)
    )
    return bool(without >= with_mark if is_sure else without > 2 * with_mark)


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


_BLANK_MARKS = (" ", "\u00a0", "\u202f", "\u2009")
_SEPARATORS = (",", ".", "'", "’", *_BLANK_MARKS)
# What stands before the last three letters of ids, where it may separate thousands; NULL where no id has such a mark.
_MARK = f"max(substr(bare, -4, 1)) FILTER (substr(bare, -4, 1) IN ({', '.join(map(quote_literal, _SEPARATORS))}))"
_CODE_DIGITS = 9
_PRINTED = quote_literal(r"""^(?:[bu]?'([^'\\]*)'|b"([^"\\]*)"|ObjectId\(["']?([^"')]*)["']?\)|="([^"]*)")\s*$""")
_LONG = 10**15
_MIN_LONG = 8  # of them all would end in 0 by chance once in a hundred million logs
_SHORT = 16  # of more letters than 1.2345678901E+16 nearly all digits are left
_POWER = quote_literal(r"^\s*[1-9]([.,][0-9]+)?[eE]\+[0-9]+\s*$")
_LONG_NUMBER = quote_literal("[1-9][0-9]{15,18}")
_ZEROS = quote_literal("[1-9][0-9]{14,16}0+")

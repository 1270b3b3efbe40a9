"""Forms of ids that mean something else than their text: words for nothing, and whole numbers printed as ``13085.0``."""

import dataclasses

from leanrec.data.engine import SqlEngine, match_words, quote_literal

__all__ = ["MISSING_WORDS", "IdForm", "IdForms", "find_id_form", "is_missing"]

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
        rounded: an id that a spreadsheet has rounded, such as 7.65612E+16; "" if there is none.
    """

    missing: bool = False
    whole: bool = False
    rounded: str = ""

    def __bool__(self) -> bool:
        return self.missing or self.whole

    def apply(self, value: str) -> str:
        """SQL: the id; NULL where it is missing."""
        if self.missing:
            value = f"CASE WHEN {is_missing(value)} THEN NULL ELSE {value} END"
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
            if form.rounded:
                notes.append(
                    f"{role} ids such as {form.rounded} were rounded by a spreadsheet, so that several {role.lower()}s may "
                    "have become one. Export the log again without opening it in a spreadsheet."
                )
            if form.whole:
                notes.append(f"{role} ids such as 13085.0 are whole numbers, and are read as 13085.")
        return notes


def find_id_form(engine: SqlEngine, table: str, column: str = "id") -> IdForm:
    """Return the form of the ids in a table, which should have each id once. Numbers have the plain form."""
    kind = engine.fetch_rows(f"SELECT typeof({column}) FROM {table} WHERE {column} IS NOT NULL LIMIT 1")
    if not kind or kind[0][0] != "VARCHAR":
        return IdForm()
    named = f"SELECT {column} AS id, {is_missing(column)} AS missing FROM {table} WHERE {column} IS NOT NULL"
    # The short test comes first: nearly all ids fail it.
    whole = f"ends_with(trim(id, {_BLANKS}), '.0') OR ends_with(trim(id, {_BLANKS}), '.00')"
    missing, pointed = engine.fetch_rows(f"SELECT bool_or(missing), bool_or({whole}) FROM ({named})")[0]
    if pointed:
        pattern = quote_literal(r"^\s*-?(0|[1-9][0-9]*)(\.0+)?\s*$")
        test = f"SELECT bool_and(regexp_matches(id, {pattern})) FROM ({named}) WHERE NOT missing"
        pointed = engine.fetch_rows(test)[0][0]
    pattern = quote_literal(r"^\s*[1-9]([.,][0-9]+)?[eE]\+[0-9]+\s*$")
    test = f"SELECT min(id) FROM ({named}) WHERE contains(id, '+') AND regexp_matches(id, {pattern})"
    return IdForm(bool(missing), bool(pointed), engine.fetch_rows(test)[0][0] or "")

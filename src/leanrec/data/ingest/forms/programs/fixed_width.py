"""Columns of fixed width, in which values have blanks: the positions that are blank in every line are between the columns."""

import re
from collections.abc import Sequence

from leanrec.data.engine import quote_literal

__all__ = ["find_slices", "has_gaps", "write_slices"]

_GAP = re.compile(r"\S {2,}\S")
_MIN_LINES = 4


def has_gaps(lines: Sequence[str]) -> bool:
    """Whether most lines have several blanks between values, as columns of fixed width have."""
    return "\t" not in "".join(lines[:20]) and sum(_GAP.search(line) is not None for line in lines) * 2 > len(lines)


def find_slices(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return the begin and the end of each column in characters; empty where the line of names has another number of columns.

    Names are separated by two blanks or more.
    """
    lines = [line.rstrip() for line in lines if line.strip()]
    if len(lines) < _MIN_LINES:
        return []
    used = [False] * max(map(len, lines))
    for line in lines:
        for match in re.finditer(r"\S+", line):
            used[match.start() : match.end()] = [True] * (match.end() - match.start())
    text = "".join("x" if each else " " for each in used)
    slices = [match.span() for match in re.finditer(r"x+", text)]
    return slices if len(slices) == len(re.split(r" {2,}", lines[0].strip())) > 1 else []


def write_slices(slices: Sequence[tuple[int, int]], delimiter: str) -> str:
    """SQL: a line with a delimiter between its columns. A line with text between two columns stays as it is."""
    ends = [end for _, end in slices[:-1]]
    fields = [f"trim(substr(line, {begin + 1}, {end - begin}))" for begin, end in slices[:-1]]
    fields.append(f"trim(substr(line, {slices[-1][0] + 1}))")
    begins = [begin for begin, _ in slices[1:]]
    blank = " AND ".join(
        f"trim(substr(line, {end + 1}, {begin - end})) = ''" for end, begin in zip(ends, begins, strict=True)
    )
    return f"CASE WHEN {blank} THEN concat_ws({quote_literal(delimiter)}, {', '.join(fields)}) ELSE line END"

"""Columns of fixed width are read by position, or refused."""

import re
from pathlib import Path

import pytest

from leanrec.data.ingest.forms.programs.fixed_width import find_slices, has_gaps
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

LINES = [
    "USER  ITEM  TITLE          RATING",
    "u1    i1    Red Teapot          2",
    "u2    i2    Lamp               10",
    "u3    i1    Café de Flore       3",
    "u4    i2    The Big Sleep       4",
]


def test_values_may_have_blanks(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("\n".join([*LINES, "u5    i2    A much too long title  4"]) + "\n", encoding="utf-8")
    assert find_slices(LINES) == [(0, 4), (6, 10), (12, 25), (27, 33)]
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    data, report = ingest(path)
    assert data.users.ids.tolist() == ["u1", "u2", "u3", "u4"]
    assert data.items.ids[data.events.item].tolist() == ["i1", "i2", "i1", "i2"]
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [2, 10, 3, 4]
    assert "its 4 columns have fixed widths" in " ".join(report.warnings)


def test_a_later_line_with_other_positions_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    rows = [f"u{n % 9}    i{n % 7}    {'Red Teapot' if n % 2 else 'Lamp':10}          2" for n in range(1200)]
    path.write_text("\n".join([LINES[0], *rows, "u9    i2    A much too long title  4"]) + "\n")
    data, report = ingest(path)
    assert report.rejected["unreadable line"] == 1
    assert "u9" not in data.users.ids.tolist()


def test_positions_that_are_not_certain_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        "USER ITEM  TITLE  RATING\nu1   i1  Red Teapot  2\nu22  i2  Lamp  1\nu3   i1   A Lot of it   3\nu4 i2   Ox  5\n"
    )
    with pytest.raises(SourceError, match=r"columns of fixed width.*pandas\.read_fwf\(") as refused:
        ingest(path)
    assert re.search(r"widths=\[", str(refused.value))


@pytest.mark.parametrize("lines", [["ann x y z", "bob x", "cyd y z"], ["1\t\t2", "3\t\t4"], ["u,  i", "v,j"]])
def test_other_text_has_no_gaps_or_another_delimiter(lines: list[str], tmp_path: Path) -> None:
    assert not has_gaps(lines)

"""Blocks of lines with keys are rows."""

from pathlib import Path

import pytest

from leanrec.data.ingest.forms.programs.record_blocks import find_keys
from leanrec.data.ingest.ingest import ingest

BLOCKS = """product/productId: B001
product/title: Tea: the "best", of all
review/userId: A3
review/score: 5.0
review/time: 1042502400
review/text: Good

product/productId: B002
review/userId: A4
review/score: 2.0
review/time: 1042502500
review/text: a line that
goes on here

product/productId: B001
product/title: Tea: the "best", of all
review/userId: A4
review/score: 1.0
review/time: 1042502600
"""


@pytest.mark.parametrize("text", [BLOCKS, BLOCKS.replace("\n\n", "\n"), BLOCKS.replace("\n", "\r\n")])
def test_a_block_is_one_event(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reviews.txt"
    path.write_bytes(text.encode())
    data, report = ingest(path)
    events = data.events
    assert data.users.ids[events.user].tolist() == ["A3", "A4", "A4"]
    assert data.items.ids[events.item].tolist() == ["B001", "B002", "B001"]
    assert events.time.tolist() == [1042502400, 1042502500, 1042502600]
    assert events.rating is not None
    assert events.rating.tolist() == [5, 2, 1]
    assert "each block of lines from 'product/productId' on was read as one row" in " ".join(report.warnings)


@pytest.mark.parametrize(
    "lines",
    [
        ["ann: i1, i2", "bob: i2", "cyd: i1"],
        ["1:", "30,3", "2:", "30,4"],
        ["user,item", "a: b,c", "a: d,e"],
        ["a: 1", "b: 2"],
        ["user: 1", "item: 2", "item: 3", "user: 2", "item: 1"],
        ["ann: i1", "bob: i2", "ann: i3", "bob: i1"],
    ],
)
def test_other_lines_are_no_blocks(lines: list[str]) -> None:
    assert find_keys(lines) == []

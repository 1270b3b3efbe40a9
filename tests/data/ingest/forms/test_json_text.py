"""JSON in the forms of the field: lines, arrays, pretty objects, byte order marks, broken lines, Python literals."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest.forms import json_text
from leanrec.data.ingest.forms.json_text import find_json_layout
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import DataError

ROWS = [{"user": f"u{i % 3}", "item": f"i{i}", "ts": 1_600_000_000 + i} for i in range(20)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ('{"a": 1}\n{"a": 2}', "json"),
        ("[\n {", "json array"),
        ('{\n "a": 1\n}', "json objects"),
        ("{'a': 1}\n", "python"),
        ("{u'a': None}", "python"),
        ('{"a": "cut', "json"),
    ],
)
def test_layouts(text: str, layout: str) -> None:
    assert find_json_layout(text) == layout


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode(),
        b"\xef\xbb\xbf" + LINES.encode(),
        json.dumps(ROWS, indent=1).encode(),
        b"\xef\xbb\xbf" + json.dumps(ROWS).encode(),
        "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
        "".join(f"{row}\n" for row in ROWS).encode(),
        LINES.encode("utf-16"),
    ],
    ids=["lines", "mark", "array", "array-mark", "pretty", "python", "utf-16"],
)
def test_every_object_is_an_event(content: bytes, tmp_path: Path) -> None:
    for name, data in (("log.json", content), ("log.json.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        report = ingest(tmp_path / name).report
        assert (report.rows_read, report.events, report.rejected) == (20, 20, {})


@pytest.mark.parametrize("python", [False, True])
def test_broken_lines_are_set_aside_with_their_text(python: bool, tmp_path: Path) -> None:
    lines = [str(row) if python else json.dumps(row) for row in ROWS]
    lines[5], lines[9] = '{"user":"u1","item":', "[1, 2]"
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines) + "\n")
    _, report = ingest(path, quarantine=tmp_path / "q.csv")
    assert (report.rows_read, report.events, report.rejected) == (20, 18, {"unreadable line": 2})
    aside = pd.read_csv(tmp_path / "q.csv")
    assert aside["row"].tolist() == [6, 10]
    assert aside["line"].tolist() == ['{"user":"u1","item":', "[1, 2]"]
    assert ingest(path).report.rejected == {"unreadable line": 2}


def test_mostly_broken_lines_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(LINES.splitlines(keepends=True)[:3]) + '{"user": \n' * 9)
    with pytest.raises(DataError, match="More than half of the rows cannot be used.*no JSON object"):
        ingest(path)


def test_a_value_of_another_type_is_no_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"user": 1, "item": 2}\n' * 30_000 + '{"user": "x", "item": 3}\n')
    assert ingest(path).report.rows_read == 30_001


@pytest.mark.parametrize("indent", [None, 1])
def test_a_large_object_around_a_list_is_read_in_pieces(
    indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_text, "_MAX_LINE", 10)
    text = json.dumps({"status": "ok", "count": 20, "data": ROWS, "next": None}, indent=indent)
    (tmp_path / "log.json").write_text(text)
    data, report = ingest(tmp_path / "log.json")
    assert (len(data.events), len(data.items)) == (20, 20)
    assert any("one object around a list" in note for note in report.warnings)


def test_lines_of_objects_with_lists_are_no_wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_MAX_LINE", 10)
    lines = "".join(json.dumps({"session": i, "events": [{"item": i, "ts": 1_600_000_000}]}) + "\n" for i in range(5))
    (tmp_path / "log.json").write_text(lines)
    data, _ = ingest(tmp_path / "log.json")
    assert (len(data.events), len(data.users)) == (5, 5)


def test_texts_and_long_numbers_keep_their_characters(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    users, items = ["0000000A-AB12-4C3D-9E8F-000000000000", "0000000B-AB12-4C3D-9E8F-000000000000"], [2**64 + 7, 5]
    path.write_text("".join(json.dumps({"user": u, "item": i}) + "\n" for u, i in zip(users, items, strict=True)))
    data = ingest(path).data
    assert data.users.ids.tolist() == users
    assert sorted(data.items.ids.tolist()) == [str(2**64 + 7), "5"]
    nested = [
        {"user": 1, "events": [{"item": 10**24 + 1, "date": "2024-03-13"}, {"item": 2**60 + 1, "date": "2024-03-14"}]}
    ]
    path.write_text(json.dumps(nested))
    data = ingest(path).data
    assert data.items.ids[data.events.item].tolist() == [str(10**24 + 1), str(2**60 + 1)]
    assert np.diff(data.events.time).tolist() == [86_400]


def test_dates_with_the_day_or_the_month_first_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"user": 1, "item": i, "date": f"0{i}-04-2024"}) + "\n" for i in (3, 5)))
    with pytest.raises(DataError, match="have the day or the month first, and no value decides"):
        ingest(path)

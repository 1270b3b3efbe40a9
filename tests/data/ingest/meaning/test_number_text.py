"""Numbers with thousands separators: right amounts, or a note that says how to read them."""

import json
from pathlib import Path

import pytest

from contracts.followed_advice import list_advice
from leanrec.data.engine import open_engine
from leanrec.data.ingest.ingest import IngestResult, ingest
from leanrec.data.ingest.meaning.number_text import NumberMarks, find_marks
from leanrec.data.ingest.sources import open_parts
from leanrec.errors import SettingError
from leanrec.run import Run


def write(path: Path, values: list[str], delimiter: str = ",", header: str = "user,item,plays", more: str = "") -> Path:
    lines = [header.replace(",", delimiter)]
    for n, value in enumerate(values):
        cell = f'"{value}"' if delimiter in value else value
        lines.append(delimiter.join([f"u{n}", f"i{n % 3}", cell, *([more] if more else [])]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def weights(result: IngestResult) -> list[float]:
    order = sorted(range(len(result.data.events)), key=lambda n: str(result.data.users.ids[result.data.events.user[n]]))
    return [round(float(result.data.events.weight[n]), 4) for n in order]


def notes(result: IngestResult) -> list[str]:
    return [each for each in result.report.warnings if each.startswith("Numbers such as")]


# Values, delimiter, decimal mark (None: there are no thousands), and the numbers.
WRITTEN = [
    (["1.234", "56", "12.004"], ";", ",", [1234, 56, 12004]),
    (["1.234.567", "1.234", "999"], ";", ",", [1234567, 1234, 999]),
    (["1.234,5", "12,25", "7"], ";", ",", [1234.5, 12.25, 7]),
    (["1,234", "62", "12,004"], ",", ".", [1234, 62, 12004]),
    (["1,234.5", "62", "12.25"], ",", ".", [1234.5, 62, 12.25]),
    (["12,34,567", "1,234", "62"], "\t", ".", [1234567, 1234, 62]),
    (["1 234", "62", "12\u00a0004"], ",", ".", [1234, 62, 12004]),
    (["1\u202f234,5", "62", "3"], ";", ",", [1234.5, 62, 3]),
    (["1'234", "62", "12’004.5"], ",", ".", [1234, 62, 12004.5]),
    (["$1,234.50", "$62", "$3.25"], ",", ".", [1234.5, 62, 3.25]),
    (["1.234,50 €", "62,00 €", "3,25 €"], ";", ",", [1234.5, 62, 3.25]),
    (["-1.234", "56", "+12.004"], ";", ",", [-1234, 56, 12004]),
    (["1.230", "56", "12"], ",", ",", [1230, 56, 12]),
    (["1.5", "12.25", "3"], ";", None, []),
    (["1,5", "12,25", "3"], ";", None, []),
    (["0,125", "1,234", "3"], ";", None, []),
    (["1234", "1.234", "3"], ";", None, []),
    (["1.234", "0.5", "3"], ";", None, []),
    (["1.234", "56", "12"], ",", None, []),
    (["red", "1,234", "blue"], ",", None, []),
]


def test_marks_are_found_in_the_first_values(tmp_path: Path) -> None:
    with open_engine(Run()) as engine:
        for n, (values, delimiter, decimal, numbers) in enumerate(WRITTEN):
            part = open_parts(engine, write(tmp_path / f"{n}.csv", values, delimiter))[0]
            marks, _ = find_marks(engine, part, "plays")
            assert (marks.decimal if isinstance(marks, NumberMarks) else None) == decimal, values
            if marks is not None:
                read = engine.fetch_rows(f"SELECT {marks.read('plays')} FROM {part.scan}")
                assert [number for (number,) in read] == numbers, values


def test_a_decimal_comma_in_another_column_says_that_dots_are_thousands(tmp_path: Path) -> None:
    header = "user\titem\tplays\tscore"
    path = write(tmp_path / "x.tsv", ["1.234", "56", "7"], "\t", header, more="4,5")
    assert weights(ingest(path)) == [1234, 56, 7]


def test_numbers_in_doubt_are_told_and_the_advice_works(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ["1.234", "56", "12.004"])
    plain = ingest(path)
    assert weights(plain) == [1.234, 56, 12.004]
    advice = dict(list_advice(notes(plain)[0]))
    assert advice == {"decimal": ","}
    assert weights(ingest(path, **advice)) == [1234, 56, 12004]


def test_the_mark_that_was_found_can_be_overruled_and_holds_for_held_out_files(tmp_path: Path) -> None:
    log = ingest(write(tmp_path / "x.csv", ["1.234", "56", "12.004"], ";"))
    advice = dict(list_advice(notes(log)[0]))
    assert weights(ingest(tmp_path / "x.csv", **advice)) == [1.234, 56, 12.004]
    later = write(tmp_path / "y.csv", ["3.005", "4.006"], ";")
    assert weights(ingest(later, like=log.data)) == [3005, 4006]


def test_units_orders_and_texts_of_json_are_read_alike(tmp_path: Path) -> None:
    rows = [{"user": "a", "item": "x", "plays": text} for text in ("12,004", "7", "1,234")]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert sorted(weights(ingest(tmp_path / "x.jsonl"))) == [7, 1234, 12004]
    orders = write(tmp_path / "y.csv", ["1.002", "7", "1.001"], ";", "user,item,seq")
    assert sorted(ingest(orders).data.events.time.tolist()) == [7, 1001, 1002]
    units = write(tmp_path / "z.csv", ["1.002", "-7", "30"], ";", "user,item,quantity")
    assert ingest(units).report.event_types.keys() == {"interaction", "return"}


def test_a_value_that_does_not_fit_the_marks_is_rejected(tmp_path: Path) -> None:
    result = ingest(write(tmp_path / "x.csv", ["1.234", "5", "6", "7", "8", "9"] * 180 + ["1.5"], ";"))
    assert result.report.rejected == {"weight is not a finite number": 1}


def test_a_first_mark_after_many_whole_numbers_is_no_fraction(tmp_path: Path) -> None:
    result = ingest(write(tmp_path / "x.csv", [str(n % 9 + 1) for n in range(1100)] + ["1.234", "2.5"], ";"))
    assert result.report.rejected == {"weight is not a finite number": 1}
    assert 2.5 in weights(result)


def test_ratings_have_no_thousands(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ["4", "3.667", "2.333"], ";", "user,item,rating")
    events = ingest(path).data.events
    assert events.rating is not None
    assert sorted(events.rating.round(3).tolist()) == pytest.approx([2.333, 3.667, 4])


def test_a_wrong_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="decimal must be"):
        ingest(write(tmp_path / "x.csv", ["1", "2"]), decimal=";")

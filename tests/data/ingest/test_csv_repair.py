"""Damaged text: one stray quotation mark, mixed line ends, another encoding. What can be read is; the rest is counted."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.data.ingest import csv_repair
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import DataError, SourceError

HEAD = "user,item,title\n"


def rows(n: int) -> list[str]:
    return [f"u{i},i{i % 7},t\n" for i in range(n)]


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def packed_by_gzip(path: Path) -> Path:
    out = path.with_name("x.csv.gz")
    out.write_bytes(gzip.compress(path.read_bytes()))
    return out


def packed_by_zstd(path: Path) -> Path:
    # The lines pass through DuckDB as Latin-1, so that every byte of them arrives.
    out = path.with_name("x.csv.zst")
    lines = "read_csv('{}', auto_detect = false, header = false, quote = '', escape = '', delim = '\x01', encoding = 'latin-1', strict_mode = false, columns = {{'line': 'VARCHAR'}})"
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT * FROM {lines.format(path)}) TO '{out}' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIM '\x01', COMPRESSION zstd)"
        )
    return out


@pytest.mark.parametrize("pack", [lambda path: path, packed_by_gzip, packed_by_zstd], ids=["plain", "gz", "zst"])
def test_an_unclosed_quote_costs_its_line_only(pack: Callable[[Path], Path], tmp_path: Path) -> None:
    lines = rows(30_000)
    lines[10_000] = 'u1,i3,"title broken\n'
    path = pack(write(tmp_path / "x.csv", HEAD + "".join(lines)))
    data, report = ingest(path, quarantine=tmp_path / "q.csv")
    assert (report.rows_read, report.events, report.rejected) == (30_000, 29_999, {"unreadable line": 1})
    assert len(data.users) == 29_999
    aside = pd.read_csv(tmp_path / "q.csv")
    assert aside["file"].tolist() == [str(path)]
    assert aside["row"].tolist() == [10_002]
    assert aside["line"].tolist() == ['u1,i3,"title broken']
    assert report.warnings[0] == (
        f"{path}: 1 line has unpaired quotation marks (the first is line 10,002) and was rejected; "
        "the lines around were read one by one."
    )


def test_a_file_of_three_rows_with_an_unclosed_quote(tmp_path: Path) -> None:
    data, report = ingest(write(tmp_path / "x.csv", HEAD + 'u1,i1,a\nu1,i3,"title broken\nu2,i2,b\n'))
    assert (report.rows_read, report.events) == (3, 2)
    assert data.items.ids.tolist() == ["i1", "i2"]


def test_the_reason_is_reported_where_no_line_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", HEAD + 'u1,i1,"a\n')
    with pytest.raises(DataError) as caught:
        ingest(path)
    assert str(caught.value) == (
        f"No event is left of the 1 rows of {path}. Rejected: unreadable line: 1. {path}: 1 line has unpaired quotation "
        "marks (the first is line 2) and was rejected; the lines around were read one by one. Check how the lines were "
        "written: quarantine=FILE lists each of them."
    )


def test_records_that_a_quote_swallowed_are_found_where_nothing_complains(tmp_path: Path) -> None:
    lines = rows(2_000)
    lines[500] = 'u1,i3,"title broken\n'
    lines[900] = 'u1,i3,broken again"\n'
    data, report = ingest(write(tmp_path / "x.csv", HEAD + "".join(lines)))
    assert (report.rows_read, report.events) == (2_000, 1_999)
    assert data.item_table is not None
    assert report.rejected == {"unreadable line": 1}


def test_text_of_several_lines_stays_one_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a clean file is not repaired")

    path = write(tmp_path / "x.csv", HEAD + 'u1,i1,"a\nlong, very long\ntext\n\nof, some, lines"\nu2,i2,"b ""c"""\n')
    monkeypatch.setattr(csv_repair, "_write_repaired", never)
    data, report = ingest(path)
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["a\nlong, very long\ntext\n\nof, some, lines", 'b "c"']
    assert (report.rows_read, report.rejected) == (2, {})


def test_good_text_of_several_lines_survives_the_repair_of_its_neighbors(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.csv", HEAD + 'u0,i0,"one\ntwo, ""three""\n"\nu1,i1,"broken\nu2,i2,"good"\nu3,i3,5" disk\n'
    )
    data, report = ingest(path)
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ['one\ntwo, "three"\n', "good", '5" disk']
    assert report.rejected == {"unreadable line": 1}


def test_a_record_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_repair, "_MAX_RECORD_LINES", 20)
    lines = rows(100)
    lines[10] = 'u10,i3,"broken\n'
    lines[80] = 'u80,i3,x"\n'
    report = ingest(write(tmp_path / "x.csv", HEAD + "".join(lines))).report
    assert (report.events, report.rejected) == (99, {"unreadable line": 1})


@pytest.mark.parametrize(
    "text",
    [
        b"user,item,title\r\nu1,i1,a\r\nu2,i2,b\nu3,i3,c\r\n",
        b"user,item,title\r\nu1,i1,a\r\n\nu2,i2,b\r\nu3,i3,c\r\n",
        b"user,item,title\nu1,i1,a\nu2,i2,b\r\nu3,i3,c",
        b"\xef\xbb\xbfuser,item,title\nu1,i1,a\n\r\nu2,i2,b\nu3,i3,c\r\n",
    ],
    ids=["one-lf", "blank-lf", "one-crlf", "mark-of-order"],
)
def test_line_ends_may_be_mixed(text: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", text)
    data, report = ingest(path)
    assert data.users.ids.tolist() == ["u1", "u2", "u3"]
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["a", "b", "c"]
    assert (report.rows_read, report.rejected) == (3, {})
    assert f"{path}: it has several kinds of line ends; each ends a line." in report.warnings


def test_files_with_line_ends_of_their_own_are_read_beside_one_that_mixes_them(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", b"user,item\nu1,i1\nu2,i2\r\n")
    second = write(tmp_path / "b.csv", b'user,item\r\nu3,i3\r\nu4,"i4\r\n')
    data, report = ingest([first, second])
    assert data.users.ids.tolist() == ["u1", "u2", "u3"]
    assert (report.rows_read, report.rejected) == (4, {"unreadable line": 1})


def test_a_file_in_windows_1252_is_read_as_such_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", (HEAD + "u1,i1,caf\xe9\nu2,\xfc,b \x80\n").encode("latin-1"))
    data, report = ingest(path)
    assert data.items.ids.tolist() == ["i1", "ü"]
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["café", "b €"]
    assert (report.rows_read, report.events, report.rejected) == (2, 2, {})
    assert report.warnings[0].startswith(
        f"{path}: 2 lines were read as Windows-1252 (Latin-1) because the file is not UTF-8, such as 'café' (the first is line 2)."
    )


def test_one_foreign_line_of_a_utf8_file_is_set_aside_once(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", (HEAD + "u1,i1,ü\n").encode() + "u2,i2,caf\xe9\n".encode("latin-1"))
    _, report = ingest(path, quarantine=tmp_path / "q.csv")
    assert (report.rows_read, report.events, report.rejected) == (2, 1, {"line is not UTF-8 text": 1})
    assert "(the first is line 3; as Windows-1252 it has 'café')" in report.warnings[0]
    assert pd.read_csv(tmp_path / "q.csv")["reason"].tolist() == ["line is not UTF-8 text"]


def test_names_that_are_no_utf8_say_how_to_convert_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item,catégorie\n1,2,x\n".encode("latin-1"))
    with pytest.raises(SourceError, match="reads 'user,item,catégorie'. If that is right, pass encoding='cp1252'"):
        ingest(path)


def test_unreadable_lines_of_a_table_are_counted(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", 'item,title,year\ni1,"a,1990\ni2,b,1991\ni3\ni2,c,1992\n')
    data, report = ingest(write(tmp_path / "x.csv", "user,item\nu1,i1\nu1,i2\n"), items=items)
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["", "b"]
    assert report.rejected_in_tables == {
        "item table: unreadable line": 2,
        "item table: repeated id (the first row was kept)": 1,
    }
    assert any(each.startswith(f"{items}: 1 line has unpaired quotation marks") for each in report.warnings)


def test_quotes_may_be_escaped_by_a_backslash(tmp_path: Path) -> None:
    lines = [f'"u{i}";"i{i}";"title {i}"\n' for i in range(3000)]
    lines[2000] = '"u2000";"i2000";"the \\"best\\"; of"\n'
    data, report = ingest(write(tmp_path / "x.csv", '"user";"item";"title"\n' + "".join(lines)))
    assert report.rejected == {}
    assert data.item_table is not None
    assert 'the "best"; of' in data.item_table.columns["title"].tolist()


def test_mostly_unreadable_lines_say_what_was_expected_and_what_came(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "user,item\n" + "u1;i1;5\n" * 30 + "u1,i1\n" * 20)
    wanted = "a line must have 2 fields with ',' between them; 30 lines have others. Line 2 has 1: 'u1;i1;5'. Pass delimiter=\";\""
    with pytest.raises(DataError, match=f"More than half of the rows.*{wanted}"):
        ingest(path, delimiter=",")
    assert ingest(path, delimiter=",", allow_rejects=True).report.rejected["unreadable line"] == 30
    log = write(tmp_path / "log.csv", "user,item\nu1,i1\n")
    with pytest.raises(
        SourceError, match="More than half of the lines of the item table cannot be read: 30 of the 50 lines"
    ):
        ingest(log, items=path, columns={"items.id": "item"}, delimiter=",")


CELLS = st.text(st.sampled_from('ab,"\n ü'), max_size=4).map(lambda text: text.strip())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=15), st.integers(0, 15))
def test_mended_text_holds_what_a_plain_reader_finds(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], at: int
) -> None:
    """A broken line among good ones of any content: the others come out as they went in."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    good = [(f"u{i}", f"{first}", f"{second}") for i, (first, second) in enumerate(cells)]
    records = []
    for row in good:
        out.seek(0)
        out.truncate()
        writer.writerow(row)
        records.append(out.getvalue())
    # Misplaced, not unclosed: what follows an opening mark may close it, so that the end is ambiguous.
    records.insert(min(at, len(records)), 'u,x"y,"z"z\n')
    path = write(tmp_path_factory.mktemp("repair") / "x.csv", "user,first,second\n" + "".join(records))
    data, report = ingest(path, columns={"user": "user", "item": "user", "content": "first,second"})
    assert report.rejected == {"unreadable line": 1}
    assert data.item_table is not None
    found = zip(
        data.items.ids.tolist(), *(data.item_table.columns[name].tolist() for name in ("first", "second")), strict=True
    )
    assert sorted((user, str(a), str(b)) for user, a, b in found) == sorted(good)

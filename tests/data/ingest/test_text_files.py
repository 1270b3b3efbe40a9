"""Text in other encodings."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest import text_files
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import ColumnError, SettingError, SourceError

LOG = "user,item,title\nu1,i1,café\nu2,ü,naïve\nu3,i1,café\n"
CHINESE = "user,item,title\n张三,书一,红楼梦\n李四,书二,西游记\n"


def write(path: Path, text: str, encoding: str) -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def titles(source: Any, **options: Any) -> list[str]:
    table = ingest(source, **options).data.item_table
    assert table is not None
    return sorted(table.columns["title"].tolist())


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("latin-1", LOG, ["café", "naïve"]),
        ("utf-16", LOG, ["café", "naïve"]),
        ("gbk", CHINESE, ["红楼梦", "西游记"]),
        ("utf-8-sig", CHINESE, ["红楼梦", "西游记"]),
    ],
)
def test_a_named_encoding_is_read(tmp_path: Path, encoding: str, text: str, expected: list[str]) -> None:
    assert titles(write(tmp_path / "log.csv", text, encoding), encoding=encoding) == expected


def test_blocks_may_end_inside_a_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "_BLOCK", 7)
    assert titles(write(tmp_path / "log.csv", CHINESE, "gbk"), encoding="gbk") == ["红楼梦", "西游记"]


def test_packed_files_json_tables_and_several_files_are_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(LOG.encode("cp1252")))
    assert titles(packed, encoding="cp1252") == ["café", "naïve"]
    lines = write(tmp_path / "log.jsonl", '{"user": "a", "item": "x", "title": "café"}\n', "cp1252")
    assert titles(lines, encoding="cp1252") == ["café"]
    bare = write(tmp_path / "bare.csv", "user,item\na,x\nb,ü\n", "cp1252")
    table = write(tmp_path / "items.csv", "item,title\nx,café\nü,naïve\n", "cp1252")
    assert titles(bare, items=table, encoding="cp1252") == ["café", "naïve"]
    (tmp_path / "two").mkdir()
    parts = [write(tmp_path / "two" / f"{i}.csv", LOG, "cp1252") for i in range(2)]
    assert ingest(parts, encoding="cp1252").data.shape.users == 3


def test_parquet_has_no_encoding(tmp_path: Path) -> None:
    from leanrec.data.datasets.bundled import sample_path

    file = sample_path("ml-latest-small") / "ratings.parquet"
    assert ingest(file, encoding="gbk").data.shape.events == ingest(file).data.shape.events


def test_a_wrong_encoding_names_file_line_and_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "log.csv", LOG, "latin-1")
    wanted = rf"{path}, line 2: byte 0xe9 is not valid in utf-8\. Pass the encoding of the file as encoding=NAME"
    with pytest.raises(SourceError, match=wanted):
        ingest(path, encoding="utf-8")
    monkeypatch.setattr(text_files, "_BLOCK", 5)
    with pytest.raises(SourceError, match=wanted):
        ingest(path, encoding="utf-8")


def test_without_a_name_the_message_names_the_option(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", LOG, "latin-1")
    assert "(the first is line 2). If that is wrong, pass encoding=NAME" in ingest(path).report.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_letters_need_no_name(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "wide.csv", LOG, encoding)
    assert titles(path) == ["café", "naïve"]
    assert any("was read as UTF-" in each for each in ingest(path).report.warnings)


DELIMITED = {
    "::": "1::10::4::1600000000\n1::11::5::1600000001\n2::10::3::1600000002\n",
    "blanks": "1 10 4 1600000000\n 1  11  5 1600000001\n2 10\t3 1600000002\n",
    "::::::": "1::::::10::::::4::::::1600000000\n1::::::11::::::5::::::1600000001\n2::::::10::::::3::::::1600000002\n",
    "|": "1|10|4|1600000000\n1|11|5|1600000001\n2|10|3|1600000002\n",
    "\x01": "1\x0110\x014\x011600000000\n1\x0111\x015\x011600000001\n2\x0110\x013\x011600000002\n",
}


@pytest.mark.parametrize("delimiter", DELIMITED)
def test_files_without_names_are_read_by_number_and_by_name(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "log.dat", DELIMITED[delimiter], "utf-8")
    given = None if delimiter == "blanks" else delimiter
    with pytest.raises(ColumnError, match=r'no names in its first line.*columns=\{"user": "1", "item": "2"\}'):
        ingest(path, delimiter=given)
    for options in (
        {"columns": {"user": "1", "item": "2", "rating": "3", "time": "4"}},
        {"names": "user,item,rating,time"},
        {"names": ["user", "item", "rating", "time"], "delimiter": given},
    ):
        data = ingest(path, **options).data
        assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([1, 2], [10, 11])
        assert sorted(data.events.rating.tolist()) == [3, 4, 5]


def test_names_of_a_table_are_given_beside_those_of_the_log(tmp_path: Path) -> None:
    path = write(tmp_path / "u.data", "1\t1\t5\n1\t2\t3\n", "utf-8")
    items = write(tmp_path / "u.item", "1|Toy Story (1995)|x\n2|Heat (1995)|y\n", "utf-8")
    options: dict[str, Any] = {"names": "user,item,rating", "items": items}
    assert titles(path, item_names="item,title", **options) == ["Heat (1995)", "Toy Story (1995)"]
    table = ingest(path, columns={"items.id": "1"}, **options).data.item_table
    assert table is not None
    assert table.columns["2"].tolist() == ["Toy Story (1995)", "Heat (1995)"]
    with pytest.raises(ColumnError, match=r'columns=\{"items.id": "1"\}.*item_names="item,title"'):
        ingest(path, **options)
    with pytest.raises(SettingError, match="names must have one name for each column, at most 3"):
        ingest(path, names="user,item,rating,time")
    with pytest.raises(SettingError, match="names needs delimited text"):
        ingest(pd.DataFrame({"user": [1], "item": [1]}), names="user,item")


def test_a_header_is_seen_under_numbers_and_names(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "userId,movieId,rating\n1,10,4\n2,11,5\n", "utf-8")
    data, report = ingest(path, columns={"user": "1", "item": "2"})
    assert data.users.ids.tolist() == [1, 2]
    assert any("the first line has names (userId, movieId, rating)" in each for each in report.warnings)
    assert ingest(path, names="item,user,rating").data.users.ids.tolist() == [10, 11]


def test_an_index_without_a_name_is_ignored_and_told(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "title": ["p", "q"]})
    frame.to_csv(tmp_path / "log.csv")
    data, report = ingest(tmp_path / "log.csv")
    assert data.item_table is not None
    assert list(data.item_table.columns) == ["title"]
    assert any("the first column has no name and counts the rows; it was ignored" in each for each in report.warnings)
    # As R writes it: no name at all.
    path = write(tmp_path / "r.txt", '"user" "item" "title"\n"1" "a" "x" "p"\n"2" "b" "y" "q"\n', "utf-8")
    assert titles(path, delimiter=",") == titles(path) == ["p", "q"]
    filtered = frame.iloc[1:]
    filtered.to_parquet(tmp_path / "log.parquet")
    assert ingest(tmp_path / "log.parquet").data.users.ids.tolist() == ["b"]


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("% bip posweighted\n% 3 2 3\n1 10 3 881250949\n2 11 4 881250950\n1 12 3 881250951\n", [1, 2]),
        ("# A network\n# user\titem\n1\t2\n1\t3\n2\t3\n", [1, 2]),
        ("#user,item\na,x\nb,y\n", ["a", "b"]),
        ("# written by a program\nuser,item\na,x\nb,y\n", ["a", "b"]),
        ("#cats,x\n#dogs,y\n", ["#cats", "#dogs"]),
        ("#cats,x\nbirds,y\n#dogs,y\n", ["#cats", "birds", "#dogs"]),
    ],
)
def test_comments_before_the_first_line_are_no_rows(tmp_path: Path, text: str, users: list[Any]) -> None:
    path = write(tmp_path / "log.txt", text, "utf-8")
    assert sorted(ingest(path, columns={"user": "1", "item": "2"}).data.users.ids.tolist()) == sorted(users)


def test_quotes_in_tabbed_text_are_letters(tmp_path: Path) -> None:
    lines = [f"u{i % 5}\t{name}\t{i}" for i, name in enumerate(['"weird al" yankovic', "die Ärzte", 'say "x"'] * 10)]
    path = write(tmp_path / "plays.tsv", "\n".join(lines) + "\n", "utf-8")
    data = ingest(path, columns={"user": "1", "item": "2", "weight": "3"}).data
    assert sorted(data.items.ids.tolist()) == ['"weird al" yankovic', "die Ärzte", 'say "x"']
    # A mark far below the first lines.
    late = [f"u{i}\tartist {i % 7}\t1" for i in range(9000)]
    late[5000], late[5001] = 'u1\t"weird al" yankovic\t1', 'u2\t"open\t1'
    path = write(tmp_path / "late.tsv", "\n".join(late) + "\n", "utf-8")
    data, report = ingest(path, columns={"user": "1", "item": "2", "weight": "3"})
    assert report.rejected == {}
    assert {'"weird al" yankovic', '"open'} <= set(data.items.ids.tolist())


@pytest.mark.parametrize("name", ["klingon", "base64", ""])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match=r"encoding must be a text encoding of Python, such as cp1252"):
        ingest(write(tmp_path / "log.csv", LOG, "utf-8"), encoding=name)


def test_what_cannot_be_unpacked_here_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(SourceError, match="Unpack the .zst file first"):
        ingest(path, encoding="gbk")


def test_a_word_among_the_cells_is_no_line_of_names_beside_given_names(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("Ann,Jos\u00e9,click\nBob,Zo\u00eb,purchase\n", encoding="utf-8")
    assert ingest(path, names="user,item,event").data.users.ids.tolist() == ["Ann", "Bob"]
    path.write_text("user_id,item,event\nAnn,x,click\n")
    assert ingest(path, names="user,item,event").data.users.ids.tolist() == ["Ann"]


@pytest.mark.parametrize("line", ["sep=;", "SEP=;"])
def test_the_separator_line_of_excel_is_no_record(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{line}\r\nuser;item;rating\r\nu1;i1;2,5\r\nu2;i2;4\r\n".encode())
    data = ingest(path).data
    assert data.users.ids.tolist() == ["u1", "u2"]
    assert data.events.rating is not None
    assert sorted(data.events.rating.tolist()) == [2.5, 4.0]


ROWS = "1;7;2024-01-01\n2;8;2024-01-02\n\n3;7;2024-01-03\n3;8;2024-01-04\n3;9;2024-01-04\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("above", "told"),
    [
        (
            "Report: sales\n\nGenerated 2024-02-01\nCustomer ID;Product ID;Order Date\n",
            "3 lines before the table were skipped",
        ),
        ("Report;;\n;;\nCustomer ID;Product ID;Order Date\n", "2 lines before the table were skipped"),
        ("# user;item;day\n", "1 line before the table was skipped"),
        ("@relation r\n@attribute user string\n@attribute item string\n@attribute day date\n@data\n", "5 lines"),
    ],
)
def test_lines_before_the_table_are_skipped_and_told(tmp_path: Path, above: str, told: str, end: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes((above + ROWS).replace("\n", end).encode())
    data, report = ingest(path)
    assert list(zip(data.users.ids[data.events.user].tolist(), data.items.ids[data.events.item].tolist(), strict=True)) == [
        (1, 7), (2, 8), (3, 7), (3, 8), (3, 9),
    ]  # fmt: skip
    assert told in " ".join(report.warnings)
    # A quotation mark that is not closed makes the file be read line by line.
    path.write_bytes((above + ROWS + '4;"x;2024-01-03\n').replace("\n", end).encode())
    data, report = ingest(path)
    assert data.users.ids.tolist() == [1, 2, 3]
    assert report.rejected == {"unreadable line": 1}


QUOTED = [
    "user,item,rating\n'u1','a, b',5\n'u2','it''s',4\n",
    "user,item,rating\n'u1','a, b','5'\n'u2','it\\'s','4'\n",
    '"user", "item", "rating"\n"u1", "a, b", 5\n"u2", "it\'s", 4\n',
    '"user", "item", "rating"\n"u1","a, b",5\n"u2","it\'s",4\n',
    '"user,item,rating"\n"u1,""a, b"",5"\n"u2,it\'s,4"\n',
    'user,item,rating\n"u1,""a, b"",5"\n"u2,it\'s,4"\n',
    'user\titem\trating\nu1\t"a, b"\t5\nu2\t"it\'s"\t4\n',
    'user,item,rating\n="u1","a, b",5\n="u2","it\'s",4\n',
    "user,item,rating\nu1,a\\, b,5\nu2,it's,4\n",
    '"user,item,rating"\n"u1,""a, b"",5";\n"u2,it\'s,4";\n',
]


@pytest.mark.parametrize("text", QUOTED)
def test_marks_around_fields_and_lines_are_no_letters(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    data, report = ingest(path)
    assert data.users.ids.tolist() == ["u1", "u2"]
    assert data.items.ids[data.events.item].tolist() == ["a, b", "it's"]
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [5.0, 4.0]
    assert report.rejected == {}


def test_a_single_mark_that_is_not_closed_costs_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = [f"'u{i}','a, {i}'" for i in range(200)]
    rows[150] = "'u150','open"
    path.write_text("user,item\n" + "\n".join(rows) + "\n")
    data, report = ingest(path)
    assert len(data.users.ids) == 199
    assert report.rejected == {"unreadable line": 1}


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("“user”,“item”,“title”\n“u1”,“i1”,“Mug, red”\n“u2”,“i2”,“Pot”\n", "curly quotation marks around fields were taken off"),
        ("user;item;title\n„u1“;„i1“;„Mug, red“\nu2;„i2“;„Pot“\n", "curly quotation marks around fields were taken off"),
        ('May,all,2024\nuser,item,title\nu1,i1,"Mug, red"\nu2,i2,Pot\n', "1 line before the table was skipped, the first is 'May,all,2024'"),
        ('customer,,product,\n\nid,name,id,title\nu1,A,i1,"Mug, red"\nu2,B,i2,Pot\n', "were joined: customer id, customer name, product id, product title"),
    ],
)  # fmt: skip
def test_marks_and_lines_of_other_programs_are_no_data(tmp_path: Path, text: str, note: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    data, report = ingest(path, columns={"content": "4" if "customer" in text else "title"})
    assert data.users.ids.tolist() == ["u1", "u2"]
    assert data.items.ids.tolist() == ["i1", "i2"]
    assert data.item_table is not None
    assert [table.tolist() for table in data.item_table.columns.values()] == [["Mug, red", "Pot"]]
    assert any(note in each for each in report.warnings)


def test_apostrophes_of_spreadsheets_are_taken_off_numbers_and_times(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\n'007,x,'2023-05-11\n'008,y,'2023-05-12\n")
    data, report = ingest(path)
    assert data.users.ids.tolist() == ["007", "008"]
    assert np.diff(data.events.time).tolist() == [86_400]
    assert any("apostrophes of spreadsheets before numbers were taken off" in each for each in report.warnings)


def test_escapes_of_databases_between_tabs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.tsv"
    texts = [r"a\tb", r"two\nlines", r"c:\\d", 'say "hi", all', r"\N", "one\\\ttab"]
    path.write_text("".join(f"u{i}\ti\\\\{i}\t{text}\n" for i, text in enumerate(texts)))
    data, report = ingest(path, names="user,item,title")
    assert data.items.ids.tolist() == [f"i\\{i}" for i in range(6)]
    assert data.item_table is not None
    assert data.item_table.columns["title"].tolist() == ["a\tb", "two\nlines", "c:\\d", 'say "hi", all', "", "one\ttab"]
    assert any("escapes of a database" in each for each in report.warnings)


@pytest.mark.parametrize("text", [r"C:\new\temp", r"\d+\n", r"tex \alpha"])
def test_other_backslashes_between_tabs_are_letters(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log.tsv"
    path.write_text("".join(f"u{i}\ti{i}\t{text}\n" for i in range(4)))
    data = ingest(path, names="user,item,title").data
    assert data.item_table is not None
    assert set(data.item_table.columns["title"]) == {text}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("block", [1, 5, 1_000_000])
def test_line_ends_inside_texts_of_mysql_end_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, packed: bool
) -> None:
    monkeypatch.setattr(text_files, "_BLOCK", block)
    rows = ["u1\ti1\tone\\\ntwo", "u2\ti2\ta\\\\", "u3\ti3\ttab\\\tin", "u4\ti4\tone\\\n\\\nthree"]
    text = ("user\titem\ttitle\n" + "\n".join(rows) + "\n").encode()
    path = tmp_path / ("log.txt.gz" if packed else "log.txt")
    path.write_bytes(gzip.compress(text) if packed else text)
    data, report = ingest(path, columns={"content": "title"})
    assert (report.rows_read, data.users.ids.tolist()) == (4, ["u1", "u2", "u3", "u4"])
    assert data.item_table is not None
    assert sorted(data.item_table.columns["title"].tolist()) == sorted(["one\ntwo", "one\n\nthree", "a\\", "tab\tin"])
    assert any("joined with the next one, and escapes of a database" in note for note in report.warnings)


@pytest.mark.parametrize(
    "form",
    [
        "({u},{i},{r})\n",
        "('u{u}', 'i{i}', {r}),\n",
        "Rating({u},{i},{r}.0)\n",
        "[{u}, {i}, {r}]\n",
        '["u{u}", "i{i}", {r}]\n',
    ],
)
def test_brackets_around_lines_are_taken_off(tmp_path: Path, form: str) -> None:
    path = tmp_path / "log.jsonl" if '"' in form else tmp_path / "log.txt"
    path.write_text("".join(form.format(u=7 + k % 2, i=12 + k, r=1 + k) for k in range(4)))
    data, report = ingest(path, names="user,item,rating")
    assert [str(each).lstrip("u") for each in data.users.ids.tolist()] == ["7", "8"]
    assert sorted(str(each).lstrip("i") for each in data.items.ids.tolist()) == ["12", "13", "14", "15"]
    assert data.events.rating is not None
    assert sorted(data.events.rating.tolist()) == [1, 2, 3, 4]
    assert any("brackets around each line were taken off" in each for each in report.warnings)


def test_rows_of_spark_have_names(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"Row(user='u{k % 2}', item='i{k}', rating={1 + k})\n" for k in range(4)))
    events = ingest(path).data.events
    assert events.rating is not None
    assert sorted(events.rating.tolist()) == [1, 2, 3, 4]

"""The delimiter by agreement over many lines."""

import re

import pytest

from leanrec.data.ingest.forms.delimiters import (
    BLANKS,
    count_comments,
    count_titles,
    find_escaped,
    find_joint,
    find_layout,
    find_text_marks,
    has_copy_escapes,
    has_quoted_lines,
    split_records,
)


@pytest.mark.parametrize(
    ("lines", "delimiter", "columns"),
    [
        (["a,b", "1,2"], ",", 2),
        (["1::2::3"] * 4, "::", 3),
        (["1::https://a.org/?q=b,c::4", "2::https://a.org/?q=d,e::5"], "::", 3),
        (["1\t\t3\t\t-4.25", "2\t\t6\t\t-3.5"], "\t\t", 3),
        (["u\t\tweird al\t1", "v\tx\tac/dc\t2"], "\t", 4),
        (["1 10 4.5", "2  11   3"], BLANKS, 3),
        (["1\x012\x013", "4\x015\x016"], "\x01", 3),
        (["1|~|2|~|3", "4|~|5|~|6"], "|~|", 3),
        # Commas in the first line, or blanks inside times, agree on fewer lines.
        (["u\t1\tcrosby, stills, nash, young", *["u\t1\tx"] * 9], "\t", 3),
        (["u,i,2020-01-01 10:00:00"] * 9 + ["u,i"], ",", 3),
        (["u,i,Thu Aug 17 15:00:00 -0700 2017"] * 3, ",", 3),
        (["a;x;4,5", "a;y;3", "a;z;1,125"], ";", 3),
        # The same number of commas inside the quotation marks of every line.
        (['"u","i","Jan 5, 2020"', '"v","j","Feb 6, 2020"'], ",", 3),
        (['"Smith, J";"a; b"', '"Lee, A";"c; d"'], ";", 2),
        (["u\thttps://a.b/c,d", "v\thttps://a.b/c,e"], "\t", 2),
    ],
)
def test_the_delimiter_agrees_over_many_lines(lines: list[str], delimiter: str, columns: int) -> None:
    layout = find_layout(lines)
    assert (layout.delimiter, layout.columns) == (delimiter, columns)


def test_a_name_and_a_given_delimiter_decide_what_the_lines_leave_open() -> None:
    lines = ["a b,c\td", "e f,g\th"]
    assert find_layout(lines).delimiter == "\t"
    assert find_layout(["a,b\tc,d"] * 2, ".tsv").columns == 2
    assert find_layout(lines, given=",").columns == 2


def test_quotes_are_letters_where_they_do_not_pair_up() -> None:
    assert find_layout(['u\t"weird al" yankovic\t1', "v\tx\t2"]).quote == ""
    assert find_layout(['u\t"a ""b"""\t1', 'v\t"x"\t2']).quote == '"'
    assert find_layout(['u,"weird" al,1', "v,x,2"]).quote == '"'
    assert find_layout(['1::"Heat" (1995)::x'] * 3).quote == ""


def test_quoted_fields_may_have_delimiters_and_line_ends() -> None:
    lines = ['a,"x, y",1', 'b,"two', 'lines, here",2']
    layout = find_layout(lines)
    assert layout.columns == 3
    assert split_records(lines, layout) == [["a", "x, y", "1"], ["b", "two\nlines, here", "2"]]


TABLE = ["Customer ID,Product ID,Order Date", "1,7,2024-01-01", "2,8,2024-01-02", "3,7,2024-01-03"]


@pytest.mark.parametrize(
    ("above", "titles"),
    [
        ([], 0),
        (["Sales report"], 1),
        (["Sales report", "Period: 2024-01", ""], 3),
        (["Sales report,,", ",,"], 2),
        (['"Report, of shops"', "", "Generated 2024-02-01 10:00"], 3),
        (["# Report", "# of shops", ""], 0),  # these are comments, which are counted before
    ],
)
def test_titles_have_fewer_fields_than_the_table(above: list[str], titles: int) -> None:
    comments = count_comments([*above, *TABLE])
    assert comments == (3 if above[:1] == ["# Report"] else 0)
    assert count_titles([*above, *TABLE][comments:]) == titles


@pytest.mark.parametrize(
    "lines",
    [
        ["user,item,", *["1,2,"] * 5],
        ["rating user", *["1 5 7"] * 5],  # R: the names of the rows have none
        ["", "user,item", "1,2", "1,3"],
        ["ann x y z", "bob x", "cyd y z", "dan x y"],
        ["user", "1", "2"],
        ["user,items", *["1,2"] * 3],
    ],
)
def test_tables_without_titles_have_none(lines: list[str]) -> None:
    assert count_titles(lines) == 0


def test_comments_may_come_again_and_ids_may_begin_with_a_mark() -> None:
    comments = ["#Software: X", "#Fields: user item"]
    assert count_comments([*comments, "1 2", *comments, "3 4"]) == 2
    assert count_comments(["#ann 2", "cyd 4", "#bob 3"]) == 0


@pytest.mark.parametrize(
    ("lines", "delimiter", "quote", "record"),
    [
        (["a,b,c", "'u1','x, y','5'", "'u2','it''s','4'"], ",", "'", ["u1", "x, y", "5"]),
        (["a;b;c", "'u1';7;'it\\'s; so'", "'u2';8;'y'"], ";", "'", ["u1", "7", "it's; so"]),
        (['"a", "b"', '"u1", "x, y"', '"u2", "z"'], ", ", '"', ["u1", "x, y"]),
        (["a,b,c", 'u1,"say \\"x, y\\", z",1', 'u2,"\\"t\\"",2'], ",", '"', ["u1", 'say "x, y", z', "1"]),
        (['u0,"\\"x, y\\", z"', 'u1,"say \\"x, y\\", z"'], ",", '"', ["u1", 'say "x, y", z']),
        (['"u0","C:\\","x"', '"u1","D:\\","y"'], ",", '"', ["u1", "D:\\", "y"]),
        (['u0,"{""i"": ""x"", ""r"": 0}"', 'u1,"{""i"": ""y"", ""r"": 1}"'], ",", '"', ["u1", '{"i": "y", "r": 1}']),
        (["a,b", "u1,'Til dawn", "u2,'Allo 'Allo!"], ",", '"', ["u1", "'Til dawn"]),
        (["a,b", '"u1","\'x\'"', '"u2","\'y\'"'], ",", '"', ["u1", "'x'"]),
    ],
)
def test_marks_around_fields_are_found(lines: list[str], delimiter: str, quote: str, record: list[str]) -> None:
    layout = find_layout(lines)
    assert (layout.delimiter, layout.quote, layout.columns, layout.share) == (delimiter, quote, len(record), 1.0)
    assert split_records(lines, layout)[1] == record


def test_lines_in_marks_are_told_from_fields_in_marks() -> None:
    assert has_quoted_lines(['"user,item"', '"u1,i1"', '"u2,i2"'])
    assert has_quoted_lines(["user,item,title", '"u1,i1,""a, b"""', '"u2,i2,x"'])
    assert not has_quoted_lines(['"user","item"', '"u1","i1"'])
    assert not has_quoted_lines(["titles", '"Heat, 2"', '"Alien"'])
    assert not has_quoted_lines(["user,item"])


@pytest.mark.parametrize(
    ("lines", "mark"),
    [
        (["a,b,c", "1,x\\, y,2", "2,z\\, w,3"], ","),
        (["1\tx\\\ty\t2", "2\tz\t3", "3\tz\t3"], "\t"),
        (["1\tx\\\ty\t2", "2\tz\\\tw\t3"], "\t"),
        (["a,b", "C:\\,1", "D:\\,2"], ""),
        (["a,b,c", "1,x,2"], ""),
        (["a,b,c", '1,"x\\",2', "2,y,3"], ""),
    ],
)
def test_a_delimiter_behind_a_backslash_is_a_letter(lines: list[str], mark: str) -> None:
    assert find_escaped(lines) == mark


@pytest.mark.parametrize(
    ("lines", "row"),
    [
        (["user,item,n", "“u1”,“a, b”,7", "“u2”,“c”,8"], "[u1],[a, b],7"),
        (["user;item", "„u1“;7", "„u2“;8"], "[u1];7"),
        (["user\titem", "«u1»\t7", "«u2»\t8"], "[u1]\t7"),
        (["user,item", "‘u1’,‘Bob’s’"], "[u1],[Bob’s]"),
        (["user,time", "'07,'2023-05-11", "'08,'2023-05-12"], "[07],[2023-05-11]"),
        (["user^item", "“u1”^“i1”", "“u2”^“i2”"], "[u1]^[i1]"),
        (["user::item::n", "«u1»::«a, b»::7", "«u2»::«c»::8"], "[u1]::[a, b]::7"),
        (["user#item", "「u1」#「i1」", "「u2」#「i2」"], "[u1]#[i1]"),
        (["user~item", "‹u1›~‹i1›", "‹u2›~‹i2›"], "[u1]~[i1]"),
        # Marks of some texts, and apostrophes of words, are letters.
        (["user,item", "u1,“Heroes”: live", "u2,“Help!”: live"], ""),
        (["user,item", "u1,“Heroes”", "u2,Help!"], ""),
        (["user,item", "u1,'Tis time", "u2,'Tis late"], ""),
        (["user,item", "'u1','12'", "'u2','13'"], ""),
    ],
)
def test_marks_of_texts_and_spreadsheets_are_around_fields(lines: list[str], row: str) -> None:
    (pattern, _), line = find_text_marks(lines), lines[1]
    assert bool(pattern) == bool(row)
    if pattern:
        for _ in range(2):
            line = re.sub(pattern, r"\1[\2]\3", line)
        assert line == row


@pytest.mark.parametrize(
    ("lines", "joint"),
    [
        (["u1\ti1\tx", "u2\ti2\tone\\", "two", "u3\ti3\ty", "u4\ti4\tz"], "\\n"),
        (["user,item,text", "u1,i1,one\\", "two", "u2,i2,x"], " "),
        # An escaped backslash, the end of a path, and text where nothing is missing are the ends of lines.
        (["u1\ti1\tC:\\\\", "u2\ti2\tD:\\\\"], ""),
        (["u1,C:\\", "u2,D:\\"], ""),
        (["u1\ti1", "u2\ti2"], ""),
    ],
)
def test_lines_that_go_on_behind_a_backslash_are_joined(lines: list[str], joint: str) -> None:
    assert find_joint(lines) == joint


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([r"a\tb", r"\N"], True),
        (["one\\\ttab", "x"], True),
        ([r"c:\\d", "x"], True),
        # \N alone is a word for nothing; paths, patterns and text between commas have backslashes of their own.
        ([r"\N", "x"], False),
        ([r"C:\new", "x"], False),
        ([r"\d+\n", "x"], False),
        (["x", "y"], False),
    ],
)
def test_escapes_of_databases_are_between_tabs_and_nothing_else(fields: list[str], expected: bool) -> None:
    assert has_copy_escapes([f"u\t{field}" for field in fields]) is expected
    assert not has_copy_escapes([f"u,{field}" for field in fields if "\t" not in field])


@pytest.mark.parametrize("mark", ["; ", ";", " | ", "|"])
def test_the_delimiter_of_the_names_is_that_of_the_table_where_cells_are_lists(mark: str) -> None:
    rows = [f"{n},2024-05-01,{mark.join(['i1', 'i2', 'i3', 'i4'])}" for n in range(30)]
    layout = find_layout(["member,date,items", *rows])
    assert (layout.delimiter, layout.columns) == (",", 3)


def test_a_title_and_decimal_commas_say_nothing_about_the_delimiter() -> None:
    assert find_layout(["1;2;3,5", "2;3;4,0", "3;1;2,5"]).delimiter == ";"
    assert find_layout(["Report, May", *["1;2;3;4,5"] * 30]).delimiter == ";"


def test_of_two_delimiters_of_the_rows_that_of_the_names_counts() -> None:
    lines = ["user;weight", *(f"u{n};10{n},5" for n in range(9))]
    assert find_layout(lines).delimiter == ";"
    assert find_layout(["user,item", *(f"u{n},a;{n}" for n in range(9))]).delimiter == ","

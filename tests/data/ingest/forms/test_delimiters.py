"""The delimiter by agreement over many lines."""

import pytest

from leanrec.data.ingest.forms.delimiters import BLANKS, find_layout, split_records


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

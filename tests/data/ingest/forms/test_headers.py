"""Whether the first line has names, and the names."""

import pytest

from leanrec.data.ingest.forms.delimiters import FieldLayout
from leanrec.data.ingest.forms.headers import (
    count_above_names,
    find_index_column,
    find_names_above,
    join_names,
    name_columns,
    read_delimiter,
    read_names,
    score_header,
)
from leanrec.errors import SettingError

HASHES = [[f"{i:040x}", "x"] for i in range(5)]


@pytest.mark.parametrize(
    ("cells", "rows", "sign"),
    [
        (["userId", "movieId", "rating"], [["1", "10", "4"], ["2", "11", "5"]], 1),
        (["1", "10", "4"], [["2", "11", "5"]], -1),
        (["who", "what"], [["alice", "tea"], ["bob", "milk"]], 0),
        (["who", "what"], [["1", "2"], ["3", "4"]], 1),
        (["1", "Toy Story (1995)", "01-Jan-1995"], [["2", "Heat (1995)", "01-Jan-1995"]], -1),
        (["N1", "news", "A title"], [["N2", "news", "B title"]], -1),
        (["u1", "i1", "view"], [["u2", "i7", "buy"], ["u3", "i9", "view"]], -1),
        (["f" * 40, "x y"], HASHES, -1),
        (["user_id:token", "item_id:token", "timestamp:float"], [["a", "b", "1"]], 1),
        (["user", "item"], [], 1),
        # A matrix whose items are numbers, and a row with words that may be names.
        (["user_id", "1", "2", "3"], [["u1", "5", "", "3"], ["u2", "4", "2", "1"]], 1),
        (["1", "Book", "5"], [["2", "Lamp", "4"], ["3", "Pen", "1"]], -1),
        (["1", "2"], [], -1),
        (["7", "NULL", "3"], [["8", "2", "4"], ["9", "5", "1"]], -1),
    ],
)
def test_a_first_line_of_the_types_below_it_is_data(cells: list[str], rows: list[list[str]], sign: int) -> None:
    score = score_header(cells, rows)
    assert (score > 0) - (score < 0) == sign


PAIRS = [["u1", "i1", "3"], ["u2", "i7", "4"], ["u3", "i9", "5"]]


@pytest.mark.parametrize(
    ("records", "above"),
    [
        ([["Sales report", "Germany", "2024"], ["user", "item", "rating"], *PAIRS], 1),
        ([["Report", "May", ""], ["of", "all", "shops"], ["Customer", "Article", "stars"], *PAIRS], 2),
        ([["user", "item", "rating"], *PAIRS], 0),
        # Ids that are words with numbers, and words that are ids, name nothing.
        ([["who", "what", "stars"], ["user_1", "item_2", "3"], ["user_2", "item_9", "4"]], 0),
        ([["who", "what", "stars"], ["user", "item", "3"], ["user", "item", "3"]], 0),
    ],
)
def test_lines_above_the_names_of_users_and_items_are_titles(records: list[list[str]], above: int) -> None:
    assert count_above_names(records) == above


@pytest.mark.parametrize(
    ("records", "names"),
    [
        (
            [
                ["customer", "", "product", "", "rating"],
                ["id", "name", "id", "title", ""],
                ["1", "Ann", "7", "Mug", "5"],
            ],
            ["customer id", "customer name", "product id", "product title", "rating"],
        ),
        (
            [["customer", "customer", "product"], ["id", "name", "id"], ["1", "Ann", "7"]],
            ["customer id", "customer name", "product id"],
        ),
        ([["user", "item", ""], ["tom", "book", ""], ["ann", "mug", ""]], []),
        ([["user", "item", "rating"], ["id", "code", "stars"], ["a", "x", "5"]], []),
        ([["user", "item", ""], ["1", "7", "5"], ["2", "8", "5"]], []),
        ([["user", "item", ""]], []),
    ],
)
def test_names_in_two_lines_are_joined(records: list[list[str]], names: list[str]) -> None:
    assert join_names(records) == names


def test_columns_have_distinct_names() -> None:
    assert name_columns(["a", "A", ""], 3, None, header=True, where="x") == ["a", "A_2", "column3"]
    assert name_columns(["5", "6"], 2, None, header=False, where="x") == ["1", "2"]
    assert name_columns(["5", "6", "7"], 3, ["user", "item"], header=False, where="x") == ["user", "item", "3"]
    with pytest.raises(SettingError, match="at most 1 for x. Got 2: a, b"):
        name_columns(["5"], 1, ["a", "b"], header=False, where="x")


def test_an_index_has_no_name_and_counts_the_rows() -> None:
    assert find_index_column(["", "user"], [["0", "a"], ["1", "b"]])
    assert find_index_column(["Unnamed: 0", "user"], [["7", "a"], ["3", "b"]])
    assert not find_index_column(["", "user"], [["3", "a"], ["3", "b"]])
    assert not find_index_column(["n", "user"], [["0", "a"]])


def test_names_and_delimiters_are_checked() -> None:
    assert read_names("user, item,,time") == {"log": ("user", "item", "", "time")}
    assert read_names(None, ["item", "title"]) == {"item_table": ("item", "title")}
    with pytest.raises(SettingError, match="item_names must be different names"):
        read_names(None, "a,A")
    assert [read_delimiter(each) for each in (None, "\\t", "tab", "::")] == [None, "\t", "\t", "::"]
    with pytest.raises(SettingError, match="delimiter must be a text between two fields"):
        read_delimiter('"')


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        (["# user item"], ["user", "item"]),
        (["#Version: 1.0", "#Fields: c-ip cs-uri", "#Date: 2024-01-01"], ["c-ip", "cs-uri"]),
        (["#separator x", "#fields who what"], ["who", "what"]),
        (["@relation x", "@attribute who {a, b}", "@ATTRIBUTE 'what it is' numeric", "@data"], ["who", "what it is"]),
        (["% bip weighted"], None),
        (["A report"], None),
    ],
)
def test_names_may_be_above_the_table(titles: list[str], names: list[str] | None) -> None:
    assert find_names_above(titles, FieldLayout(" ", 2, 1.0, ""), [["10.0.0.1", "/a"], ["10.0.0.2", "/b"]]) == names


def test_a_word_above_times_of_its_length_is_a_name() -> None:
    assert score_header(["Duration", "Bookmark"], [["00:21:33", "00:11:00"], ["00:01:30", "00:02:00"]]) == 0

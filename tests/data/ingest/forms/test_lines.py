"""Text whose lines have no columns: adjacency lists, sequences and blocks."""

import gzip
from pathlib import Path

import pytest

import leanrec
from leanrec.data.ingest.forms.lines import LAYOUTS, check_layout, find_line_layout, open_lines
from leanrec.errors import ColumnError, SettingError, SourceError


def history(data: leanrec.Dataset, user: object) -> list[object]:
    rows = data.events.user == data.users.rows([user])[0]
    return [data.items.ids[item] for item in data.events.item[rows]]


def test_a_user_and_all_items_in_each_line(tmp_path: Path) -> None:
    text = "0 5 3 9 \n1 3\n2\n3 9 5\n"
    (tmp_path / "train.txt").write_text(text)
    with gzip.open(tmp_path / "train.txt.gz", "wt") as file:
        file.write(text)
    for name in ("train.txt", "train.txt.gz"):
        data, report = leanrec.ingest(tmp_path / name)
        assert (data.users.ids.tolist(), data.items.ids.tolist(), len(data.events)) == ([0, 1, 3], [3, 5, 9], 6)
        assert history(data, 0) == [5, 3, 9]
        assert any("each line was read as a user and the items of the user" in note for note in report.warnings)


def test_lines_of_different_lengths_without_a_clear_user_ask_for_the_layout(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("7 5 3 9\n2 3\n7 9 5\n")
    with pytest.raises(SourceError, match='layout="adjacency".*layout="sequences"'):
        leanrec.ingest(tmp_path / "lines.txt")
    data, _ = leanrec.ingest(tmp_path / "lines.txt", layout="sequences")
    assert (data.users.ids.tolist(), history(data, 1), history(data, 3)) == ([1, 2, 3], [7, 5, 3, 9], [7, 9, 5])
    data, _ = leanrec.ingest(tmp_path / "lines.txt", layout="adjacency")
    assert (data.users.ids.tolist(), history(data, 7)) == ([2, 7], [5, 3, 9, 9, 5])


def test_lines_that_begin_with_the_number_of_their_items(tmp_path: Path) -> None:
    (tmp_path / "users.dat").write_text("3 495 1631 2317\n1 40\n2 9 3\n0\n2 40 9\n")
    data, report = leanrec.ingest(tmp_path / "users.dat")
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([1, 2, 3, 5], [3, 9, 40, 495, 1631, 2317])
    assert (history(data, 1), history(data, 5)) == ([495, 1631, 2317], [40, 9])
    assert any("the number of the items of one user and these items" in note for note in report.warnings)
    (tmp_path / "users.dat").write_text("2 tea mug\n1 cup\n")
    assert history(leanrec.ingest(tmp_path / "users.dat", layout="counted").data, 1) == ["tea", "mug"]


def test_text_ids_are_read_where_the_layout_is_given(tmp_path: Path) -> None:
    (tmp_path / "baskets.txt").write_text("milk,bread\nbeer\nbread,beer,milk\n")
    data, _ = leanrec.ingest(tmp_path / "baskets.txt", layout="sequences")
    assert history(data, 3) == ["bread", "beer", "milk"]
    (tmp_path / "lists.txt").write_text("ann: i1 i2 i3\nbob: i2\ncarl: i3 i1\n")
    with pytest.raises(ColumnError, match='layout="adjacency"'):
        leanrec.ingest(tmp_path / "lists.txt")
    data, _ = leanrec.ingest(tmp_path / "lists.txt", layout="adjacency")
    assert (data.users.ids.tolist(), history(data, "carl")) == (["ann", "bob", "carl"], ["i3", "i1"])


def test_blocks_have_their_item_in_the_line_above(tmp_path: Path) -> None:
    (tmp_path / "combined.txt").write_text("1:\n30,3,2005-09-06\n40,5,2005-05-13\n2:\n30,4,2005-10-19\n")
    data, report = leanrec.ingest(tmp_path / "combined.txt")
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([30, 40], [1, 2])
    assert history(data, 30) == [1, 2]
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [3, 4, 5]
    assert report.start is not None
    assert report.start.startswith("2005-05-13")
    (tmp_path / "probe.txt").write_text("1:\n30\n40\n10:\n30\n")
    data, _ = leanrec.ingest(tmp_path / "probe.txt")
    assert (data.items.ids.tolist(), len(data.events)) == ([1, 10], 3)


@pytest.mark.parametrize(
    "text",
    [
        "user item\n1 2\n3 4\n",
        "1 2\n3 4\n5 6\n",
        "1\t2\t3\n2\t3\t4\n3\t4\t5\n",
        "user,item\n1,2\n",
        "a:\n",
        "u:1,2\nu:2,3\nu:3,4\n",
        "a:\ni1 5\nb:\ni2 4\n",
        "1,2,3\n2,3\n3,4,5\n",
    ],
)
def test_lines_with_columns_stay(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.txt").write_text(text)
    assert open_lines(tmp_path / "log.txt", None, "log") is None
    assert open_lines(tmp_path / "log.txt", "long", "log") is None


def test_an_unknown_layout_is_refused() -> None:
    for layout in (None, *LAYOUTS):
        check_layout(layout)
    with pytest.raises(SettingError, match=r"long, adjacency, .* Got 'tall'"):
        check_layout("tall")


def test_other_blocks_are_read_where_the_layout_and_the_columns_are_given(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("ann:\ni1 5\ni2 4\nbob:\ni1 3\n")
    columns = {"user": "block", "item": "1", "rating": "2"}
    data, _ = leanrec.ingest(tmp_path / "users.txt", layout="blocks", columns=columns)
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["ann", "bob"], ["i1", "i2"])
    assert data.events.rating is not None
    assert data.events.rating.tolist() == [5, 4, 3]


def test_lists_with_commas_are_adjacency_where_their_lengths_differ(tmp_path: Path) -> None:
    (tmp_path / "lists.csv").write_text("0,5,3\n1,3\n2,9,5,3\n")
    data, _ = leanrec.ingest(tmp_path / "lists.csv")
    assert (history(data, 0), history(data, 2)) == ([5, 3], [9, 5, 3])


@pytest.mark.parametrize(
    ("lines", "layout"),
    [
        (["0 1 2", "1 3", "2 5 6 7"], "adjacency"),
        (["9:", "1,3,2005-09-06", "2,4,2005-09-06"], "blocks"),
        (["9:", "1", "2"], "blocks"),
        (["0 1", "1 3", "2 5"], None),
        (["0 1 2"], None),
    ],
)
def test_layouts_are_found_from_the_first_lines(lines: list[str], layout: str | None) -> None:
    assert find_line_layout(lines, "log") == layout


@pytest.mark.parametrize(
    "text",
    [
        "ann: i1, i 2, i3\nbob: i 2\ncyd: i3, i1\n",
        "ann : i1;i 2 ;i3\nbob : i 2\ncyd : i3;i1\n",
        "ann\ti1,i 2,i3\nbob\ti 2\ncyd\ti3,i1\n",
        "ann\ti1\ti 2\ti3\nbob\ti 2\ncyd\ti3\ti1\n",
        "ann,i1,i 2,i3\nbob,i 2\ncyd,i3,i1\n",
        "ann|i1|i 2|i3|\nbob|i 2|\ncyd|i3|i1|\n",
    ],
)
def test_items_of_a_list_may_have_blanks(tmp_path: Path, text: str) -> None:
    (tmp_path / "lists.txt").write_text(text)
    data, _ = leanrec.ingest(tmp_path / "lists.txt", layout="adjacency")
    assert data.users.ids.tolist() == ["ann", "bob", "cyd"]
    assert [history(data, user) for user in ("ann", "bob", "cyd")] == [["i1", "i 2", "i3"], ["i 2"], ["i3", "i1"]]


@pytest.mark.parametrize(
    "text",
    ["ann\ti1 i2\nbob\ti2\ncyd\ti3 i1\n", "ann i1,i2\nbob i2\ncyd i3,i1\n", "ann:  i1 i2\nbob: i2\ncyd:  i3 i1\n"],
)
def test_blanks_separate_what_no_other_mark_does(tmp_path: Path, text: str) -> None:
    (tmp_path / "lists.txt").write_text(text)
    data, _ = leanrec.ingest(tmp_path / "lists.txt", layout="adjacency")
    assert [history(data, user) for user in ("ann", "bob", "cyd")] == [["i1", "i2"], ["i2"], ["i3", "i1"]]


def test_titles_of_a_basket_keep_their_blanks(tmp_path: Path) -> None:
    (tmp_path / "baskets.csv").write_text("whole milk,rye bread\nred wine,whole milk, tea\nsoda\n")
    data, _ = leanrec.ingest(tmp_path / "baskets.csv", layout="sequences")
    assert [history(data, user) for user in (1, 2, 3)] == [
        ["whole milk", "rye bread"],
        ["red wine", "whole milk", "tea"],
        ["soda"],
    ]

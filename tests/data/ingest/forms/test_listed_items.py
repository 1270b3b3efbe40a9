"""Lists in the cells of a log become one row for each item."""

from pathlib import Path

import pandas as pd
import pytest

import leanrec
from leanrec.data.engine import open_engine
from leanrec.data.ingest.forms.listed_items import CellLists, find_cell_lists, read_impressions, split_cells
from leanrec.data.ingest.sources import open_parts
from leanrec.run import Run

NAMES = {"user": ("user",), "item": ("item", "itemid", "movie"), "time": ("time",)}


def found(path: Path, given: dict[str, str] | None = None) -> CellLists | None:
    with open_engine(Run()) as engine:
        return find_cell_lists(engine, open_parts(engine, path)[0], given or {}, NAMES)


def history(data: leanrec.Dataset, user: object) -> list[object]:
    rows = data.events.user == data.users.rows([user])[0]
    return [data.items.ids[item] for item in data.events.item[rows]]


@pytest.mark.parametrize(
    "cells",
    [
        ["7 3 5", "3 9"],
        ["7,3,5", "3,9"],
        ["7|3|5", "3|9"],
        ["[7, 3, 5]", "[3, 9]"],
        ["7;3;5", "3;9"],
        ["[7 3 5]", "[3 9]"],
    ],
)
@pytest.mark.parametrize("name", ["item", "items", "history"])
def test_cells_of_ids_are_lists(tmp_path: Path, cells: list[str], name: str) -> None:
    pd.DataFrame({"user": ["a", "b"], name: cells}).to_csv(tmp_path / "log.csv", index=False)
    data, report = leanrec.ingest(tmp_path / "log.csv")
    assert data.items.ids.tolist() == [3, 5, 7, 9]
    assert (history(data, "a"), history(data, "b")) == ([7, 3, 5], [3, 9])
    assert any('pass layout="long"' in note for note in report.warnings)
    if name == "item":
        data, _ = leanrec.ingest(tmp_path / "log.csv", layout="long")
        assert len(data.events) == 2


def test_other_lists_of_equal_length_are_read_beside_the_items(tmp_path: Path) -> None:
    frame = {
        "user": ["a", "b"],
        "items": ["x y z", "y q"],
        "timestamps": ["1600000001 1600000002 1600000003", "1600000004 1600000005"],
    }
    pd.DataFrame(frame).to_csv(tmp_path / "log.tsv", index=False, sep="\t")
    data, _ = leanrec.ingest(tmp_path / "log.tsv")
    assert data.items.ids.tolist() == ["q", "x", "y", "z"]
    assert data.events.time.tolist() == [1600000001, 1600000002, 1600000003, 1600000004, 1600000005]


@pytest.mark.parametrize("items", [["Toy Story 2", "Heat"], ["a b", "c d"], ["12", "13"], ["tt01", "sku-19"]])
def test_titles_and_single_ids_are_no_lists(tmp_path: Path, items: list[str]) -> None:
    pd.DataFrame({"user": ["a", "b"], "item": items}).to_csv(tmp_path / "log.csv", index=False)
    assert found(tmp_path / "log.csv") is None
    assert len(leanrec.ingest(tmp_path / "log.csv").data.events) == 2


def test_impressions_are_clicked_or_shown_after_the_history(tmp_path: Path) -> None:
    rows = [
        "1\tU1\t11/12/2019 9:00:00 AM\tN1 N2\tN8-0 N9-1",
        "2\tU1\t11/11/2019 8:00:00 AM\tN1 N2\tN7-1 N6-0",
        "3\tU2\t11/13/2019 8:00:00 PM\t\tN7-0 N9-1 N5-0",
        "4\tU2\t11/14/2019 8:00:00 PM\tN3 N4\tN7-0",
    ]
    (tmp_path / "behaviors.tsv").write_text("".join(f"{row}\n" for row in rows))
    columns = {"user": "2", "item": "5", "time": "3"}
    data, report = leanrec.ingest(tmp_path / "behaviors.tsv", columns=columns)
    assert {name: facts["events"] for name, facts in report.event_types.items()} == {"click": 5, "impression": 5}
    assert int((data.events.weight > 0).sum()) == 5
    assert history(data, "U1") == ["N1", "N2", "N7", "N6", "N8", "N9"]
    assert history(data, "U2")[:3] == ["N7", "N9", "N5"]
    assert any("clicked where they end in -1" in note for note in report.warnings)
    again, _ = leanrec.ingest(tmp_path / "behaviors.tsv")
    assert history(again, "U1") == history(data, "U1")


def test_impressions_have_their_columns_by_name(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,time,impressions\n1,100,A1-1 A2-0\n2,200,A2-0 A3-1\n")
    with open_engine(Run()) as engine:
        part = open_parts(engine, tmp_path / "log.csv")[0]
        lists = find_cell_lists(engine, part, {}, NAMES)
        assert lists == CellLists(impressions="impressions")
        read = read_impressions(engine, part, lists, {}, NAMES)
        rows = engine.fetch_rows(f"SELECT * FROM {read.scan}")
    assert rows == [("1", "100", "A1", "1"), ("1", "100", "A2", "0"), ("2", "200", "A2", "0"), ("2", "200", "A3", "1")]
    assert (read.paths, read.names) == ({"impressions": "item"}, ("user", "time", "item", "label"))


def test_cells_are_split_into_lists(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,items\n1,a b\n2, c  d \n")
    with open_engine(Run()) as engine:
        part = split_cells(open_parts(engine, tmp_path / "log.csv")[0], CellLists("items", " "))
        assert engine.fetch_rows(f"SELECT items FROM {part.scan}") == [(["a", "b"],), (["c", "d"],)]
    assert part.types["items"] == "VARCHAR[]"


def _histories(path: Path, **options: object) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """User → items in their order, and what was told."""
    data, report = leanrec.ingest(path, **options)
    found: dict[str, list[str]] = {}
    for user, item in zip(data.events.user, data.events.item, strict=True):
        found.setdefault(str(data.users.ids[user]), []).append(str(data.items.ids[item]))
    return found, report.warnings


def test_items_before_the_item_of_a_row_come_first(tmp_path: Path) -> None:
    path = tmp_path / "s.inter"
    head = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    path.write_text(head + "s1\ta b\tc\ns2\td\ta\ns3\t\tb\n")
    read, notes = _histories(path)
    assert read == {"s1": ["a", "b", "c"], "s2": ["d", "a"], "s3": ["b"]}
    assert any("'item_id_list' lists the items before 'item_id'" in note for note in notes)
    assert _histories(path, layout="long")[0] == {"s1": ["c"], "s2": ["a"], "s3": ["b"]}
    # The prefixes of one sequence, longest first or shortest first, are this sequence.
    for rows in (["u\ta b c\td", "u\ta b\tc", "u\ta\tb"], ["u\ta\tb", "u\ta b\tc", "u\ta b c\td"]):
        path.write_text(head + "\n".join([*rows, "v\ta b\td"]) + "\n")
        assert _histories(path)[0] == {"u": ["a", "b", "c", "d"], "v": ["a", "b", "d"]}


def test_items_before_the_item_of_a_row_in_other_forms(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = ["u,m9 m1,m2,2020-01-03", "u,m9,m1,2020-01-02", "v,m3 m4,m9,2020-01-05"]
    path.write_text("user,movie_ids,movie_id,date\n" + "\n".join(rows) + "\n")
    assert _histories(path)[0] == {"u": ["m9", "m1", "m2"], "v": ["m3", "m4", "m9"]}
    # A list of genres is none of items, and the ratings of earlier items are not known.
    path.write_text("user,movie_genres,movie\nu,m1 m2,m2\nv,m3 m4,m9\n")
    assert _histories(path)[0] == {"u": ["m2"], "v": ["m9"]}
    path.write_text("user,movie_ids,movie_id,rating\nu,m9 m1,m2,4\nv,m3 m4,m9,5\nw,m3 m4,m9,2\n")
    assert _histories(path)[0] == {"u": ["m2"], "v": ["m9"], "w": ["m9"]}


@pytest.mark.parametrize("item", ["[deleted]", "[{}]", "[the {} one]"])
def test_a_word_in_brackets_is_an_id(item: str, tmp_path: Path) -> None:
    items = [item.replace("{}", word) for word in ("deleted", "removed", "x")]
    (tmp_path / "a.csv").write_text("user,item\n" + "".join(f"u{i},{each}\n" for i, each in enumerate(items)))
    assert found(tmp_path / "a.csv") is None
    (tmp_path / "b.tsv").write_text("user\titem\nu1\t[3, 4]\nu2\t[7]\nu3\t['a']\n")
    assert found(tmp_path / "b.tsv") == CellLists("item", "[")


def test_most_lists_of_a_history_may_have_one_number(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("user\thistory\n1\t3\n2\t5, 7\n3\t5\n4\t6\n")
    data = leanrec.ingest(tmp_path / "a.tsv").data
    assert history(data, 2) == [5, 7]


def test_short_lists_of_numbers_are_no_decimals(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('user,item\n1,"9,12,10"\n2,"5,7"\n3,5\n4,"6,1"\n')
    assert history(leanrec.ingest(tmp_path / "a.csv").data, 1) == [9, 12, 10]
    (tmp_path / "b.csv").write_text("user;item\n1;9,5\n2;5,7\n3;5\n")
    assert found(tmp_path / "b.csv") is None


@pytest.mark.parametrize("mark", ["; ", ";", "|"])
def test_baskets_are_read_where_the_marks_of_the_lists_are_more_than_those_of_the_columns(
    tmp_path: Path, mark: str
) -> None:
    rows = "".join(f"m{n},2024-05-0{n},{mark.join(f'i{n + k}' for k in range(5))}\n" for n in range(1, 8))
    (tmp_path / "baskets.csv").write_text(f"Member_number,Date,Items\n{rows}")
    data, _ = leanrec.ingest(tmp_path / "baskets.csv")
    assert (len(data.events), data.users.ids.tolist()) == (35, [f"m{n}" for n in range(1, 8)])
    assert set(data.items.ids.tolist()) == {f"i{n}" for n in range(1, 12)}


def test_rows_may_have_one_impression(tmp_path: Path) -> None:
    rows = [f"{k}\tU{k % 3}\t11/{9 + k}/2019 9:05:58 AM\tN90 N91\tN{k % 4}-{k % 2}\n" for k in range(12)]
    (tmp_path / "log.tsv").write_text("".join(rows))
    data, report = leanrec.ingest(tmp_path / "log.tsv")
    assert {name: facts["events"] for name, facts in report.event_types.items()} == {"click": 12, "impression": 6}
    assert set(data.items.ids.tolist()) == {"N90", "N91", "N0", "N1", "N2", "N3"}

"""Wide matrices become one row for each rating."""

from pathlib import Path

import pandas as pd
import pytest

import leanrec
from leanrec.errors import ColumnError, SourceError


def rated(data: leanrec.Dataset) -> set[tuple[object, ...]]:
    events = data.events
    assert events.rating is not None
    return {
        (data.users.ids[u], data.items.ids[i], float(r))
        for u, i, r in zip(events.user, events.item, events.rating, strict=True)
    }


RATED = {("ann", "item_1", 5.0), ("ann", "item_3", 2.0), ("bob", "item_2", 3.0)}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_numbered_columns_of_numbers_are_items(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame({"user": ["ann", "bob"], "item_1": [5, None], "item_2": [None, 3], "item_3": [2, None]})
    path = tmp_path / f"matrix.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    data, report = leanrec.ingest(path)
    assert rated(data) == RATED
    assert any('If that is wrong, pass layout="long"' in note for note in report.warnings)


def test_titles_are_items_where_the_layout_is_given(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("name,Alien,Brazil\nann,5,\nbob,,3\n")
    with pytest.raises(ColumnError, match='layout="wide"'):
        leanrec.ingest(tmp_path / "matrix.csv", columns={"user": "name"})
    data, _ = leanrec.ingest(tmp_path / "matrix.csv", layout="wide")
    assert rated(data) == {("ann", "Alien", 5.0), ("bob", "Brazil", 3.0)}


def test_a_matrix_needs_items(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("user\nann\nbob\n")
    with pytest.raises(SourceError, match="a column for each item"):
        leanrec.ingest(tmp_path / "matrix.csv", layout="wide")


@pytest.mark.parametrize("first", ["userId", "", "u"])
def test_item_ids_that_are_numbers_are_names(tmp_path: Path, first: str) -> None:
    (tmp_path / "matrix.csv").write_text(f"{first},11,12,13\n0,5,,3\n1,,4,\n2,1,,\n")
    data, _ = leanrec.ingest(tmp_path / "matrix.csv", layout="wide")
    expected = {(0, 11, 5.0), (0, 13, 3.0), (1, 12, 4.0), (2, 11, 1.0)}
    assert rated(data) == expected
    if first:
        assert rated(leanrec.ingest(tmp_path / "matrix.csv").data) == expected


def test_a_matrix_of_numbers_alone_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("7,5,,3\n8,,4,\n9,1,,\n")
    data, _ = leanrec.ingest(tmp_path / "matrix.csv", layout="wide")
    assert rated(data) == {(7, 2, 5.0), (7, 4, 3.0), (8, 3, 4.0), (9, 2, 1.0)}


def write_matrix(folder: Path, text: str) -> Path:
    path = folder / "matrix.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("first", ["album", "Film", "product_name", "item_id"])
def test_rows_of_items_have_columns_of_users(tmp_path: Path, first: str) -> None:
    path = write_matrix(tmp_path, f"{first},ann,bob,cid\nBlue,4,,3\nHarvest,,2.5,\n")
    data, report = leanrec.ingest(path, layout="wide")
    assert rated(data) == {("ann", "Blue", 4.0), ("cid", "Blue", 3.0), ("bob", "Harvest", 2.5)}
    assert any("each other column as a user" in note for note in report.warnings)


def test_a_given_item_says_that_rows_are_items(tmp_path: Path) -> None:
    path = write_matrix(tmp_path, "what,ann,bob,cid\nBlue,4,,3\nHarvest,,2.5,\n")
    data, _ = leanrec.ingest(path, layout="wide", columns={"item": "what"})
    assert rated(data) == {("ann", "Blue", 4.0), ("cid", "Blue", 3.0), ("bob", "Harvest", 2.5)}


@pytest.mark.parametrize("repeat", ["4", ""])
def test_rows_without_ids_are_users_by_number(tmp_path: Path, repeat: str) -> None:
    path = write_matrix(tmp_path, f"Go,Chess,Risk\n4,,9\n{repeat},7,\n1,6,\n")
    data, report = leanrec.ingest(path, layout="wide")
    ratings = {(1, "Go", 4.0), (1, "Risk", 9.0), (2, "Chess", 7.0), (3, "Go", 1.0), (3, "Chess", 6.0)}
    assert rated(data) == ratings | ({(2, "Go", 4.0)} if repeat else set())
    assert any("users are the numbers of the rows" in note for note in report.warnings)


def test_a_matrix_without_users_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    path = write_matrix(tmp_path, "Go,Chess,Risk,Uno\n4,,9,1\n4,7,,1\n")
    with pytest.raises(ColumnError, match='the cells are ratings, pass layout="wide"'):
        leanrec.ingest(path)
    assert (1, "Risk", 9.0) in rated(leanrec.ingest(path, layout="wide").data)


def test_numbers_that_differ_are_ids_of_users(tmp_path: Path) -> None:
    data, _ = leanrec.ingest(write_matrix(tmp_path, "Go,Chess,Risk\n4,,9\n3,7,\n1,6,\n"), layout="wide")
    assert rated(data) == {(4, "Risk", 9.0), (3, "Chess", 7.0), (1, "Chess", 6.0)}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_marks_in_a_full_matrix_are_events_and_zeros_are_none(tmp_path: Path, form: str) -> None:
    frame = pd.DataFrame({"user": ["ann", "bob"], "abba": [1, 0], "blur": [0, 0], "cure": [0, 1]})
    path = tmp_path / f"matrix.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    data, report = leanrec.ingest(path, layout="wide")
    events = zip(data.events.user, data.events.item, strict=True)
    assert {(data.users.ids[u], data.items.ids[i]) for u, i in events} == {("ann", "abba"), ("bob", "cure")}
    assert data.events.rating is None
    assert any("a 0 is no event" in note for note in report.warnings)


def test_zeros_that_fill_a_matrix_of_ratings_are_no_ratings(tmp_path: Path) -> None:
    path = write_matrix(tmp_path, "user,item_1,item_2,item_3\nann,5,0,0\nbob,0,0,3\n")
    assert rated(leanrec.ingest(path).data) == {("ann", "item_1", 5.0), ("bob", "item_3", 3.0)}


@pytest.mark.parametrize("rows", ["ann,0,,0\nbob,0,0,3\n", "ann,-3,0,0\nbob,0,0,3\n", "ann,0,1,1\nbob,1,0,1\n"])
def test_zeros_are_ratings_beside_empty_cells_negative_numbers_or_fewer_of_them(tmp_path: Path, rows: str) -> None:
    path = write_matrix(tmp_path, f"user,item_1,item_2,item_3\n{rows}")
    given = (row.split(",") for row in rows.split())
    expected = {(user, f"item_{n}", float(cell)) for user, *cells in given for n, cell in enumerate(cells, 1) if cell}
    assert rated(leanrec.ingest(path).data) == expected


FILMS = pd.DataFrame(
    {"Alien": [5, None, 3, 4], "Brazil": [None, 3, 4, 1], "Clue": [2, 5, None, 2]}, index=["ann", "bob", "cem", "dee"]
)
RATINGS = {(user, film, FILMS.loc[user, film]) for film in FILMS for user in FILMS.index[FILMS[film].notna()]}


def save(path: Path, frame: pd.DataFrame, name: str = "user", sep: str = ",") -> Path:
    frame.to_csv(path, index_label=name, sep=sep)
    return path


@pytest.mark.parametrize(
    ("column", "row", "sep"),
    [
        ("Total", "Total", ","),
        ("sum", None, ";"),
        (None, "Gesamtsumme", "\t"),
        ("everything", "合计", ","),
        ("All", "All", "|"),
    ],
)
def test_totals_of_a_matrix_are_left_out(tmp_path: Path, column: str | None, row: str | None, sep: str) -> None:
    frame = FILMS.copy()
    if column is not None:
        frame[column] = frame.sum(axis=1)
    if row is not None:
        frame.loc[row] = frame.sum()
    data, report = leanrec.ingest(save(tmp_path / "matrix.csv", frame, sep=sep), layout="wide")
    assert rated(data) == RATINGS
    for what, name in (("column", column), ("row", row)):
        assert any(f"the {what} {name!r} is the sum" in note for note in report.warnings) == (name is not None)


def test_means_and_numbers_of_ratings_are_left_out(tmp_path: Path) -> None:
    counted = FILMS.assign(Mean=FILMS.mean(axis=1).round(1), n_ratings=FILMS.count(axis=1))
    counted.loc["average"] = FILMS.mean().round(2)
    data, _ = leanrec.ingest(save(tmp_path / "matrix.csv", counted), layout="wide")
    assert rated(data) == RATINGS
    turned = FILMS.T
    turned["Total"] = turned.sum(axis=1)
    data, _ = leanrec.ingest(save(tmp_path / "films.csv", turned, "film"), layout="wide")
    assert rated(data) == RATINGS


def test_items_and_users_that_are_called_like_totals_stay(tmp_path: Path) -> None:
    frame = FILMS.assign(All=[1, 5, 2, None])
    frame.loc["Max"] = [4, 4, None, 1]
    data, _ = leanrec.ingest(save(tmp_path / "matrix.csv", frame), layout="wide")
    assert {("bob", "All", 5.0), ("Max", "Alien", 4.0)} < rated(data)
    assert len(rated(data)) == len(RATINGS) + 6


def test_columns_called_users_are_users(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("JokeId,User1,User2,User3\n7,5,,1\n8,,4,2\n")
    data, report = leanrec.ingest(tmp_path / "log.csv", layout="wide")
    assert set(data.users.ids.tolist()) == {"User1", "User2", "User3"}
    assert set(map(str, data.items.ids.tolist())) == {"7", "8"}
    assert any("'JokeId' was read as the item" in each for each in report.warnings)

"""Titles, search and filters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import STRINGS
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import SettingError
from leanrec.pipeline.catalog import Catalogue

TITLES = ["Star Ship", "A Star", "Moon", "", "Étoile 星"]
GENRES = ["Sci-Fi|Drama", "drama, Music", "Comedy", "", "Drama"]
YEARS = [1977.0, 1990.0, 2001.0, np.nan, 2020.0]
CATALOGUE = Catalogue(
    Vocabulary(id_array(["a", "b", "c", "d", "e"])),
    Table({"title": np.array(TITLES, STRINGS), "genres": np.array(GENRES, STRINGS), "year": np.array(YEARS)}),
)


def found(where: dict[str, object]) -> str:
    return "".join(CATALOGUE.own_id(row) for row in CATALOGUE.matching(where).tolist())  # type: ignore[misc]


def test_a_title_is_the_title_or_else_the_id() -> None:
    assert [CATALOGUE.title(row) for row in range(5)] == ["Star Ship", "A Star", "Moon", "d", "Étoile 星"]
    assert Catalogue(Vocabulary(id_array([7]))).title(0) == "7"


def test_search_finds_parts_of_titles_and_puts_beginnings_first() -> None:
    assert CATALOGUE.search("STAR", 9).tolist() == [0, 1]
    assert CATALOGUE.search("a star", 9).tolist() == [1]
    assert CATALOGUE.search("étoile 星", 9).tolist() == [4]
    assert CATALOGUE.search("o", 1).tolist() == [2]
    assert CATALOGUE.search("nothing", 9).tolist() == []
    assert Catalogue(Vocabulary(id_array([70, 7]))).search("7", 9).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("where", "items"),
    [
        ({}, "abcde"),
        ({"genres": "drama"}, "abe"),
        ({"genres": "Music"}, "b"),
        ({"genres": "sci"}, ""),
        ({"genres": {"contains": "sci"}}, "a"),
        ({"genres": ["Comedy", "Music"]}, "bc"),
        ({"genres": []}, ""),
        ({"genres": {"not": "Drama"}}, "cd"),
        ({"genres": {"not": ["Drama", "Comedy"]}}, "d"),
        ({"title": "moon"}, "c"),
        ({"year": 1990}, "b"),
        ({"year": {"min": 1990}}, "bce"),
        ({"year": {"min": 1978, "max": 2001}}, "bc"),
        ({"year": {"not": {"min": 1978, "max": 2001}}}, "ade"),
        ({"genres": "Drama", "year": {"max": 2000}}, "ab"),
    ],
)
def test_conditions(where: dict[str, object], items: str) -> None:
    assert found(where) == items
    assert found(where) == items  # remembered


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"genre": "x"}, "Did you mean 'genres'"),
        ({"genres": 3}, "is text, so it must be compared with text. Got 3"),
        ({"year": "1990"}, "must be compared with a number. Got '1990'"),
        ({"year": True}, "must be compared with a number"),
        ({"year": {"min": float("nan")}}, "must be compared with a number"),
        ({"year": {"least": 3}}, "can have min, max, contains and not. Got 'least'"),
        ({"year": {"contains": "9"}}, "contains needs a column of text"),
        ({"genres": {"min": 3}}, "min needs a column of numbers"),
        ({"genres": None}, "Got None"),
        ({"genres": {"x"}}, "must hold texts, numbers"),
    ],
)
def test_a_condition_that_makes_no_sense_says_why(where: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message.replace("(", r"\(")):
        CATALOGUE.matching(where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"genres": ["x"] * 1001}, "at most 1,000 values. Got 1,001"),
        ({"year": {"not": [float(year) for year in range(2000)]}}, "at most 1,000 values"),
        ({"genres": [{"contains": "x"}] * 101}, "at most 100 conditions"),
        ({"genres": {"not": [["x", ["y"]] for _ in range(80)]}}, "at most 100 conditions"),
        ({"genres": {"not": {"not": {"not": {"not": {"not": {"not": "x"}}}}}}}, "at most 5"),
    ],
)
def test_conditions_without_end_are_refused(where: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        CATALOGUE.matching(where)


def test_as_many_as_are_allowed() -> None:
    assert found({"genres": ["drama", *map(str, range(999))]}) == "abe"
    assert found({"year": [1990, *range(3000, 3999)]}) == "b"
    assert found({"genres": [{"contains": "sci"}, "Music", ["Comedy"]]}) == "abc"
    assert found({"genres": {"not": {"not": {"not": {"not": {"not": "drama"}}}}}}) == "cd"


def test_one_text_for_a_list_of_ids_is_refused() -> None:
    for rules in (("abc", None), (None, "abc")):
        with pytest.raises(SettingError, match=r"must be a list of ids. Got the one text 'abc'; write \['abc'\]"):
            CATALOGUE.rules(*rules, None)


def test_pictures_are_secure_addresses_of_a_usual_column() -> None:
    cells = ["https://a.b/c.jpg", "http://a.b/c.jpg", "javascript:alert(1)", ""]
    shown = Catalogue(Vocabulary(id_array(range(4))), Table({"Poster": np.array(cells, STRINGS)}))
    assert shown.pictures == "Poster"
    assert [shown.picture(row) for row in range(4)] == ["https://a.b/c.jpg", None, None, None]
    assert (CATALOGUE.pictures, CATALOGUE.picture(0)) == (None, None)


def test_conditions_need_an_item_table() -> None:
    with pytest.raises(SettingError, match="there is no item table"):
        Catalogue(Vocabulary(id_array([1]))).matching({"genres": "x"})


def test_conditions_nested_without_end_are_refused() -> None:
    where: dict[str, object] = {"genres": "x"}
    for _ in range(100_000):
        where = {"genres": {"not": where["genres"]}}
    with pytest.raises(SettingError, match="a few levels deep"):
        CATALOGUE.matching(where)
    while isinstance(where, dict):  # let go level by level: Python's own recursion has an end, too
        where = where.popitem()[1]  # type: ignore[assignment]


@settings(max_examples=50, deadline=None)
@given(low=st.integers(1970, 2030), high=st.integers(1970, 2030), label=st.sampled_from(["drama", "comedy", "x"]))
def test_filters_agree_with_a_loop(low: int, high: int, label: str) -> None:
    slow = [
        row
        for row in range(5)
        if low <= YEARS[row] <= high and label in GENRES[row].lower().replace(", ", "|").split("|")
    ]
    assert CATALOGUE.matching({"year": {"min": low, "max": high}, "genres": label}).tolist() == slow


def test_rules_meet() -> None:
    rules = CATALOGUE.rules(["a", "c", "zz"], ["c", "yy"], {"genres": ["Drama", "Comedy"]})
    assert rules.allow is not None
    assert rules.deny is not None
    assert rules.allow.tolist() == [0, 2]
    assert rules.deny.tolist() == [2]
    assert rules.unknown == ("zz", "yy")
    assert CATALOGUE.rules(None, None, None).allow is None
    assert CATALOGUE.rules([], None, None).allow.tolist() == []  # type: ignore[union-attr]


def test_shared_labels() -> None:
    assert CATALOGUE.shared(0, 4) == ("Drama",)
    assert CATALOGUE.shared(2, 4) == ()
    assert Catalogue(Vocabulary(id_array([1, 2]))).shared(0, 1) == ()

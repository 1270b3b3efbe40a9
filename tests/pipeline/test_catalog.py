"""Titles, search and filters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import STRINGS
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import SettingError
from leanrec.pipeline.catalog import Catalog, load_conditions

TITLES = ["Star Ship", "A Star", "Moon", "", "Étoile 星"]
GENRES = ["Sci-Fi|Drama", "drama, Music", "Comedy", "", "Drama"]
YEARS = [1977.0, 1990.0, 2001.0, np.nan, 2020.0]
CATALOG = Catalog(
    Vocabulary(id_array(["a", "b", "c", "d", "e"])),
    Table({"title": np.array(TITLES, STRINGS), "genres": np.array(GENRES, STRINGS), "year": np.array(YEARS)}),
)


def found(where: dict[str, object]) -> str:
    return "".join(CATALOG.external_id(row) for row in CATALOG.filter_rows(where).tolist())  # type: ignore[misc]


def test_an_item_without_a_title_has_its_id() -> None:
    assert [CATALOG.title(row) for row in range(5)] == ["Star Ship", "A Star", "Moon", "d", "Étoile 星"]
    assert Catalog(Vocabulary(id_array([7]))).title(0) == "7"


def test_search_finds_substrings_and_ranks_prefixes_first() -> None:
    assert CATALOG.search("STAR", 9).tolist() == [0, 1]
    assert CATALOG.search("a star", 9).tolist() == [1]
    assert CATALOG.search("étoile 星", 9).tolist() == [4]
    assert CATALOG.search("o", 1).tolist() == [2]
    assert CATALOG.search("nothing", 9).tolist() == []
    assert Catalog(Vocabulary(id_array([70, 7]))).search("7", 9).tolist() == [0, 1]


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
def test_a_wrong_condition_raises(where: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message.replace("(", r"\(")):
        CATALOG.filter_rows(where)


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
def test_too_many_conditions_raise(where: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        CATALOG.filter_rows(where)


def test_conditions_at_the_limits_are_accepted() -> None:
    assert found({"genres": ["drama", *map(str, range(999))]}) == "abe"
    assert found({"year": [1990, *range(3000, 3999)]}) == "b"
    assert found({"genres": [{"contains": "sci"}, "Music", ["Comedy"]]}) == "abc"
    assert found({"genres": {"not": {"not": {"not": {"not": {"not": "drama"}}}}}}) == "cd"


def test_a_string_instead_of_a_list_of_ids_raises() -> None:
    for rules in (("abc", None), (None, "abc")):
        with pytest.raises(SettingError, match=r"must be a list of ids. Got the one text 'abc'; write \['abc'\]"):
            CATALOG.resolve_rules(*rules, None)


def test_image_urls_are_https_only() -> None:
    cells = ["https://a.b/c.jpg", "http://a.b/c.jpg", "javascript:alert(1)", ""]
    shown = Catalog(Vocabulary(id_array(range(4))), Table({"Poster": np.array(cells, STRINGS)}))
    assert shown.image_column == "Poster"
    assert [shown.image_url(row) for row in range(4)] == ["https://a.b/c.jpg", None, None, None]
    assert (CATALOG.image_column, CATALOG.image_url(0)) == (None, None)


def test_conditions_need_an_item_table() -> None:
    with pytest.raises(SettingError, match="there is no item table"):
        Catalog(Vocabulary(id_array([1]))).filter_rows({"genres": "x"})


def test_deeply_nested_conditions_raise() -> None:
    where: dict[str, object] = {"genres": "x"}
    for _ in range(100_000):
        where = {"genres": {"not": where["genres"]}}
    with pytest.raises(SettingError, match="a few levels deep"):
        CATALOG.filter_rows(where)
    while isinstance(where, dict):  # let go level by level: Python's own recursion has an end, too
        where = where.popitem()[1]  # type: ignore[assignment]


@settings(max_examples=50, deadline=None)
@given(low=st.integers(1970, 2030), high=st.integers(1970, 2030), label=st.sampled_from(["drama", "comedy", "x"]))
def test_filters_match_a_loop(low: int, high: int, label: str) -> None:
    slow = [
        row
        for row in range(5)
        if low <= YEARS[row] <= high and label in GENRES[row].lower().replace(", ", "|").split("|")
    ]
    assert CATALOG.filter_rows({"year": {"min": low, "max": high}, "genres": label}).tolist() == slow


def test_an_item_must_pass_all_rules() -> None:
    rules = CATALOG.resolve_rules(["a", "c", "zz"], ["c", "yy"], {"genres": ["Drama", "Comedy"]})
    assert rules.allow is not None
    assert rules.deny is not None
    assert rules.allow.tolist() == [0, 2]
    assert rules.deny.tolist() == [2]
    assert rules.unknown == ("zz", "yy")
    assert CATALOG.resolve_rules(None, None, None).allow is None
    assert CATALOG.resolve_rules([], None, None).allow.tolist() == []  # type: ignore[union-attr]


def test_shared_labels_of_two_items() -> None:
    assert CATALOG.shared_labels(0, 4) == ("Drama",)
    assert CATALOG.shared_labels(2, 4) == ()
    assert Catalog(Vocabulary(id_array([1, 2]))).shared_labels(0, 1) == ()


def test_conditions_are_loaded_from_a_json_object() -> None:
    assert load_conditions('{"genres": "Comedy"}') == {"genres": "Comedy"}
    with pytest.raises(SettingError, match="must be JSON such as"):
        load_conditions("{")
    with pytest.raises(SettingError, match="must be a JSON object"):
        load_conditions("3")


def test_titles_are_shown_without_markup() -> None:
    titles = np.array(["<i>Oven</i> &amp; more", "<b>Zen</b>"], np.dtypes.StringDType())
    catalog = Catalog(Vocabulary(id_array([1, 2])), Table({"title": titles}))
    assert [catalog.title(row) for row in (0, 1)] == ["Oven & more", "Zen"]
    assert catalog.search("oven &", 5).tolist() == [0]
    assert catalog.content(0) == {"title": "<i>Oven</i> &amp; more"}


def test_titles_may_be_numbers() -> None:
    catalog = Catalog(Vocabulary(id_array([1, 2])), Table({"title": np.array([300.0, np.nan])}))
    assert [catalog.title(row) for row in (0, 1)] == ["300", "2"]
    assert catalog.search("30", 5).tolist() == [0]


@pytest.mark.parametrize(
    ("column", "expected"),
    [("labels", [[0], [0], [0, 2], [2], [2]]), ("size", [[1, 2]])],  # each label, and each whole cell with several
)
def test_items_with_the_same_label_have_the_same_number(column: str, expected: list[list[int]]) -> None:
    cells = np.array(["a|B", "", "A,c"], STRINGS)
    catalog = Catalog(
        Vocabulary(id_array([1, 2, 3]), "item"), Table({"labels": cells, "size": np.array([np.nan, 1.0, 1.0])})
    )
    labels, rows = catalog.number_labels(column)
    assert sorted(sorted(rows[labels == each].tolist()) for each in np.unique(labels)) == expected

"""Categories and labels: the contract, separators, weights."""

import numpy as np
import pytest

from contracts.feature import FeatureContract, texts
from leanrec.errors import SettingError
from leanrec.features.categorical import MultiLabelEncoder, OneHotEncoder, find_separator, split_labels

GENRES = texts("Comedy|Drama", "Drama", "", "Comedy|Drama|Crime", "Comedy", "Crime|Sci-Fi, really")


class TestCategories(FeatureContract):
    feature = OneHotEncoder()
    column = texts("red", "green", "", "red", "blue ")
    unseen = texts("mauve")


class TestCategoriesOfNumbers(FeatureContract):
    feature = OneHotEncoder()
    column = np.array([1.0, 2.0, np.nan, 2.0, 2.5])
    unseen = np.array([7.0])


class TestLabels(FeatureContract):
    feature = MultiLabelEncoder()
    column = GENRES
    unseen = texts("Western|Musical")


class TestLabelsAlike(FeatureContract):
    feature = MultiLabelEncoder(use_idf=False, separator=", ")
    column = texts("a, b", "b, c", "c", "", "a, c, c")
    unseen = texts("d, e")


def test_category_is_one_hot() -> None:
    fitted = OneHotEncoder().fit(texts("red", "green", "red"))
    assert fitted.names == ("green", "red")
    assert fitted.transform(texts("red", "green", "", "mauve")).toarray().tolist() == [
        [0, 1],
        [1, 0],
        [0, 0],
        [0, 0],
    ]


def test_keeps_the_most_frequent_values() -> None:
    column = texts("a", "b", "b", "c", "c", "c")
    assert OneHotEncoder(max_values=2).fit(column).names == ("b", "c")
    assert OneHotEncoder(min_items=3).fit(column).names == ("c",)


def test_rare_labels_weigh_more() -> None:
    fitted = MultiLabelEncoder().fit(GENRES)
    assert fitted.separator == "|"
    row = dict(zip(fitted.names, fitted.transform(texts("Drama|Crime")).toarray()[0].tolist(), strict=True))
    assert row["Crime"] > row["Drama"] > 0
    assert row["Crime"] / row["Drama"] == pytest.approx((1 + np.log(7 / 3)) / (1 + np.log(7 / 4)))


def test_a_label_twice_in_a_cell_counts_once() -> None:
    fitted = MultiLabelEncoder(use_idf=False).fit(texts("a|a|b", "a|b"))
    assert fitted.transform(texts("a|a|b")).toarray()[0].tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["Comedy|Drama", "Drama", "Comedy|Crime", "Crime"], "|"),
        (["red, green", "green, blue", "red", "blue"], ","),
        (["red;green", "green;blue", "red", "blue"], ";"),
        (["['a', 'b']", "['b']", "['a']", "[]"], ","),
        (["A quiet place, far away", "No, never again", "Once, in Rome", "Yes, minister"], None),
        (["one", "two", "one", "two"], None),
        (["", ""], None),
        ([], None),
    ],
)
def test_finds_the_separator(cells: list[str], separator: str | None) -> None:
    assert find_separator(cells) == separator


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        (" a | b |", ["a", "b"]),
        ("['Action (TV)' | 'b']", ["Action (TV)", "b"]),
        ("(no genres listed)", []),
        ("N/A", []),
        ("", []),
        ("[]", []),
        ("[", ["["]),
    ],
)
def test_splits_labels(cell: str, labels: list[str]) -> None:
    assert split_labels(cell, "|") == labels


def test_refuses_wrong_settings() -> None:
    for kind in (OneHotEncoder, MultiLabelEncoder):
        with pytest.raises(SettingError, match="max_values must be a number of at least 1"):
            kind(max_values=0)

"""Values that stand for no rating, scales, and amounts that are no ratings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.meaning.ratings import RatingValues, find_no_rating


def count(counts: dict[float, int]) -> RatingValues:
    return RatingValues(np.array(list(counts), float), np.array(list(counts.values())))


@pytest.mark.parametrize(
    ("counts", "nothing", "scale"),
    [
        ({-1: 18, 7: 9, 8: 9, 9: 9, 10: 9}, (-1,), (1, 10)),
        ({-1: 1, 10: 5}, (-1,), (1, 10)),
        ({0: 60, 1: 2, 5: 9, 8: 20, 10: 9}, (0,), (1, 10)),
        ({0: 50, 1: 3, 2: 3, 3: 9, 4: 30, 5: 30}, (0,), (1, 5)),
        ({-9.5: 5, -3: 4, 0: 2, 9.75: 7, 99: 40}, (99,), (-10, 10)),
        ({1: 9, 2: 9, 3: 9, 4: 9, 5: 9, 9: 9}, (9,), (1, 5)),
        ({-2: 4, -1: 4, 1: 9, 3: 9, 5: 9}, (-2, -1), (1, 5)),
        ({-1: 9, 0: 9, 1: 9}, (), (-1, 1)),
        ({-1: 9, 1: 9}, (), (-1, 1)),
        ({-10: 3, 0: 3, 10: 3}, (), (-10, 10)),
        ({0: 9, 1: 9, 2: 9, 3: 9, 4: 9, 5: 9}, (), (0, 5)),
        ({0: 9, 1: 90}, (), (0, 1)),
        ({20: 3, 60: 4, 100: 9}, (), (0, 100)),
        ({1: 5, 3: 5, 5: 50}, (), (1, 5)),
    ],
    ids=str,
)
def test_values_apart_from_the_scale_are_no_ratings(counts: dict, nothing: tuple, scale: tuple) -> None:
    ratings = count(counts)
    assert find_no_rating(ratings) == nothing
    assert ratings.drop(nothing).infer_scale() == scale


def make_log(ratings: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"user": range(len(ratings)), "item": 1, "rating": ratings, "time": 1_600_000_000})


def test_events_without_a_rating_stay_and_are_told() -> None:
    data, report = ingest(make_log([-1, -1, 7, 8, 10]))
    assert (report.events, report.ratings, report.rating_range) == (5, {"7": 1, "8": 1, "10": 1}, (1, 10))
    assert data.events.weight.tolist() == [1.0] * 5
    assert any(each.startswith('The rating -1 of 2 rows means "not rated"') for each in report.warnings)
    assert ingest(make_log([-1, -1, 7, 8, 10]), cleaning=CleaningRules(rating_range=(-1, 10))).report.ratings["-1"] == 2


@pytest.mark.parametrize(
    ("ratings", "rating_range"),
    [
        ([2, 3, 4], (1, 4)),
        ([3, 4, 5], (1, 5)),
        ([-1, -1, 7, 10], (1, 10)),
        ([5, 5, 5], (1, 5)),
        ([0.5, 4], (0.5, 4)),
        ([3, 250], (3, 250)),
    ],
    ids=str,
)
def test_a_data_set_allows_the_scale_that_is_told_and_not_only_the_ratings_it_has(
    ratings: list[float], rating_range: tuple[float, float]
) -> None:
    data, report = ingest(make_log(ratings))
    assert data.rating_range == report.rating_range == data.conventions.rating_range == rating_range
    given = ingest(make_log(ratings), cleaning=CleaningRules(rating_range=(-5, 500), no_rating=())).data
    assert given.rating_range == (-5, 500)


def test_the_values_may_be_given() -> None:
    report = ingest(make_log([0, 1, 2, 3]), cleaning=CleaningRules(no_rating=(0, 3))).report
    assert (report.events, report.ratings) == (4, {"1": 1, "2": 1})
    assert ingest(make_log([-1, 7, 8]), cleaning=CleaningRules(no_rating=())).report.ratings == {
        "-1": 1,
        "7": 1,
        "8": 1,
    }


def test_a_zero_that_may_be_a_rating_is_pointed_out() -> None:
    warnings = ingest(make_log([0, 1, 2, 3, 4, 5])).report.warnings
    assert any("pass CleaningRules(no_rating=0)" in each for each in warnings)


@pytest.mark.parametrize(
    ("values", "are_ratings"),
    [
        (["19.99", "5.49", "22.00"], False),
        (["1250", "300", "9000"], False),
        (["4.99", "0.99", "7.50"], False),
        (["1", "4.5", "5"], True),
        (["0.25", "0.75", "1"], True),
        (["-9.27", "4.13", "9.81"], True),
    ],
)
def test_amounts_are_no_ratings(values: list[str], are_ratings: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("user,item,value\n" + "".join(f"{i},1,{each}\n" for i, each in enumerate(values)), encoding="utf-8")
    report = ingest(path).report
    assert ("rating" in report.columns[str(path)]) == are_ratings
    assert any(each.startswith("Not used: 'value'") for each in report.warnings) != are_ratings


@pytest.mark.parametrize("name", ["PageScore", "page_score", "score"])
def test_scores_far_above_100_are_no_ratings(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"user,item,{name}\n" + "".join(f"{i},1,{score}\n" for i, score in enumerate([30, 286, 2010])))
    report = ingest(path).report
    assert "rating" not in report.columns[str(path)]
    assert any(each.startswith(f"Not used: '{name}'") for each in report.warnings)
    path.write_text(f"user,item,{name}\n" + "".join(f"{i},1,{score}\n" for i, score in enumerate([30, 86, 100])))
    assert ingest(path).report.columns[str(path)]["rating"] == name


def test_a_zero_outside_the_scale_is_told_once() -> None:
    ratings = [1.0, 2.0, 3.0, 4.0, 5.0] * 1000 + [0.0]
    frame = pd.DataFrame({"user": range(len(ratings)), "item": 1, "rating": ratings})
    told = [each for each in ingest(frame).report.warnings if "such as 0" in each or "rating 0" in each]
    assert len(told) == 1
    assert "1 row outside was rejected, such as 0" in told[0]
    assert 'where 0 means "not rated" CleaningRules(no_rating=0)' in told[0]

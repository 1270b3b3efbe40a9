"""Search spaces: declared ranges, given ranges, and their errors."""

import dataclasses
from typing import Any

import pytest

from leanrec.errors import MissingExtraError, SettingError
from leanrec.evaluation.tuning.search_space import (
    Categorical,
    NumericRange,
    build_search_space,
    parse_space,
)
from leanrec.models import get_model, list_models
from leanrec.models.ensembles.hybrid import Hybrid
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.rating_knn import RatingKNN
from leanrec.settings import setting


@dataclasses.dataclass(frozen=True)
class Declared:
    """Settings with declared ranges."""

    depth: int = setting(3, search="1..9")
    l2: float = setting(1.0, above=0)
    n_neighbors: int = setting(100, search="12..400:log")
    shape: str = setting("round", search="round,square,flat")

    def __post_init__(self) -> None:
        if self.shape == "flat":
            raise SettingError("shape must not be flat.")


def test_declared_ranges_are_searched_without_values_that_the_model_rejects() -> None:
    space = build_search_space(Declared())  # type: ignore[arg-type]
    assert space == {
        "depth": NumericRange(1, 9, is_integer=True),
        "n_neighbors": NumericRange(12, 400, log=True, is_integer=True),
        "shape": Categorical(("round", "square")),
    }


def test_a_setting_that_differs_from_the_default_is_fixed_unless_a_range_is_given() -> None:
    assert "l2" not in build_search_space(EASE(l2=50.0))
    assert build_search_space(EASE(l2=50.0), {"l2": "1..2"})["l2"] == NumericRange(1, 2)
    assert build_search_space(EASE(), {"l2": "100"})["l2"] == Categorical((100,))


def test_every_model_has_a_search_space() -> None:
    for name in list_models():
        try:
            kind = get_model(name)
        except MissingExtraError:
            continue
        assert build_search_space(kind()), name


def test_every_model_accepts_the_ends_of_its_ranges() -> None:
    for name in list_models():
        try:
            default: Any = get_model(name)()
        except MissingExtraError:
            continue
        for setting_name, found in build_search_space(default).items():
            if isinstance(found, NumericRange):
                for end in (found.low, found.high):
                    dataclasses.replace(default, **{setting_name: end})


def test_tuples_can_be_categories() -> None:
    space = build_search_space(Hybrid(), {"weights": "[1,0.5],[1,1]"})
    assert space["weights"] == Categorical(((1, 0.5), (1, 1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l2=5..1", r"space=\{'l2': '5\.\.1'\}: the lower end must be below the upper end"),
        ("l2=1..1", "the lower end must be below the upper end"),
        ("l2=0..10:log", r"a log scale must start above 0\. Got 0"),
        ("l2=a..b", r"the ends must be numbers\. Got 'a'"),
        ("l2=1..inf", "the ends must be finite"),
        ("l2=1..2:lin", "only 'log' may follow the colon"),
        ("l2=-5..10", r"l2 must be a positive number\. Got -5"),
        ("top_k=1.5..3", "the ends must be whole numbers"),
        ("weighting=1..2", "weighting is not a number"),
        ("weighting=log,loud", r"weighting must be one of none, binary, log\. Got 'loud'"),
        ("l2=1,x", "l2 must be float"),
        ("l22=1..2", r"EASE has no setting 'l22'\. Did you mean 'l2'"),
        ("l2", "must have the form NAME=LOW..HIGH"),
        ("=1..2", "must have the form NAME=LOW..HIGH"),
    ],
)
def test_an_invalid_range_raises_a_setting_error(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build_search_space(EASE(), parse_space([text]))


def test_an_end_may_need_the_end_of_another_range() -> None:
    # 600 neighbors are more than the default number of candidates.
    space = build_search_space(RatingKNN(), {"n_neighbors": "10..600", "n_candidates": "600,800"})
    assert space["n_neighbors"] == NumericRange(10, 600, is_integer=True)
    with pytest.raises(SettingError, match="n_candidates must be"):
        build_search_space(RatingKNN(), {"n_neighbors": "10..600", "n_candidates": "400"})


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(SettingError, match=r"no setting to tune. Give a range"):
        build_search_space(EASE(), {"l2": "3", "weighting": "log"})


def test_values_are_rounded_to_three_digits_within_the_range() -> None:
    assert NumericRange(1, 1000).round_value(123.456) == 123
    assert NumericRange(1.2345, 10).round_value(1.2345) == 1.2345
    assert NumericRange(1, 10, is_integer=True).round_value(3.0) == 3
    assert not NumericRange(1, 10, is_integer=True).contains(3.5)
    assert not NumericRange(1, 10).contains("3")

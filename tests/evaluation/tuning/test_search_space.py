"""Which values of a setting are tried."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import pytest

from leanrec.errors import MissingExtraError, SettingError
from leanrec.evaluation.tuning.search_space import Categorical, NumericRange, parse_range, parse_space, build_search_space
from leanrec.models import get_model, list_models
from leanrec.models.ensembles.hybrid import Hybrid
from leanrec.models.linear.ease import EASE
from leanrec.models.neighbors.rating_knn import RatingKNN


@dataclasses.dataclass(frozen=True)
class Own:
    """A model with ranges of its own."""

    SPACE: ClassVar[Mapping[str, str]] = {"depth": "1..9", "l2": "", "shape": "round,square,flat"}

    depth: int = 3
    l2: float = 1.0
    k: int = 100
    shape: str = "round"

    def __post_init__(self) -> None:
        if self.shape == "flat":
            raise SettingError("shape must not be flat.")


def test_usual_names_have_usual_ranges_around_the_usual_value() -> None:
    space = build_search_space(EASE())
    assert space["l2"] == NumericRange(1, 10_000, log=True)
    assert space["weighting"] == Categorical(("none", "binary", "log"))
    assert "top" not in space


def test_a_model_declares_its_own_and_is_not_asked_for_what_it_refuses() -> None:
    space = build_search_space(Own())
    assert space == {
        "depth": NumericRange(1, 9, is_integer=True),
        "k": NumericRange(12, 400, log=True, is_integer=True),
        "shape": Categorical(("round", "square")),
    }


def test_what_is_not_usual_stays_unless_it_is_named() -> None:
    assert "l2" not in build_search_space(EASE(l2=50.0))
    assert build_search_space(EASE(l2=50.0), {"l2": "1..2"})["l2"] == NumericRange(1, 2)
    assert build_search_space(EASE(), {"l2": "100"})["l2"] == Categorical((100,))


def test_every_model_has_something_to_search() -> None:
    for name in list_models():
        try:
            kind = get_model(name)
        except MissingExtraError:
            continue
        assert build_search_space(kind()), name


def test_every_declared_range_is_of_a_setting_that_exists() -> None:
    for name in list_models():
        kind = get_model(name)
        for setting, text in getattr(kind, "SPACE", {}).items():
            assert not text or parse_range(kind, setting, text)


def test_tuples_are_values() -> None:
    space = build_search_space(Hybrid(), {"weights": "[1,0.5],[1,1]"})
    assert space["weights"] == Categorical(((1, 0.5), (1, 1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l2=5..1", r"--space l2=5\.\.1: the lower end must be below the higher"),
        ("l2=1..1", "the lower end must be below the higher"),
        ("l2=0..10:log", r"a log scale must start above 0\. Got 0"),
        ("l2=a..b", r"the ends must be numbers\. Got 'a'"),
        ("l2=1..inf", "the ends must be finite"),
        ("l2=1..2:lin", "after the colon there may only be 'log'"),
        ("l2=-5..10", r"l2 must be a positive number\. Got -5"),
        ("top=1.5..3", "the ends must be whole numbers"),
        ("weighting=1..2", "weighting is no number"),
        ("weighting=log,loud", r"weighting must be one of none, binary, log\. Got 'loud'"),
        ("l2=1,x", "l2 must be float"),
        ("l22=1..2", r"EASE has no setting 'l22'\. Did you mean 'l2'"),
        ("l2", "must have the form NAME=LOW..HIGH"),
        ("=1..2", "must have the form NAME=LOW..HIGH"),
    ],
)
def test_a_bad_range_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        build_search_space(EASE(), parse_space([text]))


def test_an_end_may_need_another_setting_to_move_too() -> None:
    # k = 600 alone is above the pool of 400.
    space = build_search_space(RatingKNN(), {"k": "10..600", "pool": "600,800"})
    assert space["k"] == NumericRange(10, 600, is_integer=True)
    with pytest.raises(SettingError, match="pool must be"):
        build_search_space(RatingKNN(), {"k": "10..600", "pool": "400"})


def test_a_model_without_anything_to_search_says_so() -> None:
    with pytest.raises(SettingError, match=r"nothing to search. Name a range"):
        build_search_space(EASE(), {"l2": "3", "weighting": "log"})


def test_numbers_are_written_with_three_digits_inside_their_range() -> None:
    assert NumericRange(1, 1000).near(123.456) == 123
    assert NumericRange(1.2345, 10).near(1.2345) == 1.2345
    assert NumericRange(1, 10, is_integer=True).near(3.0) == 3
    assert not NumericRange(1, 10, is_integer=True).contains(3.5)
    assert not NumericRange(1, 10).contains("3")

"""Which values of a setting are tried."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import pytest

from leanrec.errors import MissingExtraError, SettingError
from leanrec.evaluation.tuning.search_space import Choices, Numbers, read_range, read_space, space_of
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
    space = space_of(EASE())
    assert space["l2"] == Numbers(1, 10_000, log=True)
    assert space["weighting"] == Choices(("none", "binary", "log"))
    assert "top" not in space


def test_a_model_declares_its_own_and_is_not_asked_for_what_it_refuses() -> None:
    space = space_of(Own())
    assert space == {
        "depth": Numbers(1, 9, whole=True),
        "k": Numbers(12, 400, log=True, whole=True),
        "shape": Choices(("round", "square")),
    }


def test_what_is_not_usual_stays_unless_it_is_named() -> None:
    assert "l2" not in space_of(EASE(l2=50.0))
    assert space_of(EASE(l2=50.0), {"l2": "1..2"})["l2"] == Numbers(1, 2)
    assert space_of(EASE(), {"l2": "100"})["l2"] == Choices((100,))


def test_every_model_has_something_to_search() -> None:
    for name in list_models():
        try:
            kind = get_model(name)
        except MissingExtraError:
            continue
        assert space_of(kind()), name


def test_every_declared_range_is_of_a_setting_that_exists() -> None:
    for name in list_models():
        kind = get_model(name)
        for setting, text in getattr(kind, "SPACE", {}).items():
            assert not text or read_range(kind, setting, text)


def test_tuples_are_values() -> None:
    space = space_of(Hybrid(), {"weights": "[1,0.5],[1,1]"})
    assert space["weights"] == Choices(((1, 0.5), (1, 1)))


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
        space_of(EASE(), read_space([text]))


def test_an_end_may_need_another_setting_to_move_too() -> None:
    # k = 600 alone is above the pool of 400.
    space = space_of(RatingKNN(), {"k": "10..600", "pool": "600,800"})
    assert space["k"] == Numbers(10, 600, whole=True)
    with pytest.raises(SettingError, match="pool must be"):
        space_of(RatingKNN(), {"k": "10..600", "pool": "400"})


def test_a_model_without_anything_to_search_says_so() -> None:
    with pytest.raises(SettingError, match=r"nothing to search. Name a range"):
        space_of(EASE(), {"l2": "3", "weighting": "log"})


def test_numbers_are_written_with_three_digits_inside_their_range() -> None:
    assert Numbers(1, 1000).near(123.456) == 123
    assert Numbers(1.2345, 10).near(1.2345) == 1.2345
    assert Numbers(1, 10, whole=True).near(3.0) == 3
    assert not Numbers(1, 10, whole=True).holds(3.5)
    assert not Numbers(1, 10).holds("3")

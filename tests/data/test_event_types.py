"""Event types: names and weights."""

import pytest

from leanrec.data.event_types import normalize_name, resolve_event_weights
from leanrec.errors import SettingError


def test_given_weights_take_precedence_over_defaults() -> None:
    weights, unknown = resolve_event_weights(["Purchase", "view", "frobnicate"], {"purchase": 7})
    assert weights == {"Purchase": 7.0, "view": 1.0, "frobnicate": 1.0}
    assert unknown == ["frobnicate"]


def test_names_are_compared_without_case_and_punctuation() -> None:
    assert normalize_name("Add_to.Cart") == normalize_name("add to-cart") == "addtocart"


@pytest.mark.parametrize(
    ("given", "match"), [({"buy": 1}, "must name event types of the log"), ({"view": -1}, "at least 0")]
)
def test_unknown_types_and_negative_weights_are_refused(given: dict[str, float], match: str) -> None:
    with pytest.raises(SettingError, match=match):
        resolve_event_weights(["view"], given)

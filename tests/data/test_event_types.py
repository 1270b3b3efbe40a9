"""Event types: names and weights."""

import pytest

from leanrec.data.event_types import find_later_types, normalize_name, resolve_event_weights
from leanrec.errors import SettingError


def test_given_weights_take_precedence_over_defaults() -> None:
    weights, unknown = resolve_event_weights(["Purchase", "view", "frobnicate"], {"purchase": 7})
    assert weights == {"Purchase": 7.0, "view": 1.0, "frobnicate": 1.0}
    assert unknown == ["frobnicate"]


def test_names_are_compared_without_case_and_punctuation() -> None:
    assert normalize_name("Add_to.Cart") == normalize_name("add to-cart") == "addtocart"


def test_types_that_the_log_does_not_have_are_kept() -> None:
    given = {"View": 2, "purchase": 5, "frobnicate": 4}
    assert resolve_event_weights(["view"], given)[0] == {"view": 2.0}
    assert find_later_types(["view"], given) == {"purchase": 5.0, "frobnicate": 4.0}


def test_misspelled_types_and_negative_weights_are_refused() -> None:
    with pytest.raises(SettingError, match="Did you mean 'view'"):
        find_later_types(["view"], {"veiw": 1})
    with pytest.raises(SettingError, match="at least 0"):
        resolve_event_weights(["view"], {"view": -1})

"""Event types: names and weights."""

import pytest

from leanrec.data.event_types import (
    DISLIKED,
    LIKED,
    are_event_types,
    find_later_types,
    name_amount,
    normalize_name,
    resolve_event_weights,
)
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


@pytest.mark.parametrize(
    ("weight", "names"),
    [
        (
            0.0,
            "RemoveShopCart remove_from_wishlist undislike disliked order_returned Refunds skipped not_interested cancel_order unfavorite",
        ),
        (1.0, "clicks product_view purchase_page_view PageViews listened videoPlay productview view2"),
        (2.0, "carts AddShopCart add_to_cart add_to_cart_click bookmarks downloads"),
        (3.0, "orders purchase_complete orderPlaced begin_checkout buys bookings"),
    ],
)
def test_the_words_of_a_name_decide(weight: float, names: str) -> None:
    weights, unknown = resolve_event_weights(names.split(), None)
    assert (weights, unknown) == (dict.fromkeys(names.split(), weight), [])


def test_names_without_a_known_word_are_unknown() -> None:
    assert resolve_event_weights(["frobnicate", "1", "start"], None)[1] == ["frobnicate", "1", "start"]


def test_amounts_are_named_by_their_words() -> None:
    named = {
        "plays": "play",
        "HoursPlayed": "play",
        "listen_count": "play",
        "n_visits": "visit",
        "purchase_times": "purchase",
    }
    unnamed = dict.fromkeys(["weight", "count", "value", "score", "times"], "interaction")
    assert {name: name_amount(name) for name in named | unnamed} == named | unnamed


def test_texts_are_event_types_where_all_are_words_for_one() -> None:
    assert are_event_types(["view", "AddToCart", "purchase"])
    assert are_event_types(["vista", "compra", "carrito"])
    assert are_event_types(["浏览", "加购", "购买"])
    for texts in (["view"], ["View", "view"], ["view", "mobile"], ["complete", "cancelled"], ["search", "email"], []):
        assert not are_event_types(texts)


def test_likes_and_dislikes_have_words_in_other_languages() -> None:
    likes, dislikes = (
        ["Gefällt mir", "J'aime", "いいね", "Нравится", "beğendim"],
        ["gefällt_mir_nicht", "Je n'aime pas", "不喜欢", "non mi piace"],
    )
    weights, unknown = resolve_event_weights([*likes, *dislikes], None)
    assert (weights, unknown) == (dict.fromkeys(likes, 2.0) | dict.fromkeys(dislikes, 0.0), [])
    assert not {normalize_name(name) for name in LIKED} & {normalize_name(name) for name in DISLIKED}

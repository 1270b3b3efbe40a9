"""Event types and their default weights as evidence of a preference."""

import re
from collections.abc import Mapping, Sequence

from leanrec.errors import SettingError
from leanrec.settings import check_at_least

__all__ = ["normalize_name", "resolve_event_weights"]

_NAMES_BY_WEIGHT = {
    0.0: "impression impressions exposure exposed show shown display skip skipped dislike dislikes downvote thumbsdown hide hidden "
    "unlike remove removefromcart removed return returned refund report block unfollow pass ignore noclick",
    1.0: "view views pageview detail detailview click clicks open play listen watch read visit interaction rating rate seen tag search",
    2.0: "like likes liked favorite favourite favorites fav star upvote thumbsup save saved bookmark wishlist share shared comment "
    "follow cart addtocart addcart basket addtobasket collect download reply complete finish",
    3.0: "purchase purchases purchased buy bought order ordered transaction checkout subscribe pay sale conversion",
}
_WEIGHTS = {name: weight for weight, names in _NAMES_BY_WEIGHT.items() for name in names.split()}


def normalize_name(name: str) -> str:
    """Return the name of an event type or a column without case, spaces, dots, dashes and underscores."""
    return re.sub(r"[\s_.\-]+", "", name).lower()


def resolve_event_weights(
    names: Sequence[str], given: Mapping[str, float] | None
) -> tuple[dict[str, float], list[str]]:
    """Return the weight of each event type (given, or the default of its name, or 1), and the types without a known name.

    Raises SettingError for a negative weight and for a given event type that the log does not have.
    """
    given = given or {}
    weights = {normalize_name(name): float(weight) for name, weight in given.items()}
    for name, weight in weights.items():
        check_at_least(f"The weight of the event type {name!r}", weight, 0)
    known = {normalize_name(name) for name in names}
    for name in given:
        if normalize_name(name) not in known:
            raise SettingError(
                f"event_weights must name event types of the log. Got {name!r}; the log has {', '.join(names)}."
            )
    resolved = {name: weights.get(normalize_name(name), _WEIGHTS.get(normalize_name(name), 1.0)) for name in names}
    unknown = [name for name in names if normalize_name(name) not in weights and normalize_name(name) not in _WEIGHTS]
    return resolved, unknown

"""What a behaviour is worth as evidence of liking, where nobody said."""

from collections.abc import Mapping, Sequence

from leanrec.data.ingest.columns import plain_name
from leanrec.errors import SettingError
from leanrec.settings import check_at_least

__all__ = ["kind_weights"]

_USUAL = {
    0.0: "impression impressions exposure exposed show shown display skip skipped dislike dislikes downvote thumbsdown hide hidden "
    "unlike remove removefromcart removed return returned refund report block unfollow pass ignore noclick",
    1.0: "view views pageview detail detailview click clicks open play listen watch read visit interaction rating rate seen tag search",
    2.0: "like likes liked favorite favourite favorites fav star upvote thumbsup save saved bookmark wishlist share shared comment "
    "follow cart addtocart addcart basket addtobasket collect download reply complete finish",
    3.0: "purchase purchases purchased buy bought order ordered transaction checkout subscribe pay sale conversion",
}
_WEIGHTS = {name: weight for weight, names in _USUAL.items() for name in names.split()}


def kind_weights(names: Sequence[str], given: Mapping[str, float] | None) -> tuple[dict[str, float], list[str]]:
    """Weight of each kind: given, or usual for its name, or 1. Also the kinds that were not known by name.

    Raises SettingError for a weight that is negative and for a given kind that the log does not have.
    """
    asked = {plain_name(name): float(weight) for name, weight in (given or {}).items()}
    for name, weight in asked.items():
        check_at_least(f"The weight of the kind {name!r}", weight, 0)
    there = {plain_name(name) for name in names}
    for name in given or {}:
        if plain_name(name) not in there:
            raise SettingError(f"kinds must name behaviours of the log. Got {name!r}; the log has {', '.join(names)}.")
    weights = {name: asked.get(plain_name(name), _WEIGHTS.get(plain_name(name), 1.0)) for name in names}
    unknown = [name for name in names if plain_name(name) not in asked and plain_name(name) not in _WEIGHTS]
    return weights, unknown

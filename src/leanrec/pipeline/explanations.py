"""Reasons in words."""

from collections.abc import Callable, Sequence

import numpy as np

from leanrec.features.stop_words import FUNCTION_WORDS
from leanrec.protocols import Explanation, Path

__all__ = ["in_words", "joined", "path_words", "verb_for"]

_VERBS = {
    "rating": "rated",
    "view": "viewed",
    "click": "clicked",
    "read": "read",
    "purchase": "bought",
    "buy": "bought",
    "cart": "put into the cart",
    "play": "played",
    "listen": "listened to",
    "watch": "watched",
    "like": "liked",
}
_STEMS = {
    "history": "because you {verb} {titles}",
    "content": "like {titles}, which you {verb}",
    "neighbours": "people whose taste is like yours also {verb} {titles}",
    "factors": "close in taste to {titles}",
    "popularity": "popular with people who {verb} {titles}",
    "friends": "close to what people you trust chose, and to {titles}",
}
_ALONE = {
    "popularity": "popular with everybody",
    "neighbours": "chosen by people whose taste is like yours",
    "factors": "close to your taste",
    "friends": "close to what people you trust chose",
}


def verb_for(kind: str) -> str:
    """What "you" did with an item, for a kind of behaviour."""
    return _VERBS.get(kind, "chose")


def joined(texts: Sequence[str]) -> str:
    """The texts as in a sentence: A; A and B; A, B and C."""
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def in_words(why: Explanation, title: Callable[[int], str], verb: str, most: int = 2) -> tuple[str, ...]:
    """The reasons of an explanation, strongest first: at most ``most`` titles and three features. O(R).

    Args:
        why: what the model says.
        title: title of an item row.
        verb: what the user did with the items, such as "watched".
        most: titles to name.
    """
    speaking = np.asarray(why.items)[np.asarray(why.weights) > 0][:most]
    reasons = []
    if len(speaking):
        titles = joined([title(int(row)) for row in speaking])
        reasons.append(_STEMS.get(why.reason, _STEMS["history"]).format(verb=verb, titles=titles))
    elif why.reason in _ALONE:
        reasons.append(_ALONE[why.reason])
    shared = list(dict.fromkeys(filter(None, map(_plain, why.features))))
    if why.paths:
        reasons += _as_in(why, title, most)
    elif shared:
        reasons.append(f"shares: {', '.join(shared[:3])}")
    return tuple(reasons)


def path_words(path: Path, title: Callable[[int], str], to: str) -> str:
    """A path from a touched item to the one called ``to``: "Heat → actor: Al Pacino → The Insider"."""
    return f"{title(path.item)} → {path.through} → {to}"


def _as_in(why: Explanation, title: Callable[[int], str], most: int) -> list[str]:
    """What leads to the item, with the items that share it, at most three: "actor: Al Pacino, as in Heat and Serpico"."""
    sharing: dict[str, list[int]] = {}
    for path in why.paths:
        sharing.setdefault(path.through, []).append(path.item)
    return [
        f"{through}, as in {joined([title(row) for row in dict.fromkeys(rows[:most])])}"
        for through, rows in list(sharing.items())[:3]
    ]


def _plain(feature: str) -> str:
    """A feature for people: a word without the name of its column, nothing for a word that says nothing.

    A model may weigh such words; a person learns nothing from them.
    """
    column, colon, value = feature.partition(": ")
    if not colon or not value[:1].isalpha():
        return "" if column.lower() in FUNCTION_WORDS else feature
    return "" if value.lower() in FUNCTION_WORDS else value

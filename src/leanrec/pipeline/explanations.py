"""Renders explanations as text."""

from collections.abc import Callable, Sequence

from leanrec.features.tokenization import STOP_WORDS
from leanrec.protocols import Explanation, ExplanationPath

__all__ = ["MAX_TITLES", "get_verb", "join_titles", "render_explanation", "render_path"]

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
_WITH_TITLES = {
    "history": "because you {verb} {titles}",
    "content": "like {titles}, which you {verb}",
    "neighbors": "people with similar taste also {verb} {titles}",
    "factors": "similar in taste to {titles}",
    "popularity": "popular with people who {verb} {titles}",
    "friends": "similar to what people you trust chose, and to {titles}",
}
_WITHOUT_TITLES = {
    "popularity": "popular with all users",
    "neighbors": "chosen by people with similar taste",
    "factors": "matches your taste",
    "friends": "similar to what people you trust chose",
    "attributes": "chosen by people like you",
}
_MAX_FEATURES = 3
MAX_TITLES = 2


def get_verb(event_type: str) -> str:
    """Past tense of what a user did, for "because you … this"."""
    return _VERBS.get(event_type, "chose")


def join_titles(titles: Sequence[str]) -> str:
    """The titles as an enumeration: A; A and B; A, B and C."""
    *head, last = titles
    return f"{', '.join(head)} and {last}" if head else last


def render_explanation(
    explanation: Explanation, get_title: Callable[[int], str], verb: str, max_titles: int = MAX_TITLES
) -> tuple[str, ...]:
    """The reasons of an explanation as phrases, strongest first. O(R).

    Args:
        explanation: what the model returned.
        get_title: title of an item row.
        verb: what the user did with the items, such as "watched".
        max_titles: largest number of titles in one phrase.
    """
    # Largest first, so the positive ones are the first.
    head = zip(explanation.items[:max_titles].tolist(), explanation.weights[:max_titles].tolist(), strict=True)
    items = [row for row, weight in head if weight > 0]
    reasons = []
    if items:
        titles = join_titles([get_title(row) for row in items])
        phrase = _WITH_TITLES.get(explanation.reason, _WITH_TITLES["history"])
        reasons.append(phrase.format(verb=verb, titles=titles))
    elif explanation.reason in _WITHOUT_TITLES:
        reasons.append(_WITHOUT_TITLES[explanation.reason])
    if explanation.paths:
        by_link: dict[str, list[int]] = {}
        for path in explanation.paths:
            by_link.setdefault(path.through, []).append(path.item)
        for link, rows in list(by_link.items())[:_MAX_FEATURES]:
            titles = join_titles([get_title(row) for row in dict.fromkeys(rows[:max_titles])])
            reasons.append(f"{link}, as in {titles}")
    elif features := list(dict.fromkeys(filter(None, map(_strip_feature, explanation.features)))):
        reasons.append(f"shares: {', '.join(features[:_MAX_FEATURES])}")
    return tuple(reasons)


def render_path(path: ExplanationPath, get_title: Callable[[int], str], target: str) -> str:
    """A path from an item of the history to the item called ``target``: "Heat → actor: Al Pacino → The Insider"."""
    return f"{get_title(path.item)} → {path.through} → {target}"


def _strip_feature(feature: str) -> str:
    """A feature for display: a word without the name of its column; "" for a stop word, which tells a reader nothing."""
    column, colon, value = feature.partition(": ")
    if not colon or not value[:1].isalpha():
        return "" if column.lower() in STOP_WORDS else feature
    return "" if value.lower() in STOP_WORDS else value

"""Reasons in words."""

import numpy as np
import pytest

from leanrec.pipeline.explanations import get_verb, join_titles, render_explanation, render_path
from leanrec.protocols import Explanation, ExplanationPath


def render(reason: str, weights: list[float], features: tuple[str, ...] = ()) -> tuple[str, ...]:
    why = Explanation(reason, np.arange(len(weights), dtype=np.int32), np.array(weights, np.float32), features)
    return render_explanation(why, lambda row: "ABCD"[row], "watched")


@pytest.mark.parametrize(
    ("reason", "weights", "features", "words"),
    [
        ("history", [3.0, 2.0, 1.0], (), ("because you watched A and B",)),
        ("history", [3.0, -2.0], (), ("because you watched A",)),
        ("history", [], (), ()),
        (
            "content",
            [1.0],
            ("space", "opera", "x", "y"),
            ("like A, which you watched", "shares: space, opera, x"),
        ),
        ("neighbors", [1.0, 1.0], (), ("people with similar taste also watched A and B",)),
        ("neighbors", [], (), ("chosen by people with similar taste",)),
        ("popularity", [], (), ("popular with all users",)),
        ("factors", [1.0], (), ("similar in taste to A",)),
        ("a stem of tomorrow", [1.0], (), ("because you watched A",)),
    ],
)
def test_reasons_become_phrases(
    reason: str, weights: list[float], features: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert render(reason, weights, features) == words


def test_verbs_and_enumerations() -> None:
    assert get_verb("purchase") == "bought"
    assert get_verb("something") == "chose"
    assert join_titles(["A"]) == "A"
    assert join_titles(["A", "B", "C"]) == "A, B and C"


def test_features_are_shown_without_columns_and_stop_words() -> None:
    features = (
        "content: and",
        "content: space",
        "genres: Sci-Fi",
        "year: 1980 to 1990",
        "title: Space",
        "content: space",
    )
    assert render("content", [], features) == ("shares: space, Sci-Fi, year: 1980 to 1990",)
    assert render("content", [], ("content: the", "and")) == ()


def test_paths_name_the_link_between_two_items() -> None:
    paths = (
        ExplanationPath(0, "actor: Al Pacino", 2.0),
        ExplanationPath(2, "director: Mann", 1.0),
        ExplanationPath(1, "actor: Al Pacino", 0.5),
    )
    why = Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32), ("actor: Al Pacino",), paths)
    words = ("actor: Al Pacino, as in A and B", "director: Mann, as in C")
    assert render_explanation(why, lambda row: "ABCD"[row], "watched") == words
    assert render_path(paths[0], lambda row: "ABCD"[row], "D") == "A → actor: Al Pacino → D"


def test_friends_have_phrases_with_and_without_titles() -> None:
    assert render("friends", []) == ("similar to what people you trust chose",)
    assert render("friends", [1.0]) == ("similar to what people you trust chose, and to A",)

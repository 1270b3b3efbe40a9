"""Reasons in words."""

import numpy as np
import pytest

from leanrec.pipeline.explanations import in_words, joined, path_words, verb_for
from leanrec.protocols import Explanation, Path


def said(reason: str, weights: list[float], features: tuple[str, ...] = ()) -> tuple[str, ...]:
    why = Explanation(reason, np.arange(len(weights), dtype=np.int32), np.array(weights, np.float32), features)
    return in_words(why, lambda row: "ABCD"[row], "watched")


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
        ("neighbours", [1.0, 1.0], (), ("people whose taste is like yours also watched A and B",)),
        ("neighbours", [], (), ("chosen by people whose taste is like yours",)),
        ("popularity", [], (), ("popular with everybody",)),
        ("factors", [1.0], (), ("close in taste to A",)),
        ("a stem of tomorrow", [1.0], (), ("because you watched A",)),
    ],
)
def test_words(reason: str, weights: list[float], features: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert said(reason, weights, features) == words


def test_verbs_and_lists() -> None:
    assert verb_for("purchase") == "bought"
    assert verb_for("something") == "chose"
    assert joined(["A"]) == "A"
    assert joined(["A", "B", "C"]) == "A, B and C"


def test_shared_content_is_named_without_columns_and_function_words() -> None:
    features = (
        "content: and",
        "content: space",
        "genres: Sci-Fi",
        "year: 1980 to 1990",
        "title: Space",
        "content: space",
    )
    assert said("content", [], features) == ("shares: space, Sci-Fi, year: 1980 to 1990",)
    assert said("content", [], ("content: the", "and")) == ()


def test_paths_are_said_with_what_both_are_tied_to() -> None:
    paths = (Path(0, "actor: Al Pacino", 2.0), Path(2, "director: Mann", 1.0), Path(1, "actor: Al Pacino", 0.5))
    why = Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32), ("actor: Al Pacino",), paths)
    words = ("actor: Al Pacino, as in A and B", "director: Mann, as in C")
    assert in_words(why, lambda row: "ABCD"[row], "watched") == words
    assert path_words(paths[0], lambda row: "ABCD"[row], "D") == "A → actor: Al Pacino → D"


def test_friends_are_a_reason() -> None:
    assert said("friends", []) == ("close to what people you trust chose",)
    assert said("friends", [1.0]) == ("close to what people you trust chose, and to A",)

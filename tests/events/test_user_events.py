"""Reactions as events, and the weight they carry."""

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.events.user_events import Reaction, Strength, to_events
from leanrec.types import Events


def reaction(**changes: object) -> Reaction:
    return Reaction(**{"id": "a", "user": 1, "item": 2, "kind": "click", "time": 5, "weight": 1.0} | changes)


def test_reactions_keep_their_ids_and_what_is_not_known() -> None:
    events = to_events([reaction(), reaction(user=3, kind="rating", value=4.5, request="r", rank=2)])
    assert events.user.tolist() == [1, 3]
    assert events.kinds == ("click", "rating")
    assert [events.kinds[code] for code in events.kind] == ["click", "rating"]
    assert np.isnan(events.value[0])
    assert events.value[1] == 4.5
    assert events.request.tolist() == ["", "r"]
    assert events.rank.tolist() == [-1, 2]


def test_no_reaction_is_an_empty_log() -> None:
    assert len(to_events([])) == 0


def test_ids_of_mixed_form_become_text() -> None:
    assert to_events([reaction(user=1), reaction(user="guest")]).user.tolist() == ["1", "guest"]


def log(kinds: tuple[str, ...], kind: list[int], weight: list[float], value: list[float] | None = None) -> Events:
    count = len(kind)
    return Events(
        user=np.zeros(count, np.int32),
        item=np.arange(count, dtype=np.int32),
        time=np.arange(count, dtype=np.int64),
        kind=np.array(kind, np.int8),
        weight=np.array(weight, np.float32),
        value=None if value is None else np.array(value, np.float32),
        kinds=kinds,
    )


def test_a_known_kind_counts_as_much_as_in_the_data() -> None:
    strength = Strength.of(log(("view", "purchase"), [0, 0, 1], [1.0, 3.0, 10.0]))
    assert strength.weight("view") == 2.0
    assert strength.weight("purchase") == 10.0
    assert strength.weight() == pytest.approx(14 / 3)


def test_a_kind_that_was_given_no_weight_gets_none() -> None:
    assert Strength.of(log(("view", "purchase"), [0, 1], [0.0, 1.0])).weight("view") == 0.0


@pytest.mark.parametrize(("kind", "weight"), [("skip", 0.0), ("impression", 0.0), ("click", 1.0), ("purchase", 3.0)])
def test_an_unknown_kind_counts_as_its_name_says(kind: str, weight: float) -> None:
    assert Strength.of(log(("view",), [0], [5.0])).weight(kind) == weight


def test_a_low_rating_is_no_evidence_of_liking() -> None:
    strength = Strength.of(log(("rating",), [0, 0, 0], [0.0, 1.0, 1.0], [2.0, 3.5, 5.0]))
    assert strength.positive_from == 3.5
    assert strength.weight("rating", 3.0) == 0.0
    assert strength.weight("rating", 3.5) == 1.0


def test_data_without_anything_positive_still_has_a_default() -> None:
    assert Strength.of(log(("view",), [0], [0.0])).weight() == 1.0
    assert Strength.of(make_dataset().events).positive_from is not None

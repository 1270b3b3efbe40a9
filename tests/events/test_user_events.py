"""Conversion of user events to columns, and evidence weights."""

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.conventions import LogConventions
from leanrec.events.user_events import EvidenceWeights, UserEvent, to_events
from leanrec.types import Events


def user_event(**changes: object) -> UserEvent:
    return UserEvent(**{"id": "a", "user": 1, "item": 2, "event_type": "click", "time": 5, "weight": 1.0} | changes)


def test_columns_keep_ids_and_mark_missing_values() -> None:
    events = to_events([user_event(), user_event(user=3, event_type="rating", rating=4.5, request="r", rank=2)])
    assert events.user.tolist() == [1, 3]
    assert events.event_types == ("click", "rating")
    assert [events.event_types[code] for code in events.event_type] == ["click", "rating"]
    assert np.isnan(events.rating[0])
    assert events.rating[1] == 4.5
    assert events.request.tolist() == ["", "r"]
    assert events.rank.tolist() == [-1, 2]


def test_no_events_give_an_empty_log() -> None:
    assert len(to_events([])) == 0


def test_ids_of_mixed_types_become_text() -> None:
    assert to_events([user_event(user=1), user_event(user="guest")]).user.tolist() == ["1", "guest"]


def make_columns(
    event_types: tuple[str, ...], codes: list[int], weight: list[float], rating: list[float] | None = None
) -> Events:
    count = len(codes)
    return Events(
        user=np.zeros(count, np.int32),
        item=np.arange(count, dtype=np.int32),
        time=np.arange(count, dtype=np.int64),
        event_type=np.array(codes, np.int8),
        weight=np.array(weight, np.float32),
        rating=None if rating is None else np.array(rating, np.float32),
        event_types=event_types,
    )


def test_a_known_event_type_has_its_mean_weight_in_the_data() -> None:
    weights = EvidenceWeights.from_events(make_columns(("view", "purchase"), [0, 0, 1], [1.0, 3.0, 10.0]))
    assert weights.weight("view") == 2.0
    assert weights.weight("purchase") == 10.0
    assert weights.weight() == pytest.approx(14 / 3)


def test_an_event_type_without_positive_events_has_weight_zero() -> None:
    assert EvidenceWeights.from_events(make_columns(("view", "purchase"), [0, 1], [0.0, 1.0])).weight("view") == 0.0


@pytest.mark.parametrize(
    ("event_type", "weight"), [("skip", 0.0), ("impression", 0.0), ("click", 1.0), ("purchase", 3.0)]
)
def test_an_unknown_event_type_has_the_default_weight_of_its_name(event_type: str, weight: float) -> None:
    assert EvidenceWeights.from_events(make_columns(("view",), [0], [5.0])).weight(event_type) == weight


def test_a_low_rating_has_weight_zero() -> None:
    weights = EvidenceWeights.from_events(make_columns(("rating",), [0, 0, 0], [0.0, 1.0, 1.0], [2.0, 3.5, 5.0]))
    assert weights.positive_from == 3.5
    assert weights.weight("rating", 3.0) == 0.0
    assert weights.weight("rating", 3.5) == 1.0


def test_data_without_positive_events_have_a_default_weight() -> None:
    assert EvidenceWeights.from_events(make_columns(("view",), [0], [0.0])).weight() == 1.0
    assert EvidenceWeights.from_events(make_dataset().events).positive_from is not None


def test_what_was_settled_is_kept_and_not_read_off_the_data() -> None:
    events = make_columns(("rating",), [0, 0], [1.0, 0.0], [4.5, 2.0])
    settled = LogConventions(event_weights={"rating": 1.0, "purchase": 5.0}, positive_from=4.0)
    weights = EvidenceWeights.from_events(events, settled)
    assert weights.weight("rating", 4.0) == 1.0
    assert weights.weight("rating", 3.9) == 0.0
    assert weights.weight("purchase") == weights.weight("Purchase") == 5.0
    every = EvidenceWeights.from_events(events, LogConventions(event_weights={"rating": 1.0}))
    assert every.weight("rating", 1.0) == 1.0


def test_a_type_of_which_no_event_was_liked_keeps_its_settled_weight() -> None:
    events = make_columns(("rating",), [0], [0.0], [2.0])
    settled = LogConventions(event_weights={"rating": 1.0}, positive_from=4.0)
    assert EvidenceWeights.from_events(events, settled).weight("rating", 5.0) == 1.0

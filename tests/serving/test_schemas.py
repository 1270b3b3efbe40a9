"""Validation of requests."""

from typing import Any

import pytest
from pydantic import ValidationError

from leanrec.serving.schemas import AddItemsRequest, EventsRequest, RecommendRequest


def test_ids_keep_their_type() -> None:
    assert RecommendRequest.model_validate({"history": [1, "1"]}).history == [1, "1"]


@pytest.mark.parametrize(
    "body",
    [{"user": True}, {"user": ""}, {"user": 2**63}, {"n": 0}, {"usr": 1}, {"weights": [-1]}, {"ratings": ["high"]}],
)
def test_a_wrong_recommend_request_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RecommendRequest.model_validate(body)


def test_an_event_is_a_click_by_default() -> None:
    event = EventsRequest.model_validate({"events": [{"user": 1, "item": 2}]}).events[0]
    assert (event.event_type, event.rating, event.weight) == ("click", None, None)


def test_a_batch_must_not_be_empty() -> None:
    with pytest.raises(ValidationError):
        EventsRequest.model_validate({"events": []})
    with pytest.raises(ValidationError):
        AddItemsRequest.model_validate({"items": []})

"""Validation of requests."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from leanrec.pipeline.responses import HistoryEvent, RecommendedItem
from leanrec.serving.schemas import (
    MAX_EVENTS,
    AddItemsRequest,
    EventRequest,
    EventsRequest,
    ExplainResponse,
    HistoryResponse,
    RecommendRequest,
    RecommendResponse,
)


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
    event = EventRequest.model_validate({"user": 1, "item": 2})
    assert (event.event_type, event.rating, event.weight) == ("click", None, None)


def test_a_batch_must_not_be_empty() -> None:
    for events in ([], [{}] * (MAX_EVENTS + 1)):
        with pytest.raises(ValidationError):
            EventsRequest.model_validate({"events": events})
    with pytest.raises(ValidationError):
        AddItemsRequest.model_validate({"items": []})


def test_ids_from_two_to_the_53_are_text_in_both_directions() -> None:
    """A page would change their last digits, and its click would belong to another item."""
    large, exact = 2**53, 2**53 - 1
    with pytest.raises(ValidationError, match="less than 9007199254740992"):
        EventRequest.model_validate({"user": large, "item": 1})
    assert EventRequest.model_validate({"user": str(large), "item": exact}).user == str(large)
    item = RecommendedItem(large, "t", 1.0)
    listed = RecommendResponse(
        request="r", user=-large, items=[item], model="m", version="v", policy="m/v", as_of=0, ignored=[exact, large]
    )
    assert json.loads(listed.model_dump_json())["items"][0]["id"] == str(large)
    assert (listed.user, listed.ignored) == (str(-large), [exact, str(large)])
    event = HistoryEvent(large, "t", "click", 1, 1.0)
    assert HistoryResponse(user=1, events=[event]).events[0].id == str(large)
    why = {"id": large, "title": "t", "reasons": [], "contributions": [{"id": large, "title": "t", "weight": 1.0}]}
    assert ExplainResponse.model_validate(why).contributions[0].id == str(large)

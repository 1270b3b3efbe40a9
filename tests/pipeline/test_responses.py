"""Return types of a pipeline."""

import json

from leanrec.pipeline.responses import Contribution, ItemExplanation, Recommendations, RecommendedItem


def test_a_list_converts_to_plain_json() -> None:
    item = RecommendedItem(7, "Seven", 0.5, ("because you watched A",), "https://a.b/c.jpg")
    value = json.loads(json.dumps(Recommendations("r", (item,), user="u", ignored=("x",)).to_dict()))
    assert value == {
        "request": "r",
        "items": [
            {
                "id": 7,
                "title": "Seven",
                "score": 0.5,
                "reasons": ["because you watched A"],
                "image_url": "https://a.b/c.jpg",
                "source": "model",
            }
        ],
        "fallback": None,
        "user": "u",
        "ignored": ["x"],
        "note": None,
        "model": "",
        "version": "",
        "policy": "",
        "arm": None,
        "rung": "full",
        "propensities": None,
        "dropped": [],
        "trace": None,
    }


def test_an_explanation_converts_to_plain_json() -> None:
    explanation = ItemExplanation(7, "Seven", ("reason",), (Contribution(1, "One", 2.0),), ("space",))
    value = json.loads(json.dumps(explanation.to_dict()))
    assert value["contributions"] == [{"id": 1, "title": "One", "weight": 2.0}]
    assert value["features"] == ["space"]

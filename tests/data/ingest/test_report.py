"""The data report against numbers worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.report import describe_dataset, report_from_dict
from leanrec.errors import ArtifactError


def test_counts_tail_and_span_by_hand() -> None:
    # Item 0 has six events, items 1 to 4 one each.
    frame = pd.DataFrame(
        {"user": range(10), "item": [0] * 6 + [1, 2, 3, 4], "time": 1_600_000_000 + np.arange(10) * 86_400}
    )
    report = ingest(frame).report
    assert report.density == pytest.approx(10 / 50)
    assert report.days == 9
    assert (report.start, report.end) == ("2020-09-13T12:26:40Z", "2020-09-22T12:26:40Z")
    assert report.top_share["20%"] == pytest.approx(0.6)
    assert report.top_share["100%"] == 1.0
    # Mean absolute difference over all ordered pairs: 2·4·5/25 = 1.6; Gini = 1.6 / (2 · mean 2).
    assert report.gini == pytest.approx(0.4)
    assert report.events_per_item["median"] == 1
    assert report.events_per_item["max"] == 6
    assert list(report.activity) == [f"2020-09-{day}" for day in range(13, 23)]
    assert set(report.activity.values()) == {1}


def test_ratings_are_listed_or_binned() -> None:
    frame = pd.DataFrame({"user": range(4), "item": 1, "rating": [1, 5, 5, 2.5]})
    assert ingest(frame).report.ratings == {"1": 1, "2.5": 1, "5": 2}
    many = pd.DataFrame({"user": range(100), "item": 1, "rating": np.arange(100.0)})
    binned = ingest(many).report.ratings
    assert len(binned) == 20
    assert sum(binned.values()) == 100


def test_describe_agrees_with_ingest() -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 2], "event": ["view", "like", "like"], "time": 1_600_000_000}
    )
    data, report = ingest(frame)
    own = {
        name: value
        for name, value in describe_dataset(data).to_dict().items()
        if name not in {"columns", "seconds", "memory"}
    }
    assert own == {name: report.to_dict()[name] for name in own}


def test_a_report_survives_json_and_refuses_another_version() -> None:
    report = ingest(pd.DataFrame({"user": [1], "item": [2]})).report
    assert report_from_dict(json.loads(json.dumps(report.to_dict()))) == report
    with pytest.raises(ArtifactError, match="The report of the data set is of another version"):
        report_from_dict({"sauce": "x"})


def test_warnings_name_what_to_look_at() -> None:
    report = ingest(pd.DataFrame({"user": [1], "item": [2], "event": ["frobnicate"]})).report
    said = " ".join(report.warnings)
    assert "There is no time column" in said
    assert "Event types without a default weight get weight 1: frobnicate" in said
    report = ingest(pd.DataFrame({"user": [1], "item": [2], "event": ["skip"]})).report
    assert "No event has a weight above zero" in " ".join(report.warnings)

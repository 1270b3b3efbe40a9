"""The data report against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest
from leanrec.data.ingest.report import describe_dataset, report_from_dict
from leanrec.errors import ArtifactError, DataError


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


@pytest.mark.parametrize(
    ("low", "step", "n", "keys"),
    [
        (1_000_000, 1, 5, ["1000000", "1000001", "1000002", "1000003", "1000004"]),
        (0.125, 2.0**-10, 3, ["0.125", "0.12597656", "0.12695312"]),
        (0.1, 0.1, 3, ["0.1", "0.2", "0.3"]),
        (1_000_000, 1, 60, None),
    ],
)
def test_close_ratings_have_keys_of_their_own(low: float, step: float, n: int, keys: list[str] | None) -> None:
    frame = pd.DataFrame({"user": range(6 * n), "item": 1, "rating": [low + step * (k % n) for k in range(6 * n)]})
    ratings = ingest(frame).report.ratings
    assert sum(ratings.values()) == 6 * n
    if keys is None:
        assert len(ratings) == 20
        assert next(iter(ratings)) == "1000000 to 1000003"
    else:
        assert ratings == dict.fromkeys(keys, 6)


def test_describe_agrees_with_ingest() -> None:
    frame = pd.DataFrame(
        {"user": [1, 1, 2], "item": [1, 2, 2], "event": ["view", "like", "like"], "time": 1_600_000_000}
    )
    data, report = ingest(frame)
    own = {
        name: value
        for name, value in describe_dataset(data).to_dict().items()
        if name not in {"columns", "understood", "seconds", "memory"}
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


def half_read(n: int = 240, every: int = 2) -> pd.DataFrame:
    """A log in which every second item, or more of them, is missing."""
    items = [None if every > 1 and i % every else f"m{i % 15}" for i in range(n)]
    return pd.DataFrame(
        {
            "userId": [f"u{i % 20}" for i in range(n)],
            "movieId": items,
            "rating": [1 + i % 5 for i in range(n)],
            "timestamp": [1_600_000_000 + 1000 * i for i in range(n)],
            "shelf": ["x"] * n,
        }
    )


def test_the_summary_tells_columns_rejected_rows_and_unused_columns() -> None:
    lines = ingest(half_read()).report.summarize()
    assert lines[0].startswith("Read 240 rows of a pandas DataFrame: user=userId")
    assert "rating=rating (1 to 5)" in lines[0]
    assert "time=timestamp (" in lines[0]
    assert lines[1] == "Rejected 120: missing item 120. quarantine=FILE.csv lists them."
    assert any(line.startswith("Not used: shelf (") for line in lines)
    assert len(lines) <= 6
    assert len(ingest(half_read()).report.summarize(n_lines=3)) == 4


def test_a_log_of_which_most_rows_cannot_be_used_is_refused_unless_allowed(tmp_path: Path) -> None:
    frame = half_read(every=3)
    with pytest.raises(
        DataError, match=r"More than half .* 160 of the 240 rows .* missing item: 160.* allow_rejects=True"
    ):
        ingest(frame)
    with pytest.raises(DataError, match=r"rows\.csv lists them"):
        ingest(frame, quarantine=tmp_path / "rows.csv")
    assert len(pd.read_csv(tmp_path / "rows.csv")) == 160
    assert ingest(frame, allow_rejects=True).report.events == 80


def test_rows_that_a_rule_leaves_out_are_not_unusable() -> None:
    frame = half_read(every=1)
    assert ingest(frame, cleaning=CleaningRules(since="2020-09-15")).report.rejected["before since"] > 120

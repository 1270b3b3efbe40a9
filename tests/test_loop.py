"""The whole loop: a log, a fit, a list, a click, a changed list, and the click in the next fit."""

from pathlib import Path

import numpy as np

from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.ingest import ingest
from leanrec.data.merge import merge_events
from leanrec.events.records import ServedList
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import replay_log

NOW = 1_900_000_000


def write_log(path: Path, data: Dataset) -> None:
    """Write the data as a CSV log."""
    lines = ["userId,movieId,rating,timestamp"]
    events = data.events
    for user, item, value, time in zip(events.user, events.item, events.rating, events.time, strict=True):  # type: ignore[arg-type]
        lines.append(f"{data.users.ids[user]},{data.items.ids[item]},{value:.2f},{time}")
    path.write_text("\n".join(lines) + "\n")


def test_log_fit_recommend_click_refit(dataset: Dataset, tmp_path: Path) -> None:
    write_log(tmp_path / "ratings.csv", dataset)
    data = ingest(tmp_path / "ratings.csv").data
    assert data.shape == dataset.shape

    model = Pipeline.fit(EASE(l2=20.0), data).save(tmp_path / "model")
    pipeline = Pipeline.load(model)
    with SQLiteEventStore(tmp_path / "events.db") as log:
        first = pipeline.recommend("user-3", n=5)
        log.append_served(
            ServedList(
                first.request, NOW, "user-3", *zip(*((item.id, item.score) for item in first.items), strict=True)
            )
        )
        clicked = first.items[1].id
        strength = pipeline.evidence_weights.weight("click")
        accepted = log.append(
            [
                UserEvent("c1", "user-3", clicked, "click", NOW, strength, request=first.request),
                UserEvent("c2", "new user", clicked, "click", NOW + 1, strength),
            ]
        )
        assert len(accepted.new) == 2
        assert replay_log(pipeline, log).applied == 2

        second = pipeline.recommend("user-3", n=5)
        assert clicked not in [item.id for item in second.items]
        assert second.items != first.items

        events = log.events()
        assert events.rank is not None
        assert events.rank.tolist() == [1, -1]
        wider = merge_events(data, events, log.items())
    assert wider.shape.events == data.shape.events + 2
    assert wider.shape.users == data.shape.users + 1
    assert wider.fingerprint == pipeline.to_dataset().fingerprint
    assert wider.interactions[wider.users.row("user-3"), wider.items.row(clicked)] > 0

    kept = artifacts.load(artifacts.save(wider, tmp_path / "wider"), Dataset)
    refitted = Pipeline.fit(EASE(l2=20.0), kept)
    third = refitted.recommend("user-3", n=5)
    assert clicked not in [item.id for item in third.items]
    assert refitted.recommend("new user").fallback is None
    assert not np.array_equal(refitted.model.weights, pipeline.model.weights)  # type: ignore[attr-defined]

    with SQLiteEventStore(tmp_path / "events.db") as log:
        replay_log(refitted, log)  # the fit already includes the events
    assert refitted.to_dataset().fingerprint == kept.fingerprint
    assert refitted.recommend("user-3", n=5).items == third.items

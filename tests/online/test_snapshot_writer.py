"""Snapshot writer: written when the log has grown, and at the end."""

from pathlib import Path

import pytest

from conftest import make_dataset
from leanrec.errors import ArtifactError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.models import get_model
from leanrec.online import LivePipeline, snapshot_writer
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.pipeline import Pipeline


def test_a_snapshot_is_written_at_the_end_and_used_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_writer, "_MIN_EVENTS", 5)
    model = Pipeline.fit(get_model("popularity")(), make_dataset()).save(tmp_path / "model")
    reports: list[str] = []
    for n_before, n_new, n_snapshot in ((0, 4, 0), (4, 4, 8), (8, 4, 8)):
        with SQLiteEventStore(tmp_path / "events.db") as log:
            live = LivePipeline(Pipeline.load(model), log)
            with SnapshotWriter(live, reports.append):
                events = [UserEvent(f"{n_before + n}", "new", 103, "click", n, 1.0) for n in range(n_new)]
                appended = log.append(events)
                live.record(appended.new, appended.last_seq)
            assert live.snapshot_seq == n_snapshot
            assert len(live.pipeline.history("new")) == n_before + n_new
    assert reports == []


def test_a_snapshot_that_cannot_be_written_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_writer, "_MIN_EVENTS", 1)

    def fail(_: LivePipeline) -> None:
        raise ArtifactError("The disk is full.")

    monkeypatch.setattr(LivePipeline, "save_snapshot", fail)
    reports: list[str] = []
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.fit(get_model("popularity")(), make_dataset()), log)
        writer = SnapshotWriter(live, reports.append)
        appended = log.append([UserEvent("1", "new", 103, "click", 5, 1.0)])
        live.record(appended.new, appended.last_seq)
        writer.close()
        writer.close()
    assert len(reports) == 1
    assert "The disk is full" in reports[0]

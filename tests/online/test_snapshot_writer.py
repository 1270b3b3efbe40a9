"""Snapshot writer: written when there are many events behind the last one, and at the end."""

import time
from pathlib import Path

import pytest

from conftest import make_dataset
from leanrec.errors import ArtifactError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.models import get_model
from leanrec.online import LivePipeline, snapshot_writer
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.pacing import pause
from leanrec.pipeline import Pipeline


def test_a_snapshot_is_written_at_the_end_and_used_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_writer, "_MIN_TAIL", 5)
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


def test_a_snapshot_is_written_again_after_a_user_was_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_writer, "_MAX_TAIL", 5)
    monkeypatch.setattr(snapshot_writer, "_MAX_SHARE", 1e9)
    pipeline = Pipeline.load(Pipeline.fit(get_model("popularity")(), make_dataset()).save(tmp_path / "model"))
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(pipeline, log)
        writer = SnapshotWriter(live, pytest.fail, interval=1e6)
        appended = log.append([UserEvent(str(n), ("anna", "ben")[n % 2], 103, "click", n, 1.0) for n in range(8)])
        live.record(appended.new, appended.last_seq)
        writer.look()
        assert live.snapshot_seq == 8
        live.forget_user("anna")
        assert (live.snapshot_seq, log.snapshot_path.exists()) == (0, False)
        writer.look()
        assert (live.snapshot_seq, log.snapshot_path.exists()) == (8, True)
        writer.close()
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.load(tmp_path / "model"), log)
        assert live.snapshot_seq == 8
        assert len(live.pipeline.history("ben")) == 4
        assert not live.pipeline.find_users("anna", 1)


def test_a_snapshot_that_cannot_be_written_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_writer, "_MIN_TAIL", 1)

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


class SimulatedTime:
    """Clocks that a test moves, and a live pipeline whose snapshots cost what it says."""

    def __init__(self) -> None:
        self.now, self.worked, self.cost = 1000.0, 0.0, 0.0
        self.last_seq = self.snapshot_seq = 0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.worked

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def save_snapshot(self) -> None:
        self.worked += self.cost
        self.now += self.cost
        pause()
        self.snapshot_seq = self.last_seq


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> SimulatedTime:
    made = SimulatedTime()
    for name in ("monotonic", "thread_time", "sleep"):
        monkeypatch.setattr(time, name, getattr(made, name))
    return made


@pytest.mark.parametrize(("rate", "cost", "max_tail"), [(500, 0.5, 51_000), (5_000, 3.0, 520_000), (10, 60.0, 51_000)])
def test_the_tail_stays_short_and_snapshots_take_a_small_share(
    simulated: SimulatedTime, rate: int, cost: float, max_tail: int
) -> None:
    writer = SnapshotWriter(simulated, pytest.fail, interval=1e6)  # type: ignore[arg-type]
    begun, simulated.cost, longest = simulated.now, cost, 0
    for _ in range(20_000):
        simulated.now += 2
        simulated.last_seq += 2 * rate
        longest = max(longest, simulated.last_seq - simulated.snapshot_seq)
        writer.look()
    writer.close()
    assert 50_000 <= longest <= max_tail
    assert 0 < simulated.worked <= 0.03 * (simulated.now - begun) + cost
    assert len(simulated.pauses) > 3  # snapshots of a server that runs pause for its requests
    assert simulated.snapshot_seq >= simulated.last_seq - 5_000


def test_a_stop_writes_a_tail_that_takes_longer_than_a_moment_and_does_not_pause(simulated: SimulatedTime) -> None:
    for n_events, is_written in ((4_999, False), (5_000, True)):
        simulated.last_seq, simulated.snapshot_seq = n_events, 0
        SnapshotWriter(simulated, pytest.fail, interval=1e6).close()  # type: ignore[arg-type]
        assert (simulated.snapshot_seq == n_events) == is_written
    simulated.snapshot_seq = 0
    SnapshotWriter(simulated, pytest.fail, interval=1e6).close(writes=False)  # type: ignore[arg-type]
    assert (simulated.snapshot_seq, simulated.pauses) == (0, [])


def test_a_snapshot_that_fails_is_tried_again_after_as_many_events(
    simulated: SimulatedTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail() -> None:
        tried.append(simulated.last_seq)
        raise ArtifactError("The disk is full.")

    monkeypatch.setattr(simulated, "save_snapshot", fail)
    reports: list[str] = []
    writer = SnapshotWriter(simulated, reports.append, interval=1e6)  # type: ignore[arg-type]
    for _ in range(14):
        simulated.now += 1e6
        simulated.last_seq += 10_000
        writer.look()
    writer.close(writes=False)
    assert tried == [50_000, 100_000]
    assert len(reports) == 2

"""Metrics of a version on trial."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from conftest import make_dataset
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionTrial
from leanrec.pipeline import Pipeline
from leanrec.serving.monitoring.trial_metrics import TrialCollector


def _make_trial(share: float, *, is_shadow: bool = False) -> VersionTrial:
    return VersionTrial(2, "v2", share, is_shadow, "salt", "2026-11-30T12:00:00")


def test_both_sides_of_a_trial_are_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    pipelines = [Pipeline.fit(get_model("popularity")(), make_dataset()) for _ in range(2)]
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(pipelines[0], log)
        registry.register(TrialCollector(live))
        names = [family.name for family in registry.collect()]
        assert "leanrec_trial_lists_total{" not in generate_latest(registry).decode()
        live.start_trial(pipelines[1], _make_trial(0.5))
        live.recommend(history=[100])
        made = [live.recommend(f"user-{number}").arm for number in range(60)]
        text = generate_latest(registry).decode()
        for arm in ("control", "candidate"):
            assert f'leanrec_trial_lists_total{{arm="{arm}"}} {made.count(arm)}.0' in text
        assert 'leanrec_trial_lists_total{arm="without user"} 1.0' in text
        assert "leanrec_trial_failures_total 0.0" in text
        live.start_trial(pipelines[1], _make_trial(0.0, is_shadow=True))
        assert 'leanrec_shadow_lists_total{outcome="compared"} 0.0' in generate_latest(registry).decode()
        assert [family.name for family in registry.collect()] == names  # so that processes can be added

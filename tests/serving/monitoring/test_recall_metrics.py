"""Metrics of the recall of approximate retrieval."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from conftest import make_dataset
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline
from leanrec.pipeline import Pipeline
from leanrec.retrieval import approximate
from leanrec.run import Run
from leanrec.serving.monitoring.recall_metrics import RecallCollector


def test_the_recall_of_the_current_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "_MAX_SCANNED", 1.0)
    registry = CollectorRegistry()
    data = make_dataset(n_users=80, n_items=400, per_user=50)
    exact = Pipeline.fit(get_model("popularity")(), data)
    indexed = Pipeline.fit(get_model("ials")(embedding_dim=2), data, Run(threads=1), retrieval="approximate")
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(exact, log)
        registry.register(RecallCollector(live))
        names = [family.name for family in registry.collect()]
        assert "leanrec_ann_recall_count " not in generate_latest(registry).decode()
        live.replace(indexed)
        watch = indexed.recall_watch
        assert watch is not None
        watch.n_compared, watch.total, watch.n_dropped = 4, 3.9, 2
        text = generate_latest(registry).decode()
        assert "leanrec_ann_recall_count 4.0" in text
        assert "leanrec_ann_recall_sum 3.9" in text
        assert 'leanrec_ann_not_compared_total{outcome="dropped"} 2.0' in text
        assert [family.name for family in registry.collect()] == names  # so that processes can be added

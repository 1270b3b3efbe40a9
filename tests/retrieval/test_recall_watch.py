"""Recall watch: recalls are added and failures counted, and work that finds the queue full is dropped."""

import time

import pytest

from leanrec.retrieval import recall_watch
from leanrec.retrieval.recall_watch import RecallWatch


def _fail() -> float:
    raise RuntimeError("a defect")


def test_recalls_are_added_and_failures_counted() -> None:
    watch = RecallWatch(share=1.0)
    assert watch.is_due()
    for measure in (lambda: 0.5, _fail, lambda: 1.0):
        watch.offer(measure)
    end = time.monotonic() + 60
    while watch.n_compared + watch.n_failed < 3 and time.monotonic() < end:
        time.sleep(0.005)
    assert (watch.total, watch.n_compared, watch.n_failed, watch.n_dropped) == (1.5, 2, 1, 0)


def test_a_full_queue_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def offer(self, work: object) -> bool:
            return False

    monkeypatch.setattr(recall_watch, "_WORKER", Full())
    watch = RecallWatch(share=0.0)
    watch.offer(lambda: 1.0)
    assert not watch.is_due()
    assert (watch.n_dropped, watch.n_compared) == (1, 0)

"""Times of the stages of a list."""

import pytest

from leanrec.pipeline.lists.stage_trace import StageTimer


def test_a_timer_adds_up_what_a_stage_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([1.0, 1.5, 2.0, 2.25])
    monkeypatch.setattr("leanrec.pipeline.lists.stage_trace.time.perf_counter", lambda: next(now))
    timer = StageTimer()
    for stage in ("rules", "retrieve", "rules"):
        timer.end_stage(stage)
    assert timer.milliseconds == {"rules": 750.0, "retrieve": 500.0}

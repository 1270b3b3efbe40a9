"""Records of a version store: the last change, the trial that runs, and its end."""

from leanrec.online.versions import Promotion, VersionChanges, VersionTrial

FIRST = Promotion(1, "a", "2026-01-01", "promote")
TRIAL = VersionTrial(2, "b", 0.1, is_shadow=False, salt="b-2", started="2026-01-02")


def test_the_fence_is_that_of_the_last_change() -> None:
    assert VersionChanges().fence == 0
    assert VersionChanges((FIRST,)).fence == 1
    assert VersionChanges((FIRST,), (TRIAL,)).fence == 2
    assert VersionChanges((FIRST, Promotion(3, "c", "2026-01-03", "promote")), (TRIAL,)).fence == 3


def test_only_the_last_trial_can_run_and_end() -> None:
    assert VersionChanges().running is None
    other = VersionTrial(3, "c", 0.2, is_shadow=True, salt="c-3", started="2026-01-03")
    changes = VersionChanges((FIRST,), (TRIAL, other))
    assert changes.running is other
    ended = changes.end_trial(fence=4, ended="2026-01-04", outcome="stopped")
    assert ended.running is None
    assert (ended.fence, ended.trials[0], ended.trials[1].outcome) == (4, TRIAL, "stopped")
    assert changes.running is other

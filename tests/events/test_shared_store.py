"""Shared event stores: what several servers need of one."""

import pytest

from leanrec.events.event_store import ClosableEventStore
from leanrec.events.shared_store import LogHead, SharedEventStore, split_runs
from leanrec.events.user_events import UserEvent


def test_a_shared_store_can_all_that_any_store_can() -> None:
    assert ClosableEventStore.__abstractmethods__ < SharedEventStore.__abstractmethods__
    with pytest.raises(TypeError, match="abstract"):
        SharedEventStore()  # type: ignore[abstract]


def test_a_head_tells_events_from_changes() -> None:
    assert LogHead(1, 2, 3)[1:] == LogHead(9, 2, 3)[1:]
    assert LogHead(1, 2, 3)[1:] != LogHead(1, 3, 3)[1:]


def test_runs_end_before_missing_numbers() -> None:
    numbered = [(seq, UserEvent(f"e{seq}", "ada", seq, "click", 0.0, 1.0)) for seq in (3, 4, 7, 9, 10, 11)]
    assert [[seq for seq, _ in run] for run in split_runs(numbered)] == [[3, 4], [7], [9, 10, 11]]
    assert list(split_runs([])) == []

"""Shared event stores: what several servers need of one."""

import pytest

from leanrec.events.event_store import EventStore
from leanrec.events.shared_store import LogHead, SharedEventStore


def test_a_shared_store_can_all_that_any_store_can() -> None:
    assert EventStore.__abstractmethods__ < SharedEventStore.__abstractmethods__
    with pytest.raises(TypeError, match="abstract"):
        SharedEventStore()  # type: ignore[abstract]


def test_a_head_tells_events_from_changes() -> None:
    assert LogHead(1, 2, 3)[1:] == LogHead(9, 2, 3)[1:]
    assert LogHead(1, 2, 3)[1:] != LogHead(1, 3, 3)[1:]

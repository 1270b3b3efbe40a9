"""First answer: the events of the log, and the peak of the memory."""

import os
from pathlib import Path

import first_answer
import numpy as np
import psutil
import pytest

from leanrec.data import Simulation
from leanrec.events import SQLiteEventStore


def test_the_last_events_of_each_part_are_of_one_new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_answer, "_BATCH", 40)
    data = Simulation(users=20, items=30, events=200).dataset()
    with SQLiteEventStore(tmp_path / "events.db") as log:
        for first, count in ((0, 100), (100, 70)):
            first_answer.write_events(log, data, first, count)
            assert log.last_seq == first + count
            assert [each.user for each in log.user_events(after=first + count - 5)] == ["guest-0"] * 5
        events = log.user_events()
    assert [each.id for each in events] == [str(number) for number in range(170)]
    assert {each.item for each in events} <= set(data.items.ids.tolist())
    assert len({each.user for each in events} - set(data.users.ids.tolist())) > 1


def test_the_peak_holds_memory_that_is_freed() -> None:
    before = first_answer.read_peak(os.getpid())
    size = psutil.Process().memory_info().rss  # more than what is free
    np.ones(before - size + 50_000_000, np.int8)
    assert first_answer.read_peak(os.getpid()) >= before + 30_000_000

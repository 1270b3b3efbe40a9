"""Predefined splits: held-out logs are joined with the training events."""

import dataclasses

import numpy as np

from conftest import make_dataset
from leanrec.data.splits.predefined import join_held_out
from leanrec.data.time_kind import TimeKind
from leanrec.types import Events


def external(rows: np.ndarray) -> Events:
    data = make_dataset()
    events = data.events.take(rows)
    return dataclasses.replace(events, user=data.users.ids[events.user], item=data.items.ids[events.item])


def test_every_event_has_its_part() -> None:
    data = make_dataset()
    joined = join_held_out(data, None, external(np.array([3, 9])))
    assert len(joined.data.events) == len(data.events)
    assert np.bincount(joined.part).tolist() == [len(data.events) - 2, 0, 2]
    assert joined.note.startswith("2 held-out events were also in the training data")


def test_new_ids_are_appended_with_missing_features() -> None:
    data = make_dataset()
    new = dataclasses.replace(external(np.array([0])), item=np.array([9999]))
    joined = join_held_out(data, new, None)
    assert joined.data.items.ids[-1] == 9999
    assert joined.data.item_table is not None
    assert joined.data.item_table.columns["title"][-1] == ""
    assert "0 users and 1 items that are not in training" in joined.note


def test_ids_of_another_type_become_text() -> None:
    data = make_dataset()
    new = dataclasses.replace(external(np.array([0])), item=np.array(["B00005N5PF"], np.dtypes.StringDType()))
    joined = join_held_out(data, None, new)
    assert joined.data.items.ids[0] == "100"
    assert joined.data.items.row("B00005N5PF") == len(data.items)
    assert joined.data.time_kind is data.time_kind


def test_types_have_the_spelling_of_the_log_and_untimed_events_come_last() -> None:
    data = make_dataset()
    rows = data.events.take(np.array([3, 9]))
    untimed = dataclasses.replace(rows, time=np.zeros(2, np.int64), event_types=("Rating",))
    joined = join_held_out(data, None, dataclasses.replace(data, events=untimed, time_kind=TimeKind.NONE))
    assert joined.data.events.event_types == ("rating",)
    assert joined.data.events.time[joined.part == 2].min() > data.events.time.max()
    assert "test_events has no times like those of the log" in joined.note

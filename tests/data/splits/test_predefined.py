"""Predefined splits: held-out logs are joined with the training events."""

import dataclasses

import numpy as np

from conftest import make_dataset
from leanrec.data.splits.predefined import join_held_out
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

"""The kind of times is inferred from their values."""

import numpy as np
import pytest

from leanrec.data.time_kind import TimeKind, infer_time_kind
from leanrec.types import Events


def events(user: list[int], time: list[int]) -> Events:
    n = len(user)
    columns = np.array(user, np.int32), np.zeros(n, np.int32), np.array(time, np.int64)
    return Events(*columns, np.zeros(n, np.int8), np.ones(n, np.float32))


@pytest.mark.parametrize(
    ("user", "time", "kind"),
    [
        ([], [], TimeKind.NONE),
        ([0, 0], [7, 7], TimeKind.NONE),
        ([0, 0, 1], [1_500_000_000, 1_600_000_000, 1_550_000_000], TimeKind.TIMESTAMP),
        ([0, 0, 1], [5, 1_600_000_000, 1_550_000_000], TimeKind.COMPARABLE),
        ([0, 0, 0, 1, 1], [0, 1, 2, 0, 1], TimeKind.ORDER),
        ([0, 1, 2], [0, 1, 2], TimeKind.COMPARABLE),
        ([0, 0, 0, 1, 1], [3, 40, 81, 17, 60], TimeKind.COMPARABLE),
    ],
)
def test_kind_follows_from_the_values(user: list[int], time: list[int], kind: TimeKind) -> None:
    assert infer_time_kind(events(user, time)) is kind
    assert infer_time_kind(events(user, time), (min(time, default=9), max(time, default=-9))) is kind


def test_blocks_do_not_change_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    log = events([0] * 5 + [1] * 4, [0, 1, 2, 3, 4, 0, 1, 2, 3])
    monkeypatch.setattr("leanrec.data.time_kind._BLOCK", 2)
    assert infer_time_kind(log) is TimeKind.ORDER


def test_only_timestamps_have_dates_and_orders_are_not_comparable() -> None:
    assert [kind for kind in TimeKind if kind.has_dates] == [TimeKind.TIMESTAMP]
    assert [kind for kind in TimeKind if kind.is_comparable] == [TimeKind.TIMESTAMP, TimeKind.COMPARABLE]

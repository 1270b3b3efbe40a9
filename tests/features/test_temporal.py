"""Moments: the contract, the circles of day and week, and recency."""

import datetime as dt

import numpy as np
import pytest

from contracts.feature import FeatureContract, texts
from leanrec.errors import SettingError
from leanrec.features.base import to_seconds
from leanrec.features.temporal import RecencyDecay, TimeOfDay

DAY = 86_400.0
MONDAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp()


class TestTimeOfDay(FeatureContract):
    feature = TimeOfDay()
    column = MONDAY + DAY * np.array([0.1, 3.25, 6.9, np.nan, 100.5])
    unseen = np.array([-1e12, 4e9])
    unseen_gives_zeros = False


class TestTimeOfDates(FeatureContract):
    feature = TimeOfDay(utc_offset=2)
    column = np.array(["2024-01-01T10:00", "NaT", "2024-02-03T23:59:59"], dtype="datetime64[s]")
    unseen = np.array(["1999-01-01"], dtype="datetime64[s]")
    unseen_gives_zeros = False


class TestRecency(FeatureContract):
    feature = RecencyDecay()
    column = texts("2024-01-01", "2023-05-05T12:00:00+02:00", "", "2020-01-01", "soon")
    unseen = texts("tomorrow")
    unit = False


def test_midnight_is_next_to_itself_and_sunday_to_monday() -> None:
    moments = MONDAY + np.array([-1.0, 0.0, 12 * 3600.0])
    rows = TimeOfDay().fit(moments).transform(moments).toarray()
    assert np.linalg.norm(rows[0, :2] - rows[1, :2]) < 1e-3
    assert np.linalg.norm(rows[0, :2] - rows[2, :2]) == pytest.approx(np.sqrt(2), abs=1e-3)
    weekdays = TimeOfDay().fit(moments).transform(MONDAY + DAY * np.arange(7)).toarray()[:, 2:]
    steps = np.linalg.norm(weekdays - np.roll(weekdays, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
    # Monday is at the angle 0.
    np.testing.assert_allclose(weekdays[0], [0, 0.5**0.5], atol=1e-6)


def test_utc_offset_moves_the_clock() -> None:
    ahead = TimeOfDay(utc_offset=3).fit(np.zeros(0)).transform(np.array([MONDAY]))
    here = TimeOfDay().fit(np.zeros(0)).transform(np.array([MONDAY + 3 * 3600]))
    np.testing.assert_allclose(ahead.toarray(), here.toarray(), atol=1e-6)


def test_recency_halves_with_the_half_life() -> None:
    fitted = RecencyDecay(half_life=10).fit(MONDAY + DAY * np.array([0.0, 20.0]))
    rows = fitted.transform(MONDAY + DAY * np.array([20.0, 10.0, 0.0, 99.0, np.nan])).toarray()[:, 0]
    np.testing.assert_allclose(rows, [1, 0.5, 0.25, 1, 0], rtol=1e-6)


def test_recency_finds_a_half_life() -> None:
    assert RecencyDecay().fit(MONDAY + DAY * np.array([0.0, 60.0, 100.0])).half_life == pytest.approx(20)
    assert RecencyDecay().fit(np.full(3, MONDAY)).half_life == 1.0


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        (np.array([1.7e9]), 1.7e9),
        (np.array([1.7e12]), 1.7e9),
        (np.array([1.7e15]), 1.7e9),
        (texts("1700000000"), 1.7e9),
        (texts("1970-01-02"), DAY),
        (texts("1970-01-01T01:00:00Z"), 3600),
        (texts("1970-01-01T01:00:00+01:00"), 0),
        (np.array(["1970-01-02"], "datetime64[ns]"), DAY),
        (texts("never"), np.nan),
        (texts(""), np.nan),
        (np.array(["NaT"], "datetime64[s]"), np.nan),
        (np.array([np.inf]), np.nan),
    ],
)
def test_reads_moments_in_many_forms(cell: np.ndarray, seconds: float) -> None:
    np.testing.assert_allclose(to_seconds(cell), [seconds])


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="utc_offset must be a number from -24 to 24"):
        TimeOfDay(utc_offset=99)
    with pytest.raises(SettingError, match="half_life must be"):
        RecencyDecay(half_life=-1)

"""Rules that need all events of a user, or the whole log."""

import pandas as pd

from leanrec.data.ingest.cleaning import CleaningRules
from leanrec.data.ingest.ingest import ingest

T = 1_600_000_000


def log(*rows: tuple[int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user", "item", "time"])


def test_equal_events_are_duplicates_unless_they_are_kept() -> None:
    frame = log((1, 1, T), (1, 1, T), (1, 1, T + 1), (2, 1, T))
    assert ingest(frame).report.rejected == {"duplicate": 1}
    assert ingest(frame, cleaning=CleaningRules(duplicates="keep")).report.rejected == {}


def test_the_core_is_repeated_until_it_holds() -> None:
    # Without user 3, item 9 has one event; without item 9, user 2 has one.
    frame = log((1, 1, T), (1, 2, T), (4, 1, T), (4, 2, T), (2, 1, T), (2, 9, T), (3, 9, T))
    data, report = ingest(frame, cleaning=CleaningRules(min_user=2, min_item=2))
    assert report.rejected == {"fewer events than the k-core requires": 3}
    assert data.users.ids.tolist() == [1, 4]
    assert data.items.ids.tolist() == [1, 2]


def test_a_user_with_too_many_events_in_a_day_is_a_bot() -> None:
    frame = log(*((1, item, T + item) for item in range(5)), (2, 0, T), (2, 1, T + 86_400))
    report = ingest(frame, cleaning=CleaningRules(max_per_day=3)).report
    assert report.rejected == {"bot: too many events in one day": 5}

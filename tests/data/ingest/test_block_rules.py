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


def test_bots_with_a_large_share_are_kept_and_named() -> None:
    frame = log(*((1, item, T + item) for item in range(300)), *((user, 0, T) for user in range(2, 60)))
    kept = ingest(frame, cleaning=CleaningRules(bot_sigmas=4)).report
    assert kept.rejected == {}
    assert any(
        each.startswith("1 user has far more events than the others, and 84% of all events") for each in kept.warnings
    )
    rejected = ingest(frame, cleaning=CleaningRules(bot_sigmas=4, max_bot_share=1)).report.rejected
    assert rejected == {"bot: far more events than other users": 300}


def test_an_id_with_a_large_share_is_named() -> None:
    frame = log(*((1, item, T + item) for item in range(30)), *((user, user, T) for user in range(2, 40)))
    warnings = ingest(frame).report.warnings
    assert [each for each in warnings if "of all events" in each] == [
        (
            "The user '1' has 44% of all events. Where this is a placeholder, such as an id of visitors without an account, remove "
            "its rows from the log."
        )
    ]

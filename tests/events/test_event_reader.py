"""The event reader: what every event store can tell, and the columns of its rows."""

import numpy as np
import pytest

from leanrec.events.event_reader import EventReader, build_event_block, build_item_table


def test_a_reader_is_bound_to_no_database() -> None:
    with pytest.raises(TypeError, match="abstract"):
        EventReader()  # type: ignore[abstract]


def test_a_block_of_rows_has_whole_seconds_and_ratings_that_may_be_missing() -> None:
    columns = [(1, "a"), (2, 3), ("view", "click"), (1_999, -1), (1.0, 0.5), (None, 4.5)]
    events = build_event_block(columns)
    assert events.user.tolist() == ["1", "a"]
    assert [events.event_types[code] for code in events.event_type] == ["view", "click"]
    assert events.time.tolist() == [1, -1]
    assert events.rating is not None
    np.testing.assert_array_equal(events.rating, np.array([np.nan, 4.5], np.float32))


def test_a_column_of_an_item_table_is_numeric_if_all_its_values_are() -> None:
    table = build_item_table([{"a": 1, "b": "x"}, {"a": None, "b": 2}, {}])
    assert table.columns["a"].dtype == np.float64
    assert table.columns["b"].tolist() == ["x", "2", ""]

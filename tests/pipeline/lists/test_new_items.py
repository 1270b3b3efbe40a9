"""New items: order by hand, and items without a date."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.data.time_kind import TimeKind
from leanrec.errors import SettingError
from leanrec.pipeline.lists.new_items import NewItems
from leanrec.types import Queries, empty_csr

DATA = make_dataset(n_users=8, n_items=40, per_user=6)
NO_USER = Queries(np.array([-1], np.int32), empty_csr(1, 40))


def test_the_first_event_is_the_date() -> None:
    first = {item: DATA.events.time[DATA.events.item == item].min() for item in set(DATA.events.item.tolist())}
    scores = NewItems().fit(DATA).score(NO_USER)[0]
    assert sorted(first, key=lambda item: first[item]) == [
        item for item in np.argsort(scores, kind="stable").tolist() if item in first
    ]
    assert [item for item in range(40) if not scores[item]] == [item for item in range(40) if item not in first]


@pytest.mark.parametrize(
    "dates",
    [
        np.array(["2020-01-02", "", "2024-01-01", "2020-01-02"], np.dtypes.StringDType()),
        np.array([5.0, np.nan, 7.5, 5.0]),
    ],
)
def test_dates_of_a_column(dates: np.ndarray) -> None:
    cells = dates[[0, 1, 2, 3, *[1] * 36]]
    model = NewItems(column="date").fit(dataclasses.replace(DATA, item_table=Table({"date": cells})))
    assert model.recency[:5].tolist() == [1, 0, 2, 1, 0]


def test_added_items_are_newer_the_last_one_most() -> None:
    model = NewItems(column="year").fit(DATA)
    larger = model.extend(DATA.item_table.take(np.array([3, 3])) if DATA.item_table is not None else Table({}))
    assert larger.n_items == 42
    assert larger.recency[:40].tolist() == model.recency.tolist()
    assert model.recency.max() < larger.recency[40] < larger.recency[41]
    assert larger.score(NO_USER, np.array([41, 0], np.int32)).tolist() == [[larger.recency[41], larger.recency[0]]]


def test_what_has_no_dates_is_refused() -> None:
    with pytest.raises(SettingError, match="column must be a column of the item table. Got 'released'. Columns: title"):
        NewItems(column="released").fit(DATA)
    with pytest.raises(SettingError, match=r"must have times that can be compared.*NewItems\(column=NAME\)"):
        NewItems().fit(dataclasses.replace(DATA, time_kind=TimeKind.ORDER))

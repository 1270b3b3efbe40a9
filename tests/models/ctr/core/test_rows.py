"""Feature rows: selection, concatenation, and encoding of queries and items."""

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import STRINGS, make_dataset
from leanrec.data.table import Table
from leanrec.errors import ColumnError
from leanrec.models.ctr.core.rows import ContentEncoder, FieldRows, QueryEncoder
from leanrec.run import Run
from leanrec.training.histories import PackedHistories
from leanrec.types import Queries


def some_rows() -> FieldRows:
    bag = sp.csr_array(np.array([[1, 0, 2], [0, 0, 0], [0, 3, 0]], np.float32))
    return FieldRows.from_columns(
        3, codes=((np.array([1, 2, 0]), 4),), bags=(bag,), numbers=np.array([[0.5], [1.5], [2.5]], np.float32)
    )


def test_take_gives_unknown_values_for_minus_one() -> None:
    taken = some_rows().take(np.array([2, -1, 0, 0]))
    assert taken.codes.tolist() == [[0], [0], [1], [1]]
    assert taken.bags[0].toarray().tolist() == [[0, 3, 0], [0, 0, 0], [1, 0, 2], [1, 0, 2]]
    assert taken.numbers.ravel().tolist() == [2.5, 0, 0.5, 0.5]


def test_hstack_and_vstack() -> None:
    rows = some_rows()
    both = rows.hstack(rows)
    assert both.fields.sizes == (4, 4)
    assert both.fields.bags == (3, 3)
    assert both.fields.numbers == 2
    assert rows.vstack(rows).take(np.array([5])).bags[0].toarray().tolist() == [[0, 3, 0]]


def test_drop_codes_replaces_the_given_share() -> None:
    rows = FieldRows.from_columns(4000, codes=((np.ones(4000), 2),))
    share = (rows.drop_codes(0.3, np.random.default_rng(0)).codes == 0).mean()
    assert 0.27 < share < 0.33
    assert rows.drop_codes(0, np.random.default_rng(0)) is rows


def test_known_and_unknown_queries() -> None:
    data = make_dataset(n_users=6, n_items=8, per_user=4)
    query_encoder = QueryEncoder.from_dataset(data, None, max_length=3)
    history = sp.csr_array((np.ones(3, np.float32), ([1, 1, 2], [2, 5, 9])), shape=(4, 10))
    queries = Queries(users=np.array([-1, -1, -1, 3], np.int32), history=history)
    rows, known = query_encoder.encode_queries(queries)
    # Item 9 is not in the fit, so the third query is unknown.
    assert known.tolist() == [False, True, False, True]
    assert rows.codes[:, 0].tolist() == [0, 0, 0, 4]
    past = rows.bags[-1].toarray()
    assert past[1].tolist() == [0, 0, 0.5, 0, 0, 0.5, 0, 0]
    assert not past[2].any()


def test_time_is_encoded_as_hour_and_weekday() -> None:
    data = make_dataset(n_users=3, n_items=8, per_user=4)
    # Thursday, 1 January 1970, 13:30; Sunday, 4 January, 00:00.
    times = np.array([13 * 3600 + 1800, 3 * 86_400])
    rows = QueryEncoder.from_dataset(data, None, 3).encode(
        np.array([0, 1]), times, PackedHistories.from_rows([np.zeros(0, np.int32)] * 2)
    )
    assert rows.codes[:, 1:].tolist() == [[14, 4], [1, 7]]


def test_content_has_a_field_per_feature_and_numbers() -> None:
    data = make_dataset()
    content = ContentEncoder.fit(data.item_table, ("genres", "year"), "tfidf", Run())
    assert content is not None
    assert data.item_table is not None
    rows = content.encode(data.item_table)
    assert len(rows.bags) == 2
    assert rows.numbers.shape == (40, 2)
    alone = content.encode(Table({"genres": np.array(["space"], STRINGS)}))
    assert alone.bags[0].nnz == 1
    assert alone.numbers.tolist() == [[0, 1]]
    with pytest.raises(ColumnError):
        ContentEncoder.fit(data.item_table, ("nothing",), "tfidf", Run())
    assert ContentEncoder.fit(None, (), "tfidf", Run()) is None

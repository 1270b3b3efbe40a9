"""Rows of fields: from tables, and from a data set without a look at the future."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from conftest import STRINGS, make_dataset
from contracts.estimator import concat_events
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.kernels.csr import concat_ranges
from leanrec.models.ctr.core.examples import LabeledRows, RowSpec
from leanrec.models.ctr.core.rows import ContentEncoder, FieldRows, QueryEncoder, encode_items, has_order
from leanrec.models.ctr.core.training import _EventObjective, _Log, mean_auc
from leanrec.models.ctr.deepfm import DeepFM
from leanrec.run import Run
from leanrec.training.histories import PackedHistories
from leanrec.types import Queries


def test_spans_are_ranges_end_to_end() -> None:
    assert concat_ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert concat_ranges(np.zeros(0, int), np.zeros(0, int)).tolist() == []


def some_rows() -> FieldRows:
    bag = sp.csr_array(np.array([[1, 0, 2], [0, 0, 0], [0, 3, 0]], np.float32))
    return FieldRows.of(
        3, codes=((np.array([1, 2, 0]), 4),), bags=(bag,), numbers=np.array([[0.5], [1.5], [2.5]], np.float32)
    )


def test_rows_are_taken_and_a_lost_one_is_unknown() -> None:
    taken = some_rows().take(np.array([2, -1, 0, 0]))
    assert taken.codes.tolist() == [[0], [0], [1], [1]]
    assert taken.bags[0].toarray().tolist() == [[0, 3, 0], [0, 0, 0], [1, 0, 2], [1, 0, 2]]
    assert taken.numbers.ravel().tolist() == [2.5, 0, 0.5, 0.5]


def test_rows_go_beside_and_below() -> None:
    rows = some_rows()
    both = rows.beside(rows)
    assert both.fields.sizes == (4, 4)
    assert both.fields.bags == (3, 3)
    assert both.fields.numbers == 2
    assert rows.below(rows).take(np.array([5])).bags[0].toarray().tolist() == [[0, 3, 0]]


def test_forgetting_makes_codes_unknown_in_the_given_share() -> None:
    rows = FieldRows.of(4000, codes=((np.ones(4000), 2),))
    share = (rows.forgetting(0.3, np.random.default_rng(0)).codes == 0).mean()
    assert 0.27 < share < 0.33
    assert rows.forgetting(0, np.random.default_rng(0)) is rows


def test_a_table_gives_codes_labels_and_numbers() -> None:
    table = Table(
        {
            "shop": np.array(["b", "a", "", "b"], STRINGS),
            "zip": np.array([7.0, 3.0, 7.0, np.nan]),
            "tags": np.array(["x|y", "y", "", "x"], STRINGS),
            "age": np.array([10.0, 20.0, np.nan, 30.0]),
            "label": np.array([0.0, 1.0, 1.0, 0.0]),
        }
    )
    coder = RowSpec(categories=("shop", "zip"), labels=("tags",), numbers=("age",)).fit(table)
    examples = coder.examples(table)
    assert examples.rows.codes.tolist() == [[2, 2], [1, 1], [0, 2], [2, 0]]
    assert examples.rows.fields.sizes == (3, 3)
    assert (examples.rows.bags[0].toarray() > 0).tolist() == [
        [True, True],
        [False, True],
        [False, False],
        [True, False],
    ]
    assert examples.rows.numbers[:, 1].tolist() == [0, 0, 1, 0]
    assert examples.labels.ravel().tolist() == [0, 1, 1, 0]


def test_values_that_were_not_there_and_rare_ones_are_unknown() -> None:
    table = Table({"a": np.array([1.0, 1.0, 2.0])})
    coder = RowSpec(categories=("a",), at_least=2).fit(table)
    assert coder.rows(Table({"a": np.array([2.0, 1.0, 99.0])})).codes.ravel().tolist() == [0, 1, 0]
    assert coder.rows(Table({"a": np.array(["1", "x"], STRINGS)})).codes.ravel().tolist() == [1, 0]


def test_missing_columns_and_impossible_labels_are_refused() -> None:
    table = Table({"a": np.array([1.0, 2.0]), "label": np.array([0.0, 2.0])})
    with pytest.raises(ColumnError, match="'b'"):
        RowSpec(categories=("b",)).fit(table)
    with pytest.raises(DataError, match="0 or 1"):
        RowSpec(categories=("a",)).fit(table).examples(table)
    with pytest.raises(DataError, match="weights"):
        LabeledRows(some_rows(), np.zeros((3, 1), np.float32), np.ones(2, np.float32))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_the_auc_is_that_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([[label] for label, _ in pairs], np.float32)
    scores = np.array([[score] for _, score in pairs], np.float32)
    both = 0 < labels.sum() < len(labels)
    expected = roc_auc_score(labels[:, 0], scores[:, 0]) if both else 0.5
    assert mean_auc(labels, scores) == pytest.approx(expected)


def test_an_example_knows_only_what_was_before_it() -> None:
    data = make_dataset(n_users=5, n_items=8, per_user=4)
    log = _Log.of(data, ("positive",))
    places = np.array([0, 5, 7, 19])
    past = log.before(places, 2)
    for row, place in enumerate(places.tolist()):
        first = int(data.indptr[data.events.user[place]])
        expected = data.events.item[max(first, place - 2) : place]
        assert past.items[past.bounds[row] : past.bounds[row + 1]].tolist() == expected.tolist()


@pytest.mark.parametrize("ordered", [True, False])
def test_no_example_finds_its_own_item_in_the_history(ordered: bool) -> None:
    """Whoever touches an item views it first and plays it again: if positives alone were there, that would tell them."""
    data = make_dataset(n_users=20, n_items=30, per_user=6)
    again = [dataclasses.replace(data.events, time=data.events.time + shift * ordered) for shift in (0, 60, 10**7)]
    data = data.with_events(concat_events(concat_events(again[0], again[1]), again[2]))
    askers, items = QueryEncoder.of(data, None, 50), encode_items(data, None)
    objective = _EventObjective.of(DeepFM(negatives=5), data, ("positive",), askers, items)
    log, rng = objective.log if ordered else objective.log.shuffled(np.random.default_rng(0)), np.random.default_rng(1)
    places = np.arange(len(log.user))
    judged, which, _, _ = objective._examples(log, places, rng)
    past = log.before(places, 50)
    for place in places.tolist():
        earlier = log.item[int(log.bounds[log.user[place]]) : place]
        mine = past.items[past.bounds[place] : past.bounds[place + 1]]
        assert mine.tolist() == earlier[earlier != log.item[place]].tolist()
        assert not np.isin(judged[which == place], mine).any()
    assert (np.bincount(log.user) == 18).all()


def test_a_log_without_order_is_shuffled_within_each_user() -> None:
    data = make_dataset(n_users=5, n_items=8, per_user=4)
    assert has_order(data)
    assert data.time_kind.has_dates
    flat = data.with_events(dataclasses.replace(data.events, time=np.zeros(len(data.events), np.int64)))
    assert not has_order(flat)
    assert not flat.time_kind.has_dates
    log = _Log.of(flat, ("positive",))
    mixed = log.shuffled(np.random.default_rng(0))
    assert mixed.user.tolist() == log.user.tolist()
    assert mixed.item.tolist() != log.item.tolist()
    for u in range(5):
        cut = slice(4 * u, 4 * u + 4)
        assert sorted(mixed.item[cut].tolist()) == sorted(log.item[cut].tolist())


def test_negatives_are_touched_by_others_and_not_by_the_user() -> None:
    data = make_dataset(n_users=20, n_items=30, per_user=6)
    data = data.with_events(data.events.take(data.events.item != 4))
    askers, items = QueryEncoder.of(data, None, 5), encode_items(data, None)
    objective = _EventObjective.of(DeepFM(negatives=50), data, ("positive",), askers, items)
    assert items.codes[4, 0] == 0
    places = np.arange(len(objective.log.user))
    items_, which, labels, weight = objective._examples(objective.log, places, np.random.default_rng(0))
    negative = labels[:, 0] == 0
    assert labels[: len(places)].all()
    assert negative[len(places) :].all()
    users = objective.log.user[which]
    assert not data.interactions.toarray()[users[negative], items_[negative]].any()
    assert 4 not in items_
    assert weight.shape == which.shape == items_.shape


def test_what_is_known_of_an_asker() -> None:
    data = make_dataset(n_users=6, n_items=8, per_user=4)
    askers = QueryEncoder.of(data, None, length=3)
    history = sp.csr_array((np.ones(3, np.float32), ([1, 1, 2], [2, 5, 9])), shape=(4, 10))
    queries = Queries(users=np.array([-1, -1, -1, 3], np.int32), history=history)
    rows, known = askers.of_queries(queries)
    # Item 9 came after the fit, so the third asker is a stranger.
    assert known.tolist() == [False, True, False, True]
    assert rows.codes[:, 0].tolist() == [0, 0, 0, 4]
    past = rows.bags[-1].toarray()
    assert past[1].tolist() == [0, 0, 0.5, 0, 0, 0.5, 0, 0]
    assert not past[2].any()


def test_the_moment_is_hour_and_weekday() -> None:
    data = make_dataset(n_users=3, n_items=8, per_user=4)
    # Thursday, 1 January 1970, 13:30; Sunday, 4 January, 00:00.
    times = np.array([13 * 3600 + 1800, 3 * 86_400])
    rows = QueryEncoder.of(data, None, 3).rows(np.array([0, 1]), times, PackedHistories.from_rows([np.zeros(0, np.int32)] * 2))
    assert rows.codes[:, 1:].tolist() == [[14, 4], [1, 7]]


def test_content_is_a_field_for_each_feature_and_numbers_besides() -> None:
    data = make_dataset()
    content = ContentEncoder.of(data.item_table, ("genres", "year"), "tfidf", Run())
    assert content is not None
    assert data.item_table is not None
    rows = content.rows(data.item_table)
    assert len(rows.bags) == 2
    assert rows.numbers.shape == (40, 2)
    alone = content.rows(Table({"genres": np.array(["space"], STRINGS)}))
    assert alone.bags[0].nnz == 1
    assert alone.numbers.tolist() == [[0, 1]]
    with pytest.raises(ColumnError):
        ContentEncoder.of(data.item_table, ("nothing",), "tfidf", Run())
    assert ContentEncoder.of(None, (), "tfidf", Run()) is None

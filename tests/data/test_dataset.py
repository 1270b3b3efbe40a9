"""Dataset: matrices, queries, time kind and fingerprint."""

import dataclasses
from pathlib import Path

import numpy as np

from conftest import make_dataset
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.time_kind import TimeKind


def test_matrices_have_int32_indices(dataset: Dataset) -> None:
    assert dataset.ratings is not None
    for matrix in (dataset.interactions, dataset.seen, dataset.ratings, dataset.queries().history):
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32


def test_the_last_rating_of_a_pair_counts() -> None:
    data = make_dataset(n_users=3, n_items=8, per_user=4)
    late = dataclasses.replace(
        data.events.take(np.array([0])), rating=np.array([1.5], np.float32), time=np.array([2_000_000_000])
    )
    columns = {name: np.concatenate([column, late.columns()[name]]) for name, column in data.events.columns().items()}
    both = data.with_events(dataclasses.replace(data.events, **columns))
    assert both.ratings is not None
    assert both.ratings[0, data.events.item[0]] == 1.5
    assert both.interactions[0, data.events.item[0]] == 2


def test_time_kind_is_kept_by_parts_saved_and_inferred_for_other_events(dataset: Dataset, tmp_path: Path) -> None:
    assert dataset.time_kind is TimeKind.TIMESTAMP
    one = dataclasses.replace(dataset, events=dataset.events.take(slice(0, 1)))
    assert one.time_kind is TimeKind.TIMESTAMP
    order = dataclasses.replace(dataset, time_kind=TimeKind.ORDER)
    assert artifacts.load(artifacts.save(order, tmp_path / "set")).time_kind is TimeKind.ORDER
    flat = dataclasses.replace(dataset.events, time=np.zeros(len(dataset.events), np.int64))
    assert dataset.with_events(flat).time_kind is TimeKind.NONE


def test_fingerprint_changes_with_the_weights(dataset: Dataset) -> None:
    heavier = dataclasses.replace(dataset.events, weight=dataset.events.weight * 2)
    assert dataset.with_events(dataset.events).fingerprint == dataset.fingerprint
    assert dataset.with_events(heavier).fingerprint != dataset.fingerprint

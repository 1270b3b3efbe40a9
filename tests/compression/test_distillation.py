"""Distillation: what a teacher is asked, what becomes of its scores, and what a student learns of them."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from contracts.sequential import hits, ring
from leanrec.compression.distillation import Distillation, Student, draw_prefixes, soften_scores
from leanrec.compression.methods import CompressionMethod
from leanrec.compression.weights.compressed_weights import CompressedWeights
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError, SettingError
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.next_item_regression import NextItemRegression
from leanrec.run import Run
from leanrec.types import Float32Array, Int32Array, Queries

RUN = Run(seed=1, threads=1)
STUDENT = NextItemRegression(l2=0.1)


@dataclasses.dataclass(frozen=True, eq=False)
class RingTeacher:
    """Knows that the next item of a ring follows from the last two."""

    data: Dataset
    settings: Any = None

    @property
    def n_items(self) -> int:
        return len(self.data.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        names = vars(self.data)["names"]
        place = np.argsort(names)
        scores = np.zeros((len(queries), self.n_items), np.float32)
        for scored, row in zip(scores, queries.sequences or (), strict=True):
            if len(row) > 1:
                way = place[row[-1]] - place[row[-2]]
                scored[names[(place[row[-1]] + way) % self.n_items]] = 3
        return scores if items is None else scores[:, items]


def test_histories_end_before_the_item_that_followed() -> None:
    data = make_dataset(n_users=6)
    queries, following = draw_prefixes(data, 1000, RUN)
    assert len(queries) == sum(len(row) - 1 for row in data.queries().sequences or ())
    whole = {tuple(row.tolist()) for row in data.queries().sequences or ()}
    cut = [(*row.tolist(), item) for row, item in zip(queries.sequences or (), following.tolist(), strict=True)]
    assert all(any(each[: len(row)] == row for each in whole) for row in cut)
    assert (queries.users == -1).all()
    for row, history in zip(queries.sequences or (), queries.history.toarray(), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(history), np.unique(row))
    few, _ = draw_prefixes(data, 7, RUN)
    assert len(few) == 7


def test_scores_become_distributions_over_new_items() -> None:
    data = ring()
    queries, following = draw_prefixes(data, 300, RUN)
    targets = soften_scores(RingTeacher(data), queries, following, 4, RUN)
    dense = targets.toarray()
    assert np.diff(targets.indptr).max() <= 4
    assert dense.sum(axis=1).max() <= 1 + 1e-5
    assert not (dense * (queries.history.toarray() > 0)).any()
    # The teacher says nothing about histories of one item.
    lengths = np.array([len(row) for row in queries.sequences or ()])
    assert not dense[lengths == 1].any()
    is_new = queries.history.toarray()[np.arange(len(following)), following] == 0
    told = (lengths > 1) & is_new
    assert (dense[told, following[told]] > 0.5).mean() > 0.9


def test_the_temperature_does_not_depend_on_the_scale_of_the_scores() -> None:
    data = make_dataset()
    queries, following = draw_prefixes(data, 200, RUN)
    teacher = NextItemRegression(n_neighbors=20).fit(data, RUN)
    larger = dataclasses.replace(teacher, weights=teacher.weights * np.float32(50))
    one, two = (soften_scores(each, queries, following, 5, RUN).toarray() for each in (teacher, larger))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_student_learns_what_few_events_do_not_show() -> None:
    data = ring()
    some = data.with_events(data.events.take(data.events.user < 12))
    vars(some)["names"] = vars(data)["names"]
    method = Distillation(dataclasses.replace(STUDENT, n_examples=20), n_queries=2000, weight=20)
    alone, taught = method.fit_alone(some, RUN), method.compress(RingTeacher(data), some, RUN)
    assert isinstance(taught, CompressedWeights)
    assert hits(taught, data) > hits(alone, data)
    again = method.compress(RingTeacher(data), some, RUN)
    np.testing.assert_array_equal(taught.score(data.queries()), again.score(data.queries()))


def test_it_is_a_method_of_compression_for_students_alone() -> None:
    assert isinstance(Distillation(STUDENT), CompressionMethod)
    assert isinstance(STUDENT, Student)
    assert str(Distillation(STUDENT)) == "student NextItemRegression"
    with pytest.raises(SettingError, match="must be able to learn from lists"):
        Distillation(Popularity())


def test_data_without_an_order_to_learn_from_is_refused() -> None:
    data = make_dataset(n_users=5)
    single = data.with_events(data.events.take(data.indptr[:-1]))
    with pytest.raises(DataError, match="histories of two items"):
        Distillation(STUDENT).compress(Popularity().fit(single), single, RUN)

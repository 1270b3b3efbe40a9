"""A distillation is reported beside the same student without a teacher."""

import json

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.compression.distillation import Distillation
from leanrec.data.splits.split import Split, split
from leanrec.errors import DataError
from leanrec.evaluation.compression.distill import DistillationResult, distill
from leanrec.models.linear.ease import EASE
from leanrec.models.linear.next_item_regression import NextItemRegression
from leanrec.run import Run

RUN = Run(seed=1, threads=1)
STUDENT = Distillation(NextItemRegression(n_neighbors=20, top_k=8, decays=(0.9,), l2=1.0), n_queries=300)


@pytest.fixture(scope="module")
def parts() -> Split:
    return split(make_dataset(n_users=120), "leave-one-out")


@pytest.fixture(scope="module")
def result(parts: Split) -> DistillationResult:
    teacher = EASE(l2=5).fit(parts.train, RUN)
    return distill(teacher, STUDENT, parts.train, parts.test, k=5, run=RUN)


def test_the_student_is_compared_with_both(result: DistillationResult) -> None:
    assert result.n_lists == 300
    assert result.n_queries == 120
    assert result.student.n_bytes < result.teacher.n_bytes == 4 * 40**2
    for metric in ("ndcg", "recall"):
        kept = result.student.means[metric] / result.teacher.means[metric]
        assert result.losses[metric].value == pytest.approx(1 - kept)
        gain = result.gains[metric]
        assert gain.value == pytest.approx(result.student.means[metric] / result.alone.means[metric] - 1)
        assert gain.low <= gain.value <= gain.high
    assert result.teacher.fit_cpu_seconds is None
    assert min(each.cpu_per_request for each in (result.teacher, result.student, result.alone)) > 0


def test_the_report_names_the_price_and_the_gain(result: DistillationResult) -> None:
    kept, beside, price = result.summary()
    assert "of the teacher's NDCG" in kept
    assert ("The teacher helps." in beside) == result.is_worth_it
    assert price.startswith("The teacher gave 300 lists in")
    names, rows = result.table()
    assert names == ("", "teacher EASE", "student NextItemRegression", "NextItemRegression without a teacher")
    assert {len(row) for row in rows} == {4}
    assert json.loads(json.dumps(result.to_dict()))["n_lists"] == 300


def test_held_out_events_of_few_users_are_refused(parts: Split) -> None:
    teacher = EASE(l2=5).fit(parts.train, RUN)
    with pytest.raises(DataError, match="at least 10 users. There are 3"):
        distill(teacher, STUDENT, parts.train, parts.test.take(np.arange(3)), run=RUN)

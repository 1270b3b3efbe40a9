"""Evaluation sets: counts, selection and the leakage report."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.data.splits.evaluation_set import EvaluationSet, LeakageReport, pair_keys
from leanrec.errors import DataError
from leanrec.types import Queries


def evaluation_set() -> EvaluationSet:
    history = sp.csr_array(np.array([[1, 0, 0], [0, 0, 0]], np.float32))
    ground_truth = sp.csr_array(np.array([[0, 2, 1], [0, 0, 0]], np.float32))
    return EvaluationSet(Queries(np.array([0, -1], np.int32), history), ground_truth)


def test_counts_for_reports() -> None:
    cases = evaluation_set()
    assert cases.n_relevant.tolist() == [2, 0]
    counts = cases.to_dict()
    assert (counts["queries"], counts["without_history"], counts["without_ground_truth"]) == (2, 1, 1)


def test_take_keeps_ground_truth_beside_its_query() -> None:
    taken = evaluation_set().take(np.array([1, 0]))
    assert taken.queries.users.tolist() == [-1, 0]
    assert taken.n_relevant.tolist() == [0, 2]


def test_fingerprint_follows_the_ground_truth() -> None:
    assert evaluation_set().fingerprint == evaluation_set().fingerprint
    assert evaluation_set().fingerprint != evaluation_set().take(np.array([0])).fingerprint


@pytest.mark.parametrize("columns", [[1, 1], [2, 0, 2]])
@pytest.mark.parametrize("name", ["ground_truth", "ratings"])
def test_an_item_that_a_query_names_twice_is_refused(columns: list[int], name: str) -> None:
    history = sp.csr_array((2, 3), dtype=np.float32)
    parts = np.array([0, 0, len(columns)])
    twice = sp.csr_array((np.ones(len(columns), np.float32), columns, parts), shape=(2, 3))
    once = sp.csr_array(np.eye(2, 3, dtype=np.float32))
    truth, ratings = (twice, None) if name == "ground_truth" else (once, twice)
    with pytest.raises(DataError, match=rf"{name} must name each item of a query once\. Query 1 names one twice"):
        EvaluationSet(Queries(np.array([-1, -1], np.int32), history), truth, ratings)
    twice.sum_duplicates()
    EvaluationSet(Queries(np.array([-1, -1], np.int32), history), truth, ratings)


def test_pair_keys_number_the_entries() -> None:
    assert pair_keys(evaluation_set().ground_truth).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("report", "text", "has_leakage"),
    [
        (LeakageReport(None, None, 3), "have no time", False),
        (LeakageReport(None, 0.5, 4), "no timestamps to compare", True),
        (LeakageReport(0.0, 0.0, 4), "has no temporal leakage", False),
        (LeakageReport(0.5, 0.25, 4), "50.0% of 4 held-out events", True),
    ],
)
def test_report_describes_the_leakage(report: LeakageReport, text: str, has_leakage: bool) -> None:
    assert text in str(report)
    assert report.has_leakage == has_leakage

"""Contributions to scores: of single items, without hidden ones, and of evidence besides the history."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.events.user_history import UserHistory
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.contributions import explain_by_single_items, explain_without_hidden, has_other_evidence
from leanrec.pipeline.snapshot import Snapshot
from leanrec.types import Float32Array, Int32Array, Queries

DATA = make_dataset(n_users=8, n_items=20, per_user=5)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot(EASE().fit(DATA), None, Catalog(DATA.items, DATA.item_table))


def build_history(rows: Int32Array) -> UserHistory:
    n = len(rows)
    return UserHistory(rows, np.zeros(n, "i1"), np.arange(n), np.ones(n, "f4"), np.full(n, np.nan, "f4"))


def test_each_item_contributes_what_its_score_is_above_the_mean(snapshot: Snapshot) -> None:
    past = np.array([7, 3, 5], np.int32)
    queries = build_history(past).to_queries(-1, 20)
    explanation = explain_by_single_items(snapshot, queries, 11, build_history)
    expected = {}
    for item in past.tolist():
        scores = snapshot.model.score(build_history(np.array([item], np.int32)).to_queries(-1, 20))[0]
        expected[item] = scores[11] - scores.mean()
    found = dict(zip(explanation.items.tolist(), explanation.weights.tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert explanation.weights.tolist() == sorted(explanation.weights.tolist(), reverse=True)


def test_only_the_newest_fifty_items_are_scored() -> None:
    data = make_dataset(n_users=8, n_items=70, per_user=5)
    snapshot = Snapshot(EASE().fit(data), None, Catalog(data.items, data.item_table))
    queries = build_history(np.arange(60, dtype=np.int32)).to_queries(-1, 70)
    assert set(explain_by_single_items(snapshot, queries, 65, build_history).items) == set(range(10, 60))


@pytest.mark.parametrize("hidden", [[3], [3, 5, 7]])
def test_hidden_items_contribute_nothing(snapshot: Snapshot, hidden: list[int]) -> None:
    queries = build_history(np.array([7, 3, 5], np.int32)).to_queries(-1, 20)
    without = snapshot.with_hidden(np.array(hidden, np.int32))
    shown = {3, 5, 7} - set(hidden)
    assert set(explain_by_single_items(without, queries, 11, build_history).items) == shown
    assert without.explainer is not None
    (explanation,) = explain_without_hidden(without, without.explainer, queries, np.array([11], np.int32), 2)
    assert set(explanation.items) <= shown
    (whole,) = explain_without_hidden(snapshot, without.explainer, queries, np.array([11], np.int32), 3)
    kept = [item for item in whole.items.tolist() if item in shown]
    assert explanation.items.tolist() == kept[:2]


@dataclasses.dataclass(frozen=True, eq=False)
class _Friends:
    """A model that knows something of one user besides the history, and explains itself."""

    n_items: int = 20

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        scores = np.zeros((len(queries), self.n_items), np.float32)
        scores[queries.users == 2, 4] = 1.0
        return scores if items is None else scores[:, items]

    def explain(self, *_: object) -> list[object]:
        return []


def test_links_are_evidence_for_a_user_without_a_history(snapshot: Snapshot) -> None:
    friends = dataclasses.replace(snapshot, model=_Friends())
    nothing = build_history(np.zeros(0, np.int32))
    assert [has_other_evidence(friends, nothing.to_queries(user, 20)) for user in (-1, 2, 3)] == [False, True, False]
    assert not has_other_evidence(snapshot, nothing.to_queries(2, 20))

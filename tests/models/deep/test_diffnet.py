"""DiffNet: the contract with and without links, users without history, and a slow reference of the diffusion."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.fitting import fit_once
from leanrec.data.dataset import Dataset
from leanrec.data.links import UserLinks
from leanrec.errors import BudgetError, SettingError
from leanrec.models.deep import diffnet
from leanrec.models.deep.diffnet import DiffNet, DiffNetModel
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Queries, empty_csr

SMALL = DiffNet(embedding_dim=16, epochs=25, batch_size=128, n_negatives=32, learning_rate=0.01)
ONE = Run(seed=3, threads=1)


class TestDiffNet(EstimatorContract):
    """Without links."""

    estimator: ClassVar[Any] = SMALL


def with_trust(data: Dataset) -> Dataset:
    """Users trust two users with the same taste and one of the others; the last ten trust no user."""
    trust = [(u, (u + 4 * step) % 60, 1.0) for u in range(50) for step in (1, 2)]
    trust += [(u, (u + 1) % 60, 0.5) for u in range(50)]
    return dataclasses.replace(
        data, user_links=UserLinks.from_pairs((f"user-{u}", f"user-{f}", weight) for u, f, weight in trust)
    )


class TestDiffNetWithTrust(EstimatorContract, OddDataContract):
    """With links."""

    estimator: ClassVar[Any] = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, dataset: Dataset) -> Dataset:
        return with_trust(dataset)


@pytest.fixture(scope="module")
def silent(dataset: Dataset) -> Dataset:
    """Users 0 to 7 and 52 to 55 have lost all their events; the first eight have friends, the last four do not."""
    data = with_trust(dataset)
    is_silent = np.isin(data.events.user, [*range(8), *range(52, 56)])
    return data.with_events(data.events.take(~is_silent))


@pytest.fixture(scope="module")
def model(silent: Dataset) -> DiffNetModel:
    return fit_once(SMALL, silent, ONE)


def test_user_with_friends_but_no_history_gets_personal_scores(model: DiffNetModel, silent: Dataset) -> None:
    asked = silent.queries(np.arange(8, dtype=np.int32))
    assert not asked.history.nnz
    lists = ExactRetriever(model, fallback=_Same(model.n_items)).retrieve(asked, 10)
    assert lists.fallback is not None
    assert not lists.fallback.any()
    assert len({tuple(row) for row in lists.items.tolist()}) > 1
    # Friends mostly share the taste, which is one of four: a list by chance would hold a quarter.
    share = (lists.items % 4 == (np.arange(8) % 4)[:, None]).mean()
    assert share > 0.5


def test_user_without_friends_and_history_gets_zeros(model: DiffNetModel, silent: Dataset) -> None:
    alone = silent.queries(np.arange(52, 56, dtype=np.int32))
    lists = ExactRetriever(model, fallback=_Same(model.n_items)).retrieve(alone, 5)
    assert lists.fallback is not None
    assert lists.fallback.all()
    # Links are known by the row of the fit; who is new has none.
    stranger = Queries(users=np.array([-1], np.int32), history=empty_csr(1, model.n_items))
    assert not model.embed_queries(stranger).any()


def test_friends_change_the_scores_of_users_with_a_history(model: DiffNetModel, silent: Dataset) -> None:
    known = silent.queries(np.array([20], np.int32))
    new = dataclasses.replace(known, users=np.array([-1], np.int32))
    assert not np.allclose(model.score(known), model.score(new), atol=1e-3)
    friendless = silent.queries(np.array([57], np.int32))
    new = dataclasses.replace(friendless, users=np.array([-1], np.int32))
    np.testing.assert_array_equal(model.score(friendless), model.score(new))


def test_social_part_is_the_mean_of_the_friends_vectors(silent: Dataset) -> None:
    """Slow reference of one hop."""
    model = dataclasses.replace(SMALL, n_layers=1, epochs=3).fit(silent, ONE)
    friends, histories = silent.friends, silent.interactions
    assert friends is not None
    vectors = model.items[:, :-1]
    means = np.zeros_like(model.social)
    for user in range(len(silent.users)):
        total = 0.0
        for friend, weight in zip(friends[[user]].indices, friends[[user]].data, strict=True):
            items = histories[[friend]].indices
            means[user] += weight * vectors[items].sum(axis=0) / max(1, len(items)) ** SMALL.pooling_exponent
            total += weight
        means[user] /= max(total, 1e-12)
    gate = model.social[10] / means[10]
    np.testing.assert_allclose(model.social, means * gate, rtol=1e-3, atol=1e-5)


def test_the_history_and_the_friends_add_up_to_the_score(model: DiffNetModel, silent: Dataset) -> None:
    queries = silent.queries(np.array([20], np.int32))
    why = model.explain(queries, np.array([3]))[0]
    friends = float(model.social[20] @ model.items[3, :-1])
    total = why.weights.sum() + friends + model.items[3, -1]
    assert total == pytest.approx(float(model.score(queries)[0, 3]), abs=1e-3)


def test_reason_is_friends_without_a_history(model: DiffNetModel, silent: Dataset) -> None:
    queries = silent.queries(np.array([1], np.int32))
    best = int(model.score(queries)[0].argmax())
    why = model.explain(queries, np.array([best]))[0]
    assert why.reason == "friends"
    assert not len(why.items)


def test_zero_layers_ignore_links(silent: Dataset) -> None:
    none = dataclasses.replace(SMALL, n_layers=0, epochs=2)
    bare = dataclasses.replace(silent, user_links=None)
    np.testing.assert_array_equal(none.fit(silent, ONE).items, none.fit(bare, ONE).items)


def test_early_stopping_keeps_the_best_epoch(silent: Dataset) -> None:
    model = dataclasses.replace(SMALL, patience=2).fit(silent, ONE)
    assert np.isfinite(model.score(silent.queries())).all()


@pytest.mark.parametrize(
    ("name", "value"), [("n_layers", -1), ("node_dropout", 1.0), ("sampler", "batch"), ("pooling_exponent", -0.1)]
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        DiffNet(**{name: value})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class _Same:
    """A fallback with the same list for all users."""

    n_items: int

    def score(self, queries: Queries, items: Any = None) -> np.ndarray:
        scores = np.broadcast_to(-np.arange(self.n_items, dtype=np.float32), (len(queries), self.n_items))
        return scores if items is None else scores[:, items]


def test_too_many_links_are_answered_with_fewer_layers(silent: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffnet, "_estimate_paths", lambda *_: 10**12)
    with pytest.raises(BudgetError, match=r"available\. Lower n_layers, or raise the limit"):
        DiffNet().fit(silent)

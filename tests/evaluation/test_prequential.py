"""Prequential evaluation: a block is predicted before anything is learned from it, and all policies get the same queries."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.time_kind import TimeKind
from leanrec.errors import DataError, SettingError
from leanrec.evaluation import compare, evaluate, evaluate_prequentially
from leanrec.evaluation.prequential import PrequentialEvaluation
from leanrec.models import get_model
from leanrec.run import Run
from leanrec.types import Events

RUN = Run(threads=1)
DATA = make_dataset(60, 40, 12)


def make_stream(n_users: int = 120, n_items: int = 60, n_events: int = 2_400) -> Dataset:
    """People of four tastes; at every fifth of the time, other items are in fashion."""
    rng = np.random.default_rng(0)
    time = np.arange(n_events)
    user = rng.integers(0, n_users, n_events)
    fashion = (time * 5 // n_events) * (n_items // 5)
    item = fashion + 4 * rng.integers(0, n_items // 20, n_events) + user % 4
    data = make_dataset(n_users, n_items, 1)
    events = Events(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=time + 1_500_000_000,
        event_type=np.zeros(n_events, np.int8),
        weight=np.ones(n_events, np.float32),
        event_types=("view",),
    )
    return dataclasses.replace(data, rating_range=None).with_events(events, TimeKind.TIMESTAMP)


STREAM = make_stream()


@pytest.fixture(scope="module")
def followed() -> dict[str, PrequentialEvaluation]:
    return evaluate_prequentially("item_knn", STREAM, first=0.3, n_blocks=14, run=RUN)


def test_updates_that_equal_a_fit_predict_what_a_refit_predicts() -> None:
    found = evaluate_prequentially("ease", STREAM, policies=["online", "refit"], first=0.3, n_blocks=5, run=RUN)
    online, refit = found["online"], found["refit"]
    np.testing.assert_allclose(online.values("ndcg@10"), refit.values("ndcg@10"), atol=1e-6)
    assert compare(found, against="refit").pairs[0].difference == pytest.approx(0, abs=1e-6)


def test_updates_of_the_items_of_a_block_follow_the_fashion(followed: dict[str, PrequentialEvaluation]) -> None:
    means = {name: each.means()["ndcg@10"] for name, each in followed.items()}
    assert means["online"] > 0.95 * means["refit"] > 1.5 * means["frozen"]


def test_a_frozen_model_loses_when_other_items_come_into_fashion(followed: dict[str, PrequentialEvaluation]) -> None:
    pair = next(each for each in compare(followed, against="refit").pairs if each.b == "frozen")
    assert pair.low > 0.1
    frozen, refit = (followed[each].blocks["ndcg@10"] for each in ("frozen", "refit"))
    assert len(refit) == 14
    assert refit[0] == frozen[0]  # of the same fit
    assert sum(refit[-4:]) > sum(frozen[-4:]) + 0.5


def test_costs_are_those_of_what_learns(followed: dict[str, PrequentialEvaluation]) -> None:
    assert followed["frozen"].cpu_seconds == 0
    assert followed["refit"].cpu_seconds > 0
    assert len({each.first_cpu_seconds for each in followed.values()}) == 1
    assert [each.policy for each in followed.values()] == ["frozen", "online", "refit"]


def test_the_first_block_is_predicted_by_the_first_fit_alone() -> None:
    """The slow way, for the first of two blocks."""
    found = evaluate_prequentially("ease", STREAM, policies=["refit"], first=0.5, n_blocks=2, run=RUN)["refit"]
    past, known = (
        dataclasses.replace(STREAM, events=STREAM.events.take(STREAM.events.time - 1_500_000_000 < end))
        for end in (1_200, 1_800)
    )
    from leanrec.data import split

    block = known.events.take(known.events.time - 1_500_000_000 >= 1_200)
    test = split(past, "given", test_events=STREAM.with_events(block)).test
    fallback = get_model("popularity")().fit(past, RUN)
    wanted = evaluate(get_model("ease")().fit(past, RUN), test, k=(10,), fallback=fallback).means()["ndcg@10"]
    assert found.blocks["ndcg@10"][0] == pytest.approx(wanted)


def test_a_user_counts_once_in_intervals_and_with_all_lists_in_means(
    followed: dict[str, PrequentialEvaluation],
) -> None:
    each = followed["refit"]
    assert each.weights is not None
    assert len(each.values("ndcg@10")) == len(each.weights) <= 120
    assert each.weights.max() > 1
    low, high = min(each.blocks["ndcg@10"]), max(each.blocks["ndcg@10"])
    assert low < each.means()["ndcg@10"] < high


def test_events_with_an_order_within_each_user_are_spread_over_the_stream() -> None:
    data = dataclasses.replace(DATA, time_kind=TimeKind.ORDER)
    found = evaluate_prequentially("popularity", data, policies=["frozen"], first=0.5, n_blocks=6, run=RUN)["frozen"]
    assert found.weights is not None
    assert len(found.weights) == 60
    assert found.weights.min() >= 4


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"policies": ["live"]}, SettingError, "policies must be one of"),
        ({"estimator": "slim"}, SettingError, "cannot be updated"),
        ({"first": 1}, SettingError, "first must be"),
        ({"n_blocks": 1}, SettingError, "n_blocks must be"),
        ({"data": dataclasses.replace(DATA, time_kind=TimeKind.NONE)}, DataError, "needs an order"),
    ],
)
def test_what_cannot_be_done_is_told(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate_prequentially(**{"estimator": "popularity", "data": DATA, "run": RUN, **changes})  # type: ignore[arg-type]

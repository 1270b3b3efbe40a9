"""Replay of a log for another version: it is asked as it would have been, and estimates hold what it would have earned."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.errors import DataError
from leanrec.events.records import ServedList
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent, to_events
from leanrec.models import get_model
from leanrec.online.experiments import estimate_value, predict_rewards, replay_policy
from leanrec.pipeline.lists.rules import ListRules, PinnedItem
from leanrec.pipeline.pipeline import Pipeline

DATA = make_dataset(n_users=30, n_items=80, per_user=6)
START = float(DATA.events.time.max()) + 10.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield log


def fit(model: str = "ease") -> Pipeline:
    return Pipeline.fit(get_model(model)(), DATA)


def serve(log: SQLiteEventStore, n_lists: int, explore: float, start: float = START) -> list[float]:
    """Serve lists with clicks that depend on item and place; the chance of a click at each place without exploration."""
    pipeline, rng = fit(), np.random.default_rng(0)
    log.bind(pipeline.data_origin)
    chances = dict(zip(DATA.items.ids.tolist(), rng.random(len(DATA.items)) * 0.5, strict=True))
    usual = []
    for number in range(n_lists):
        user = DATA.users.ids[number % len(DATA.users)]
        time = start + 10 * number
        plain = pipeline.recommend(user, n=4, reasons=False)
        made = pipeline.recommend(user, n=4, reasons=False, explore=explore, trace=True)
        usual += [chances[item.id] / (place + 1) for place, item in enumerate(plain.items)]
        items, scores = zip(*((item.id, item.score) for item in made.items), strict=True)
        log.append_served(
            ServedList(made.request, time, user, items, scores, policy=made.policy, propensities=made.propensities)
        )
        clicked = [
            UserEvent(f"{number}-{place}", user, item, "click", time + 1 + place, 1.0, request=made.request)
            for place, item in enumerate(items)
            if rng.random() < chances[item] / (place + 1)
        ]
        if clicked:
            log.append(clicked)
            pipeline.record_events(to_events(clicked))
    log.flush()
    return usual


def test_the_version_that_served_would_show_its_own_items(log: SQLiteEventStore) -> None:
    usual = serve(log, 200, explore=0.3)
    replayed = replay_policy(log, fit())
    decisions = replayed.decisions
    assert (replayed.n_lists, dict(replayed.skipped)) == (200, {})
    assert len(decisions.rewards) == 800
    np.testing.assert_array_equal(decisions.targets == 1, decisions.propensities > 0.5)
    n_clicks = sum(event.request is not None for event in log.user_events())
    assert decisions.rewards.sum() == n_clicks > 50
    np.testing.assert_array_equal(replayed.places, np.tile(np.arange(4), 200))
    for method in ("ips", "snips", "dr"):
        found = estimate_value(decisions, method, level=0.9999)  # type: ignore[arg-type]
        assert found.low < np.mean(usual) < found.high


def test_what_was_shown_and_what_would_be_are_kept_by_item_and_place(log: SQLiteEventStore) -> None:
    serve(log, 40, explore=0.3)
    other = fit("popularity")
    replayed = replay_policy(log, other)
    places = iter(zip(replayed.shown.tolist(), replayed.wanted.tolist(), replayed.decisions.targets, strict=True))
    again, events = fit("popularity"), log.user_events()
    for served in log.served_lists():
        again.record_events(to_events([each for each in events if each.time < served.time]), replayed=True)
        expected = again.recommend(served.user, n=4, reasons=False).items
        for item, want in zip(served.items, expected, strict=True):
            shown, wanted, target = next(places)
            assert (replayed.items[shown], replayed.items[wanted]) == (item, want.id)
            assert target == (item == want.id)
    assert next(places, None) is None
    decisions = replayed.decisions
    args = (decisions.rewards, decisions.users, replayed.places, replayed.shown, replayed.wanted)
    for found, predicted in zip((decisions.predicted, decisions.target_predicted), predict_rewards(*args), strict=True):
        np.testing.assert_array_equal(found, predicted)


def test_a_place_that_the_version_leaves_empty_earns_nothing(log: SQLiteEventStore) -> None:
    serve(log, 30, explore=0.3)
    pipeline = fit()
    shown = pipeline.recommend(DATA.users.ids[0], n=100).items
    log.set_hidden([item.id for item in shown[:-2]], hidden=True)
    replayed = replay_policy(log, pipeline)
    first = replayed.wanted[:4]
    assert (first[:2] >= 0).all()
    assert first[2:].tolist() == [-1, -1]
    assert replayed.decisions.target_predicted is not None
    assert replayed.decisions.target_predicted[:4][first < 0].tolist() == [0, 0]
    assert not replayed.decisions.targets[:4][first < 0].any()


def test_only_events_of_the_type_are_rewards(log: SQLiteEventStore) -> None:
    serve(log, 60, explore=0.3)
    assert replay_policy(log, fit(), event_type="purchase").decisions.rewards.sum() == 0


def test_a_version_that_shows_other_items_has_no_support(log: SQLiteEventStore) -> None:
    serve(log, 100, explore=0.05)
    replayed = replay_policy(log, fit("popularity"))
    for method in ("snips", "ips", "dr"):
        with pytest.raises(DataError, match="No support"):
            estimate_value(replayed.decisions, method)  # type: ignore[arg-type]


def test_lists_that_cannot_be_used_are_told(log: SQLiteEventStore) -> None:
    serve(log, 30, explore=0.3)
    drawn = next(iter(log.served_lists()))
    log.append_served(dataclasses.replace(drawn, request="a", propensities=None))
    log.append_served(dataclasses.replace(drawn, request="b", user=None))
    log.append_served(dataclasses.replace(drawn, request="c", user="nobody"))
    log.append_served(dataclasses.replace(drawn, request="d", time=START - 100))
    log.append_served(dataclasses.replace(drawn, request="e", time=START + 10_000))
    log.append_served(dataclasses.replace(drawn, request="f", propensities=(None, None, None, 0.5)))
    log.flush()
    replayed = replay_policy(log, fit(), until=START + 5000)
    assert replayed.n_lists == 31
    assert len(replayed.decisions.rewards) == 121
    assert dict(replayed.skipped) == {
        "nothing was drawn": 1,
        "it was made for no user": 1,
        "the version does not know the user": 1,
        "the version was fitted on later events": 1,
        "it is of another time": 1,
    }


def test_hidden_items_and_other_data_are_respected(log: SQLiteEventStore) -> None:
    serve(log, 30, explore=0.3)
    pipeline = fit()
    hidden = pipeline.recommend(DATA.users.ids[0], n=1).items[0].id
    log.set_hidden([hidden], hidden=True)
    replay_policy(log, pipeline)
    assert pipeline.is_hidden(hidden)
    other = Pipeline.fit(get_model("popularity")(), make_dataset(n_users=9))
    with pytest.raises(DataError, match="must belong to the data of this model"):
        replay_policy(log, other)


def test_the_version_obeys_the_rules_of_the_log(log: SQLiteEventStore) -> None:
    serve(log, 10, explore=0.3)
    log.replace_list_rules(ListRules((PinnedItem(int(DATA.items.ids[70]), 1),)).to_json(), 0)
    replayed = replay_policy(log, fit())
    first = replayed.wanted[replayed.places == 0]
    assert {replayed.items[at] for at in first} == {DATA.items.ids[70]}


def test_a_log_without_draws_is_refused(log: SQLiteEventStore) -> None:
    serve(log, 5, explore=0.0)
    with pytest.raises(DataError, match="must have drawn lists .* .5 cannot, because nothing was drawn."):
        replay_policy(log, fit())

"""The report of an experiment: who counts where, what counts, and when there is a verdict."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from contracts.server import run_server
from leanrec.errors import DataError
from leanrec.events.records import ServedList
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionTrial
from leanrec.online.experiments import RewardDifference, report_experiment
from leanrec.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.serving_settings import ServingSettings

START = 1_700_000_000.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield log


def make_list(user: Any, arm: str | None, time: float = 0.0, policy: str | None = None) -> ServedList:
    made_by = policy if policy is not None else f"ease/{arm}"
    return ServedList(f"{user}-{time}", START + time, user, ("i",), (1.0,), policy=made_by, arm=arm)


def make_event(user: Any, time: float, weight: float = 1.0, event_type: str = "click", **more: Any) -> UserEvent:
    return UserEvent(f"{user}-{time}-{event_type}", user, "i", event_type, START + time, weight, **more)


def write(log: SQLiteEventStore, lists: list[ServedList], events: list[UserEvent] = []) -> None:  # noqa: B006
    for each in lists:
        log.append_served(each)
    log.append(events)
    log.flush()


def write_experiment(log: SQLiteEventStore, chances: dict[str, float], n: int = 400, **more: Any) -> None:
    """Users of two arms in turns, with one event each at most."""
    rng, arms = np.random.default_rng(0), list(chances)
    lists = [make_list(user, arms[user % len(arms)], 10.0 * user, **more) for user in range(n)]
    events = [make_event(user, 10.0 * user + 1) for user in range(n) if rng.random() < chances[arms[user % len(arms)]]]
    write(log, lists, events)


class TestCounts:
    def test_users_count_once_in_their_first_arm_with_what_they_did_after_it(self, log: SQLiteEventStore) -> None:
        write(
            log,
            [
                make_list("ann", "control", 10),
                make_list("bob", "candidate", 20),
                make_list("ann", "control", 30),
                make_list("bob", "control", 40),
                make_list("cleo", None, 50),
                make_list(None, "control", 60),
                make_list(7, "candidate", 70),
            ],
            [
                make_event("ann", 5),  # before the first list
                make_event("ann", 10),
                make_event("bob", 21, 0.0),  # not positive
                make_event("bob", 500),
                make_event("cleo", 51),  # in no arm
                make_event("7", 71, event_type="purchase"),  # the same user as 7
            ],
        )
        report = report_experiment(log)
        control, candidate = report.arms
        assert (control.name, control.users, control.lists, control.rewards) == ("control", 1, 3, 1)
        assert (candidate.name, candidate.users, candidate.lists, candidate.rewards) == ("candidate", 2, 2, 2)
        assert (control.mean_reward, candidate.mean_reward) == (1.0, 1.0)
        assert report.n_switched == 1
        assert (report.first, report.last) == (START + 10, START + 70)
        assert dict(candidate.policies) == {"ease/candidate": 2}
        assert [arm.rewards for arm in report_experiment(log, event_type="purchase").arms] == [0, 1]
        assert [arm.rewards for arm in report_experiment(log, until=START + 100).arms] == [1, 1]
        assert [arm.users for arm in report_experiment(log, since=START + 15).arms] == [1, 2]

    def test_only_attributed_events_count_on_request(self, log: SQLiteEventStore) -> None:
        lists = [make_list("ann", "control", 1), make_list("bob", "candidate", 2), make_list("cleo", None, 3)]
        events = [
            make_event("ann", 11, request=lists[0].request),
            make_event("ann", 12),
            make_event("bob", 13, request="another list"),
            make_event("bob", 14, request=lists[2].request),
        ]
        write(log, lists, events)
        assert [arm.rewards for arm in report_experiment(log, attributed=True).arms] == [1, 0]
        assert [arm.rewards for arm in report_experiment(log).arms] == [2, 2]

    def test_the_difference_is_that_of_the_sequential_interval(self, log: SQLiteEventStore) -> None:
        write_experiment(log, {"control": 0.3, "candidate": 0.5})
        report = report_experiment(log, expected_users=400)
        (comparison,) = report.comparisons
        slow = RewardDifference(0.95, 400)
        for served in log.served_lists():
            slow.add_user(served.user, served.arm == "candidate")
        for event in log.user_events():
            slow.add_reward(event.user, 1.0)
        np.testing.assert_allclose(comparison.difference[:3], slow.find_interval()[:3], rtol=1e-9)
        assert comparison.difference.users == (200, 200)
        assert comparison.looks[-1] == (400, *comparison.difference[:3])
        assert [look[0] for look in comparison.looks] == sorted(look[0] for look in comparison.looks)

    def test_events_before_the_first_list_explain_a_part_of_the_difference(self, log: SQLiteEventStore) -> None:
        rng = np.random.default_rng(1)
        lists, events = [], []
        for user in range(200):
            n_usual = int(rng.integers(0, 6))
            lists.append(make_list(user, ("control", "candidate")[user % 2], 1000 + user))
            events += [make_event(user, at) for at in range(n_usual)]
            events += [make_event(user, 2000 + at) for at in range(n_usual + user % 2 + user % 3)]
        write(log, lists, events)
        plain, adjusted = (report_experiment(log, adjusted=each).comparisons[0] for each in (False, True))
        assert adjusted.difference.value == pytest.approx(1.0, abs=0.05)
        assert adjusted.verdict == "better"
        assert plain.difference.high - plain.difference.low > 2 * (adjusted.difference.high - adjusted.difference.low)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("chances", "verdict"),
        [
            ({"control": 0.2, "candidate": 0.7}, "better"),
            ({"control": 0.7, "candidate": 0.2}, "worse"),
            ({"control": 0.4, "candidate": 0.4}, "undecided"),
        ],
    )
    def test_a_verdict_follows_from_the_interval(
        self, log: SQLiteEventStore, chances: dict[str, float], verdict: str
    ) -> None:
        write_experiment(log, chances)
        (comparison,) = report_experiment(log, expected_users=400).comparisons
        assert comparison.verdict == verdict
        assert comparison.difference.excludes_zero == (verdict != "undecided")

    def test_there_is_none_where_the_sample_ratio_does_not_fit(self, log: SQLiteEventStore) -> None:
        write_experiment(log, {"control": 0.2, "candidate": 0.7})
        (comparison,) = (report := report_experiment(log, {"control": 4, "candidate": 1})).comparisons
        assert report.ratio_p_value < 0.001
        assert comparison.verdict == "sample ratio mismatch"
        assert comparison.difference.low > 0

    def test_there_is_none_where_both_arms_got_the_same_lists(self, log: SQLiteEventStore) -> None:
        write_experiment(log, {"control": 0.2, "candidate": 0.7}, policy="ease/1f")
        assert report_experiment(log).comparisons[0].verdict == "same lists"

    def test_there_is_none_with_few_users(self, log: SQLiteEventStore) -> None:
        write_experiment(log, {"control": 0.0, "candidate": 1.0}, n=40)
        (comparison,) = report_experiment(log).comparisons
        assert comparison.verdict == "too little data"
        assert comparison.difference.high == math.inf

    def test_an_arm_that_was_lost_is_a_mismatch(self, log: SQLiteEventStore) -> None:
        write(log, [make_list(user, "control", user) for user in range(300)])
        report = report_experiment(log, {"control": 1, "candidate": 1})
        assert report.comparisons[0].verdict == "sample ratio mismatch"
        assert report.arms[1].lists == 0

    def test_three_arms_share_the_error(self, log: SQLiteEventStore) -> None:
        write_experiment(log, {"a": 0.2, "b": 0.2, "c": 0.8}, n=600)
        report = report_experiment(log, expected_users=400)
        assert [arm.name for arm in report.arms] == ["a", "b", "c"]
        assert [(each.arm, each.verdict) for each in report.comparisons] == [("b", "undecided"), ("c", "better")]
        alone = RewardDifference(0.975, 400)
        for served in log.served_lists():
            if served.arm != "b":
                alone.add_user(served.user, served.arm == "c")
        for event in log.user_events():
            if event.user % 3 != 1:  # type: ignore[operator]
                alone.add_reward(event.user, 1.0)
        np.testing.assert_allclose(report.comparisons[1].difference[:3], alone.find_interval()[:3])


def test_logs_without_two_arms_are_refused(log: SQLiteEventStore) -> None:
    with pytest.raises(DataError, match="None of its lists has an arm"):
        report_experiment(log)
    write(log, [make_list("ann", "control")])
    with pytest.raises(DataError, match="must have two arms. The log has only lists of 'control'"):
        report_experiment(log)
    with pytest.raises(DataError, match="ratio must have every arm of the log. It lacks 'control'"):
        report_experiment(log, {"a": 1, "b": 1})


def test_a_report_can_be_read_while_the_order_of_lists_is_not_that_of_time(log: SQLiteEventStore) -> None:
    lists = [make_list("ann", "control", 50), make_list("bob", "candidate", 20), make_list("ann", "control", 10)]
    write(log, lists, [make_event("ann", 12), make_event("bob", 15)])
    report = report_experiment(log)
    assert [arm.rewards for arm in report.arms] == [1, 0]
    assert report.first == START + 10
    described = report.to_dict()
    assert (described["last"], described["arms"][0]["mean_reward"]) == (START + 50, 1.0)
    assert described["comparisons"][0]["difference"]["users"] == (1, 1)


def test_a_trial_of_a_server_is_reported_from_what_it_logged(log: SQLiteEventStore) -> None:
    data = make_dataset(n_users=80)
    live = LivePipeline(Pipeline.fit(get_model("popularity")(), data), log)
    trial = VersionTrial(2, "v2", 0.5, is_shadow=False, salt="salt", started="2026-11-30T12:00:00")
    live.start_trial(Pipeline.fit(get_model("item_knn")(), data), trial)
    arms = {}
    with run_server(create_app(live, log, ServingSettings(explore=0.2))) as client:
        for user in data.users.ids.tolist():
            answer = client.get("/recommend", params={"user": user, "n": 3}).json()
            arms[user] = answer["arm"]
            event = {"user": user, "item": answer["items"][0]["id"], "request": answer["request"]}
            if answer["arm"] == "candidate" and len(arms) % 9:
                client.post("/events", json={"events": [event]}).raise_for_status()
    report = report_experiment(log, attributed=True, expected_users=80)
    n_treated = sum(arm == "candidate" for arm in arms.values())
    n_clicks = sum(arm == "candidate" and bool(number % 9) for number, arm in enumerate(arms.values(), 1))
    assert [(arm.name, arm.users, arm.rewards) for arm in report.arms] == [
        ("control", 80 - n_treated, 0),
        ("candidate", n_treated, n_clicks),
    ]
    assert [list(arm.policies) for arm in report.arms] == [["popularity/+explore=0.2"], ["item_knn/+explore=0.2"]]
    assert report.comparisons[0].verdict == "better"
    assert all(served.propensities is not None for served in log.served_lists())

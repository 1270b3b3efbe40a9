"""A version on trial: who gets its lists, what both versions know, and when it is ended."""

import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.errors import ArtifactError, DataError, UnknownIdError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionTrial
from leanrec.online.trials.guards import TrialGuards
from leanrec.online.trials.live_trial import CANDIDATE, CONTROL, LiveTrial
from leanrec.online.trials.trial_record import TrialRecord
from leanrec.pipeline import Pipeline, Recommendations
from leanrec.pipeline.snapshot import SavedPipeline
from leanrec.run import Run

USERS = [f"user-{number}" for number in range(60)]


@functools.cache
def _fit_parts(model: str) -> SavedPipeline:
    data, popular = make_dataset(), get_model("popularity")()
    fitted = get_model(model)().fit(data, Run())
    return SavedPipeline(model, "popularity", fitted, popular.fit(data, Run()), data, np.zeros(0, np.int32))


def _fit(model: str) -> Pipeline:
    return Pipeline(_fit_parts(model))


def _make_trial(share: float = 0.5, *, is_shadow: bool = False, salt: str = "salt") -> VersionTrial:
    return VersionTrial(2, "v2", share, is_shadow, salt, "2026-11-30T12:00:00")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    """An empty event store."""
    with SQLiteEventStore(tmp_path / "events.db") as opened:
        yield opened


@pytest.fixture
def live(log: SQLiteEventStore) -> LivePipeline:
    """A popularity model with another model on trial for half of the users."""
    made = LivePipeline(_fit("popularity"), log)
    made.start_trial(_fit("item_knn"), _make_trial())
    return made


def _get_trial(live: LivePipeline) -> LiveTrial:
    assert live.trial is not None
    return live.trial


def _click(number: int, user: str = "new", item: int = 103, weight: float = 1.0) -> UserEvent:
    return UserEvent(f"e-{number}", user, item, "click", 1_700_000_000 + number, weight)


class Broken:
    """A pipeline that fails for some users, and lists nothing for others."""

    def __init__(self, pipeline: Pipeline, fails: bool = True) -> None:
        self._pipeline, self._fails = pipeline, fails

    def recommend(self, user: Any, **options: Any) -> Recommendations:
        if self._fails:
            raise RuntimeError("a defect")
        return dataclasses.replace(self._pipeline.recommend(user, **options), items=())

    def find_cached(self, user: Any, **options: Any) -> None:
        raise RuntimeError("a defect")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)


class Slow(Broken):
    """A pipeline that takes its time."""

    def recommend(self, user: Any, **options: Any) -> Recommendations:
        time.sleep(0.005)
        return self._pipeline.recommend(user, **options)


class Late(Broken):
    """A pipeline that has no time left."""

    def recommend(self, user: Any, **options: Any) -> Recommendations:
        return dataclasses.replace(self._pipeline.recommend(user, **options), rung="popular")


def _break(live: LivePipeline, *, fails: bool = True) -> LiveTrial:
    trial = _get_trial(live)
    trial.pipeline = Broken(trial.pipeline, fails)  # type: ignore[assignment]
    return trial


class TestArms:
    def test_each_user_gets_the_lists_of_one_version(self, live: LivePipeline) -> None:
        models = {CONTROL: "popularity", CANDIDATE: "item_knn"}
        arms = {}
        for user in USERS * 2:
            made = live.recommend(user, n=3)
            assert made.arm is not None
            assert made.model == models[made.arm]
            assert arms.setdefault(user, made.arm) == made.arm
            cached = live.find_cached(user, n=3)
            assert cached is not None
            assert (cached.arm, cached.model) == (made.arm, made.model)
            assert cached.request != made.request
            assert live.find_pipeline(user).name == made.model
        assert 15 < sum(arm == CANDIDATE for arm in arms.values()) < 45

    def test_arms_are_the_same_in_every_process_and_larger_shares_add_users(self) -> None:
        def assign(share: float) -> dict[int, str | None]:
            trial = LiveTrial(None, 0, _make_trial(share), TrialGuards())  # type: ignore[arg-type]
            return {user: trial.find_arm(user) for user in range(4000)}

        small, large = assign(0.05), assign(0.25)
        assert small == assign(0.05)
        assert {user: large[user] for user, arm in small.items() if arm is not None} == {
            user: arm for user, arm in small.items() if arm is not None
        }
        assert 150 < sum(arm == CANDIDATE for arm in small.values()) < 250
        assert 150 < sum(arm == CONTROL for arm in small.values()) < 250

    def test_requests_without_a_user_take_no_part(self, live: LivePipeline) -> None:
        made = live.recommend(None, history=[100])
        assert (made.arm, made.model) == (None, "popularity")

    def test_lists_without_part_are_counted(self, log: SQLiteEventStore) -> None:
        live = LivePipeline(_fit("popularity"), log)
        live.start_trial(_fit("item_knn"), _make_trial(0.05))
        arms = [live.recommend(user).arm for user in USERS]
        for user in USERS[:5]:
            assert live.find_cached(user) is not None
        for _ in range(3):
            live.recommend(None, history=[100])
        described = _get_trial(live).describe()
        others = arms.count(None) + arms[:5].count(None)
        assert (described["other_lists"], described["lists_without_user"]) == (others, 3)
        assert sum(arm["lists"] for arm in described["arms"].values()) == len(USERS) + 5 - others

    def test_users_who_take_no_part_get_the_current_version(self, log: SQLiteEventStore) -> None:
        live = LivePipeline(_fit("popularity"), log)
        live.start_trial(_fit("item_knn"), _make_trial(0.05))
        made = [live.recommend(user) for user in USERS]
        assert {each.model for each in made if each.arm is None} == {"popularity"}
        assert sum(each.arm is None for each in made) > 40


class TestState:
    """Events, items, hidden items and forgotten users reach both versions, exactly once."""

    def test_events_are_recorded_in_both(self, live: LivePipeline, log: SQLiteEventStore) -> None:
        pipelines = [each.pipeline for each in live.versions]
        for number in range(3):
            appended = log.append([_click(number)])
            assert live.record(appended.new, appended.last_seq).applied == 1
        assert [len(each.history("new")) for each in pipelines] == [3, 3]

    def test_what_is_on_its_way_while_a_trial_starts_counts_once(self, log: SQLiteEventStore) -> None:
        live = LivePipeline(_fit("popularity"), log)
        first = log.append([_click(1), _click(2, item=77)])  # stored, and not yet recorded
        live.start_trial(_fit("item_knn"), _make_trial())
        log.append([_click(3, "gone")])
        live.forget_user("gone")
        assert live.record(first.new, first.last_seq).applied == 1
        second = log.append([_click(4)])
        live.record(second.new, second.last_seq)
        assert [len(each.pipeline.history("new")) for each in live.versions] == [2, 2]

    def test_a_user_forgotten_while_events_are_on_their_way_is_in_neither(self, log: SQLiteEventStore) -> None:
        live = LivePipeline(_fit("popularity"), log)
        on_way = log.append([_click(1, "ada"), _click(2, "ben")])
        live.start_trial(_fit("item_knn"), _make_trial())
        live.forget_user("ada")
        live.record(on_way.new, on_way.last_seq)
        for each in live.versions:
            assert len(each.pipeline.history("ben")) == 1
            with pytest.raises(UnknownIdError):
                each.pipeline.history("ada")

    def test_items_are_hidden_and_added_in_both(self, log: SQLiteEventStore) -> None:
        live = LivePipeline(_fit("content"), log)
        live.start_trial(_fit("content"), _make_trial())
        assert live.pipeline.catalog.table is not None
        column = next(name for name, cells in live.pipeline.catalog.table.columns.items() if cells.dtype.kind == "T")
        early = log.append([_click(1, item=900)])
        live.record(early.new, early.last_seq)
        table = Table({column: np.array(["a"], np.dtypes.StringDType())})
        live.add_items([900], table, persist=lambda: log.add_items({900: {column: "a"}}))
        live.set_hidden([100], hidden=True)
        for each in live.versions:
            assert 900 in each.pipeline.catalog.items
            assert each.pipeline.is_hidden(100)
            assert [event.id for event in each.pipeline.history("new")] == [900]

    def test_a_replaced_version_ends_a_trial_and_its_state_stays(
        self, live: LivePipeline, log: SQLiteEventStore
    ) -> None:
        appended = log.append([_click(1)])
        live.record(appended.new, appended.last_seq)
        live.replace(_fit("item_knn"))
        assert live.trial is None
        assert {live.recommend(user).model for user in USERS} == {"item_knn"}
        assert len(live.pipeline.history("new")) == 1

    def test_a_version_that_cannot_take_over_ends_no_trial(self, live: LivePipeline, log: SQLiteEventStore) -> None:
        log.append([_click(1)])
        other = dataclasses.replace(make_dataset(), source="elsewhere").with_events(
            make_dataset().events.take(slice(5))
        )
        with pytest.raises(DataError, match="belongs to other data"):
            live.replace(Pipeline.fit(get_model("popularity")(), other))
        assert live.trial is not None

    @settings(deadline=None, max_examples=10)
    @given(st.lists(st.sampled_from(["store", "record", "start", "stop", "forget"]), min_size=4, max_size=14))
    def test_both_versions_have_what_a_restart_has(self, steps: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder, SQLiteEventStore(Path(folder) / "e.db") as log:
            live, waiting = LivePipeline(_PIPELINES[0](), log), []
            for number, step in enumerate([*steps, "record"]):
                if step == "store":
                    waiting.append(log.append([_click(number, f"u{number % 2}")]))
                elif step == "start":
                    live.start_trial(_PIPELINES[1](), _make_trial())
                elif step == "stop":
                    live.stop_trial()
                elif step == "forget":
                    live.forget_user("u0")
                while step == "record" and waiting:
                    appended = waiting.pop(0)
                    live.record(appended.new, appended.last_seq)
            again = LivePipeline(_PIPELINES[0](), log).pipeline
            for each in live.versions:
                for user in ("u0", "u1"):
                    assert _count(each.pipeline, user) == _count(again, user)


_PIPELINES = [lambda: _fit("popularity"), lambda: _fit("item_knn")]


def _count(pipeline: Pipeline, user: str) -> int:
    try:
        return len(pipeline.history(user))
    except UnknownIdError:
        return 0


class TestGuards:
    @pytest.mark.parametrize("fails", [True, False])
    def test_a_version_that_fails_costs_no_answer_and_is_ended(self, live: LivePipeline, fails: bool) -> None:
        trial = _break(live, fails=fails)
        made = [live.recommend(user) for user in USERS]
        assert {each.model for each in made} == {"popularity"}
        assert all(each.items for each in made)
        assert sum(each.arm == CANDIDATE for each in made) == 2  # of users who were to get another list
        assert trial.verdict is not None
        assert trial.verdict.guard == "failures"
        after = live.recommend(USERS[0])
        assert (after.arm, after.model) == (None, "popularity")

    def test_one_user_whose_lists_fail_ends_no_trial(self, live: LivePipeline) -> None:
        trial = _break(live)
        user = next(user for user in USERS if trial.find_arm(user) == CANDIDATE)
        for _ in range(30):
            live.recommend(user)
        assert trial.describe()["arms"][CANDIDATE]["failures"] == 1
        assert trial.verdict is None

    def test_a_slow_version_is_ended(self, live: LivePipeline) -> None:
        trial = _get_trial(live)
        trial.pipeline = Slow(trial.pipeline)  # type: ignore[assignment]
        for number in range(300):
            live.recommend(USERS[number % 60], deny=[number], reasons=False)
        assert trial.verdict is not None
        assert trial.verdict.guard == "latency"

    def test_lists_out_of_time_are_slow_and_simpler_ones_that_were_asked_for_are_not(self, live: LivePipeline) -> None:
        trial = _get_trial(live)
        live.recommend(USERS[0], rung="no_reasons")
        assert [len(each) for each in trial._comparison.slowdown.seconds] == [0, 0]
        trial.pipeline = Late(trial.pipeline)  # type: ignore[assignment]
        user = next(user for user in USERS if trial.find_arm(user) == CANDIDATE)
        assert live.recommend(user, time_limit_ms=1).rung == "popular"
        assert list(trial._comparison.slowdown.seconds[1]) == [math.inf]
        assert trial.describe()["arms"][CANDIDATE]["p50_ms"] is None

    def test_what_the_current_version_refuses_too_is_no_failure(self, live: LivePipeline) -> None:
        for number in range(50):
            with pytest.raises(UnknownIdError):
                live.recommend(f"stranger {number}")
        assert _get_trial(live).describe()["arms"][CANDIDATE]["failures"] == 0

    def test_users_who_act_less_end_the_trial(self, live: LivePipeline, log: SQLiteEventStore) -> None:
        trial, number = _get_trial(live), 0
        for user in [f"user {each}" for each in range(300)]:
            appended = log.append([_click(number := number + 1, user)])
            live.record(appended.new, appended.last_seq)  # before the first list: does not count
            arm = live.recommend(user, n=1, reasons=False).arm
            appended = log.append([_click(number := number + 1, user) for _ in range(3 * (arm == CONTROL))])
            live.record(appended.new, appended.last_seq)
            if trial.verdict is not None:
                break
        assert trial.verdict is not None
        assert trial.verdict.guard == "reward"

    def test_a_bot_decides_nothing(self, live: LivePipeline, log: SQLiteEventStore) -> None:
        trial = _get_trial(live)
        bot = next(user for user in USERS if trial.find_arm(user) == CANDIDATE)
        for number in range(50):
            live.recommend(bot, deny=[number])
        appended = log.append([_click(number, bot) for number in range(50)])
        live.record(appended.new, appended.last_seq)
        described = trial.describe()["arms"][CANDIDATE]
        assert (described["users"], described["lists"], described["reward"]) == (1, 50, 20)

    def test_two_copies_of_a_version_are_not_aborted(self, log: SQLiteEventStore) -> None:
        live = LivePipeline(_fit("popularity"), log)
        live.start_trial(_fit("popularity"), _make_trial())
        rng = np.random.default_rng(0)
        for block in range(10):
            users = [f"user-{number}" for number in rng.integers(60, size=40)]
            for user in users:
                live.recommend(user, n=5, reasons=False)
            clicks = [_click(at, user, weight=float(rng.integers(2))) for at, user in enumerate(users, 40 * block)]
            appended = log.append(clicks)
            live.record(appended.new, appended.last_seq)
        verdict = _get_trial(live).verdict
        assert verdict is None or verdict.guard == "latency"  # this machine may stop between two lists


class TestRestarts:
    """What was counted before a restart counts after it."""

    def test_guards_go_on_after_each_restart(self, log: SQLiteEventStore, tmp_path: Path) -> None:
        live, record = LivePipeline(_fit("popularity"), log), TrialRecord(tmp_path / "trials" / "r.db")
        live.start_trial(_fit("item_knn"), _make_trial())
        whole = _break(live)
        users: list[str] = []
        while whole.verdict is None:
            users.append(USERS[len(users)])
            live.recommend(users[-1])
        for user in users:  # a restart after each list
            live.start_trial(_fit("item_knn"), _make_trial())
            trial = _break(live)
            trial.restore(record)
            assert trial.verdict is None
            live.recommend(user)
            trial.save(record)
        assert trial.verdict == whole.verdict
        live.start_trial(_fit("item_knn"), _make_trial())
        trial = _get_trial(live)
        trial.restore(record)
        assert trial.verdict == whole.verdict  # where the process ended before it could tell

    @example(
        [(0, "list"), (1, "list"), (3, "list"), (0, "restart")]
    )  # the check of the ratio depends on the order of users
    @settings(deadline=None, max_examples=15)
    @given(
        st.lists(
            st.tuples(st.integers(0, 40), st.sampled_from(["list", "click", "fail", "restart", "save"])), max_size=80
        )
    )
    def test_counts_with_and_without_restarts_are_equal(self, steps: list[tuple[int, str]]) -> None:
        def make_trial() -> LiveTrial:
            return LiveTrial(None, 0, _make_trial(), TrialGuards(max_failures=0.5))  # type: ignore[arg-type]

        with tempfile.TemporaryDirectory() as folder:
            record = TrialRecord(Path(folder) / "trials" / "r.db")
            whole, trial = make_trial(), make_trial()
            for number, step in steps:
                user = f"user-{number}"
                if step in {"list", "fail"}:
                    arm = whole.find_arm(user)
                    for each in (whole, trial):
                        has_failed = step == "fail" and arm == CANDIDATE
                        each._count_list(user, arm, 0.0 if has_failed else 0.001, has_failed=has_failed)
                elif step == "click":
                    for each in (whole, trial):
                        each.count_events([_click(1, user)])
                if step in {"save", "restart"}:
                    trial.restore(record)
                    trial.save(record)
                if step == "restart":
                    trial = make_trial()
                    trial.restore(record)
            trial.restore(record)
            assert trial._seen == whole._seen
            assert trial._lists == whole._lists
            comparison, expected = trial._comparison, whole._comparison
            assert comparison.ratio.counts == expected.ratio.counts
            assert comparison.ratio.p_value == pytest.approx(expected.ratio.p_value)
            assert comparison.rewards.means == pytest.approx(expected.rewards.means)
            assert comparison.failures.get_totals() == pytest.approx(expected.failures.get_totals())

    def test_processes_add_to_one_record_and_tell_only_their_own(self, tmp_path: Path) -> None:
        record = TrialRecord(tmp_path / "trials" / "r.db")
        trials = [LiveTrial(None, 0, _make_trial(), TrialGuards()) for _ in range(2)]  # type: ignore[arg-type]
        for trial in trials:
            trial.restore(record)
        for position, user in enumerate(USERS):
            trial = trials[position % 2]
            trial._count_list(user, trial.find_arm(user), 0.001)
            trial.save(record)
        arms = [trials[0].find_arm(user) for user in USERS]
        last = LiveTrial(None, 0, _make_trial(), TrialGuards())  # type: ignore[arg-type]
        last.restore(record)
        assert last._comparison.ratio.counts == [arms.count(CONTROL), arms.count(CANDIDATE)]
        assert record.count_lists()["lists candidate"] == arms.count(CANDIDATE)
        assert last.count_own()["lists candidate"] == last.count_own()["users candidate"] == 0
        own = [trial.count_own() for trial in trials]
        assert sum(each["lists candidate"] for each in own) == arms.count(CANDIDATE)
        assert sum(each["users control"] for each in own) == arms.count(CONTROL)

    def test_what_could_not_be_saved_is_saved_later(self, tmp_path: Path) -> None:
        record = TrialRecord(tmp_path / "trials" / "r.db")
        trial = LiveTrial(None, 0, _make_trial(), TrialGuards())  # type: ignore[arg-type]
        trial.restore(record)
        trial._count_list("ada", CANDIDATE, 0.001)
        record.path.parent.write_text("in its way")
        with pytest.raises(ArtifactError):
            trial.save(record)
        record.path.parent.unlink()
        trial.save(record)
        trial.save(record)
        assert record.count_lists() == {"lists candidate": 1, "users control": 0, "users candidate": 1}


def test_a_shadow_changes_no_list(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    live.start_trial(_fit("item_knn"), _make_trial(1.0, is_shadow=True))
    made = [live.recommend(user, n=4) for user in USERS]
    assert {(each.model, each.arm) for each in made} == {("popularity", None)}
    assert live.find_cached(USERS[0], n=4) is not None
    shadow = _get_trial(live).describe()["shadow"]
    assert shadow["compared"] + shadow["dropped"] <= len(USERS)
    live.stop_trial()


def test_a_share_is_changed_without_a_restart(live: LivePipeline) -> None:
    trial = _get_trial(live)
    before = {user: trial.find_arm(user) for user in range(500)}
    trial.change_share(_make_trial(0.05))
    after = {user: trial.find_arm(user) for user in range(500)}
    assert {after[user] for user in before} == {CONTROL, CANDIDATE, None}
    assert all(after[user] in {None, before[user]} for user in before)

"""Refit: what is better is proposed, and what a bot, a pushed item or chance suggests is not."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.errors import ArtifactError, ConflictError, DataError, SettingError
from leanrec.events import SQLiteEventStore
from leanrec.events.records import ServedList
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.online import LivePipeline, RefitResult, RefitSettings, VersionStore, refit
from leanrec.online.refits.attempts import AttemptFile
from leanrec.pipeline import CandidateSource, NewItems, Pipeline
from leanrec.run import Run

RUN = Run(threads=1)
N_USERS, N_ITEMS = 160, 40
START = 1_600_000_000
SETTINGS = RefitSettings(min_users=40, max_user_events=100)
EAGER = dataclasses.replace(SETTINGS, cooldown_hours=0)


def make_store(folder: Path, name: str = "item_knn") -> tuple[VersionStore, SQLiteEventStore]:
    """A store whose current version knows the tastes of people for the first 40 items, and an empty log of it."""
    data = make_dataset(N_USERS, N_ITEMS, 8)
    pipeline = Pipeline.fit(get_model(name)(), data, RUN, sources=[CandidateSource(NewItems(), positions=(3,))])
    store = VersionStore.create(folder / "models")
    store.promote(store.add(pipeline.save(folder / "model")).id)
    log = SQLiteEventStore(folder / "events.db")
    log.bind(pipeline.data_origin)
    return store, log


def click(user: object, item: int, at: int, weight: float = 1.0) -> UserEvent:
    return UserEvent(f"{user}-{item}-{at}", str(user), item, "rating", START + 60 * at, weight)


def click_new_items(n_events: int, seed: int = 0) -> list[UserEvent]:
    """People of all tastes discover items that are new, each those of one taste."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, N_USERS, n_events)
    items = 300 + users % 4 + 4 * rng.integers(0, 20, n_events)
    return [click(f"user-{user}", int(item), at) for at, (user, item) in enumerate(zip(users, items, strict=True))]


def wander(n_events: int, seed: int = 1) -> list[UserEvent]:
    """People take any of the old items, from which nothing can be learned."""
    rng = np.random.default_rng(seed)
    pairs = zip(rng.integers(0, N_USERS, n_events), rng.integers(100, 100 + N_ITEMS, n_events), strict=True)
    return [click(f"user-{user}", int(item), at) for at, (user, item) in enumerate(pairs)]


def mix(*parts: Sequence[UserEvent]) -> list[UserEvent]:
    """All events in a random order of arrival."""
    events = [event for part in parts for event in part]
    return [events[at] for at in np.random.default_rng(5).permutation(len(events))]


def run_refit(
    folder: Path, events: list[UserEvent], name: str = "item_knn", settings: RefitSettings = SETTINGS
) -> RefitResult:
    store, log = make_store(folder, name)
    with log:
        log.append(events)
        return refit(store, log, settings, RUN)


@pytest.mark.parametrize(("name", "is_warm"), [("item_knn", True), ("slim", False)])
def test_a_refit_that_knows_new_items_is_proposed_and_not_promoted(tmp_path: Path, name: str, is_warm: bool) -> None:
    store, log = make_store(tmp_path, name)
    with log:
        log.append(click_new_items(1_200))
        before = store.current()
        result = refit(store, log, SETTINGS, RUN)
        assert result.outcome == "proposed", result.reason
        assert store.current() == before
        assert store.fence == 1
        version, judgment, attempt = result.version, result.judgment, result.attempt
        assert version is not None
        assert judgment is not None
        assert attempt is not None
        assert version == store.find(version.id)
        assert version.refit == {"against": result.against, **judgment.to_dict()}
        assert judgment.refit > judgment.served + 0.05
        assert judgment.low > 0 < judgment.low_by_item
        assert attempt.is_warm == is_warm
        assert (attempt.outcome, attempt.version, attempt.n_events) == ("proposed", version.id, 960)
        assert AttemptFile(store.path).read() == (attempt,)
        # The proposal has only the events before the newest fifth; the server replays the others.
        proposed = Pipeline.load(version.path)
        assert proposed.fitted_data.shape.events == N_USERS * 8 + 960
        assert [(each.name, each.positions) for each in proposed.sources] == [("new_items", (3,))]
        assert len(proposed.sources[0].scorer.recency) == len(proposed.catalog)
        assert proposed.provenance["sources"] == [repr(CandidateSource(NewItems(), positions=(3,)))]
        store.promote(version.id)
        live = LivePipeline(proposed, log)
        assert len(live.pipeline.to_dataset().events) == N_USERS * 8 + 1_200


def test_a_warm_refit_is_the_fit_on_the_same_events(tmp_path: Path) -> None:
    events = click_new_items(1_200)
    store, log = make_store(tmp_path)
    with log:
        log.append(events)
        warm = refit(store, log, EAGER, RUN)
        cold = refit(store, log, dataclasses.replace(EAGER, warm=False), RUN)
    assert warm.judgment is not None
    assert cold.judgment is not None
    assert warm.judgment.refit == pytest.approx(cold.judgment.refit, abs=1e-9)
    assert warm.attempt is not None
    assert cold.attempt is not None
    assert (warm.attempt.is_warm, cold.attempt.is_warm) == (True, False)


def test_chance_is_not_proposed(tmp_path: Path) -> None:
    result = run_refit(tmp_path, wander(800), "popularity")
    assert result.outcome == "no win"
    assert result.version is None
    assert "interval of the difference is not above 0" in result.reason


@pytest.mark.parametrize("name", ["popularity", "item_knn"])
def test_an_item_that_invented_users_push_is_not_proposed(tmp_path: Path, name: str) -> None:
    """They are in the newest events too, so that a refit that pushes the item seems far better."""
    pushed = [click(f"fake-{number}", 107, number) for number in range(600)]
    result = run_refit(tmp_path, mix(pushed, wander(900)), name)
    assert result.outcome == "no win", result.reason
    assert result.judgment is not None
    assert result.judgment.low > 0  # a judgment over users alone would have proposed it
    assert result.judgment.low_by_item <= 0


def test_users_who_took_nothing_but_the_most_frequent_item_do_not_count(tmp_path: Path) -> None:
    result = run_refit(tmp_path, mix([click(f"fake-{number}", 107, number) for number in range(600)], wander(100)))
    assert result.outcome == "too few"


def test_a_bot_teaches_nothing(tmp_path: Path) -> None:
    bot = [click("bot", 100 + at % 3, at) for at in range(2_000)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    people = click_new_items(1_000)
    with_bot = run_refit(tmp_path / "a", [*bot, *people])
    without = run_refit(tmp_path / "b", people, settings=dataclasses.replace(SETTINGS, judged_share=0.6))
    assert with_bot.judgment is not None
    assert without.judgment is not None
    assert with_bot.outcome == "proposed"
    # The newest fifth of 3,000 events are the newest 600 of 1,000.
    assert with_bot.judgment == without.judgment


def test_no_event_weighs_more_than_those_of_the_fit(tmp_path: Path) -> None:
    heavy = [click(f"fake-{at}", 107, at, weight=1e6) for at in range(30)]
    result = run_refit(tmp_path, [*heavy, *click_new_items(1_200)])
    assert result.version is not None
    assert Pipeline.load(result.version.path).fitted_data.events.weight.max() == 1


def test_a_refit_waits_for_events_and_users(tmp_path: Path) -> None:
    store, log = make_store(tmp_path)
    with log:
        result = refit(store, log, SETTINGS, RUN)
        assert (result.outcome, result.attempt) == ("too few", None)
        assert "0 events" in result.reason
        log.append(click_new_items(50))
        result = refit(store, log, SETTINGS, RUN)
        assert "40 are needed" in result.reason
        log.append([click("user-1", 100, at) for at in range(2_000)])
        assert refit(store, log, SETTINGS, RUN).outcome == "too few"
        assert AttemptFile(store.path).read() == ()


def test_a_storm_of_refits_is_cooled_down_and_leaves_one_proposal(tmp_path: Path) -> None:
    store, log = make_store(tmp_path)
    with log:
        log.append(click_new_items(1_200))
        first = refit(store, log, SETTINGS, RUN)
        assert first.version is not None
        log.append(click_new_items(1_200, seed=7))
        again = refit(store, log, SETTINGS, RUN)
        assert (again.outcome, again.version) == ("too soon", None)
        assert "less than 6 hours ago" in again.reason
        assert len(store.versions()) == 2
        second = refit(store, log, EAGER, RUN)
        assert second.version is not None
        assert {each.id for each in store.versions()} == {first.against, second.version.id}
        # A proposal that is tried stays.
        store.start_trial(second.version.id)
        log.append(click_new_items(1_200, seed=8))
        third = refit(store, log, EAGER, RUN)
        assert third.version is not None
        assert {each.id for each in store.versions()} == {first.against, second.version.id, third.version.id}


def test_a_refit_that_fails_counts_for_the_cooldown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, log = make_store(tmp_path)
    with log:
        log.append(click_new_items(1_200))
        monkeypatch.setattr("leanrec.online.refits.refit.judge_refit", None)
        with pytest.raises(TypeError):
            refit(store, log, SETTINGS, RUN)
        assert [each.outcome for each in AttemptFile(store.path).read()] == ["unfinished"]
        assert refit(store, log, SETTINGS, RUN).outcome == "too soon"


def test_drift_proposes_a_refit_and_only_a_win_is_proposed(tmp_path: Path) -> None:
    """A log in which people stop to respond to the lists, and then new items that they like."""
    store, log = make_store(tmp_path)
    current = store.current()
    assert current is not None
    settings = dataclasses.replace(SETTINGS, on_drift=True)
    rng = np.random.default_rng(0)

    def serve(n_lists: int, rate: float, start: int) -> None:
        answers = []
        for at in range(start, start + n_lists):
            user, item = f"user-{at % N_USERS}", int(rng.integers(100, 100 + N_ITEMS))
            log.append_served(ServedList(str(at), START + 60 * at, user, (item,), (1.0,), version=current.id))
            if rng.random() < rate:
                answers.append(dataclasses.replace(click(user, item, at), request=str(at)))
        log.append(answers)

    with log:
        serve(2_500, 0.4, 0)
        result = refit(store, log, settings, RUN)
        assert (result.outcome, result.attempt) == ("no drift", None)
        assert "without a lasting fall" in result.reason
        serve(2_500, 0.1, 2_500)
        assert refit(store, log, settings, RUN).outcome == "no win"  # nothing can be learned from what was clicked
        assert len(store.versions()) == 1


def test_a_promotion_meanwhile_leaves_no_proposal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, log = make_store(tmp_path)
    other = store.add(Pipeline.fit(get_model("popularity")(), make_dataset(), RUN).save(tmp_path / "other"))
    save = Pipeline.save

    def save_late(self: Pipeline, path: Path) -> Path:
        store.promote(other.id)
        return save(self, path)

    with log:
        log.append(click_new_items(1_200))
        monkeypatch.setattr(Pipeline, "save", save_late)
        result = refit(store, log, SETTINGS, RUN)
    assert (result.outcome, result.version) == ("outdated", None)
    assert len(store.versions()) == 2
    assert not list(store.path.glob(".refit-[0-9]*"))


def test_forgotten_users_are_in_no_proposal(tmp_path: Path) -> None:
    store, log = make_store(tmp_path)
    with log:
        log.append(click_new_items(1_200))
        log.forget_user("user-3")
        result = refit(store, log, SETTINGS, RUN)
        assert result.version is not None
        assert result.attempt is not None
        assert not result.attempt.is_warm  # the rows of the users are others
        assert "user-3" not in Pipeline.load(result.version.path).fitted_user_ids.tolist()


def test_a_log_of_other_data_two_at_once_and_no_current_version_are_refused(tmp_path: Path) -> None:
    store, log = make_store(tmp_path)
    with log, SQLiteEventStore(tmp_path / "other.db") as other:
        other.bind(Pipeline.fit(get_model("popularity")(), make_dataset(9, 9, 3), RUN).data_origin)
        other.append([click("user-1", 100, 1)])
        with pytest.raises(DataError, match="must belong to the data of this model"):
            refit(store, other, SETTINGS, RUN)
        with AttemptFile(store.path).lock(), pytest.raises(ConflictError, match="is under way"):
            refit(store, log, SETTINGS, RUN)
        with pytest.raises(ArtifactError, match="must have a current version"):
            refit(VersionStore.create(tmp_path / "empty"), log, SETTINGS, RUN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "ndcg"},
        {"metric": "auc@10"},
        {"judged_share": 0},
        {"min_users": 1},
        {"cooldown_hours": -1},
        {"level": 1},
    ],
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        RefitSettings(**wrong)  # type: ignore[arg-type]

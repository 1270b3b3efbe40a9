"""Live pipeline: versions take over without a lost, doubled or mixed event."""

import dataclasses
import functools
import gc
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.errors import ConflictError, DataError, SettingError, SourceError, UnknownIdError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionTrial
from leanrec.pipeline import ColumnLimit, ListRules, PinnedItem, Pipeline, RecordResult
from leanrec.types import Events


def _fit(model: str) -> Pipeline:
    return Pipeline.fit(get_model(model)(), make_dataset())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    """An empty event store."""
    with SQLiteEventStore(tmp_path / "events.db") as opened:
        yield opened


def _click(number: int, user: str = "new", item: int = 103) -> UserEvent:
    return UserEvent(f"e-{number}", user, item, "click", 1_700_000_000, 1.0)


def _record(live: LivePipeline, log: SQLiteEventStore, user_events: list[UserEvent]) -> RecordResult:
    appended = log.append(user_events)
    return live.record(appended.new, appended.last_seq)


def _count(pipeline: Pipeline, user: str = "new") -> int:
    return len(pipeline.history(user))


def test_a_new_version_has_all_events(log: SQLiteEventStore) -> None:
    log.append([_click(1)])
    live = LivePipeline(_fit("popularity"), log)
    assert (live.replayed.applied, live.current.n_replayed) == (1, 1)
    assert _record(live, log, [_click(2), _click(3)]).applied == 2
    before = live.current
    live.replace(_fit("item_knn"))
    assert live.pipeline.name == "item_knn"
    assert (_count(before.pipeline), _count(live.pipeline)) == (3, 3)
    _record(live, log, [_click(4)])
    assert (_count(before.pipeline), _count(live.pipeline)) == (3, 4)


def test_an_event_that_is_stored_before_and_recorded_after_the_change_counts_once(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    _record(live, log, [_click(1)])
    appended = log.append([_click(2), dataclasses.replace(_click(3), item=77)])
    live.replace(_fit("popularity"))
    assert live.record(appended.new, appended.last_seq).applied == 2
    assert _count(live.pipeline) == 2
    # A batch of which a part came after the change: the positions are those of the batch.
    late = log.append([_click(4), dataclasses.replace(_click(5), item=77)])
    live.current = dataclasses.replace(live.current, n_replayed=live.current.n_replayed + 1)
    assert [each.position for each in live.record(late.new, late.last_seq).rejected] == [1]


def test_no_event_is_lost_or_doubled_while_versions_change(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    stopped = threading.Event()
    sent = [0, 0]

    def send(worker: int) -> None:
        while not stopped.is_set():
            sent[worker] += 1
            _record(live, log, [_click(sent[worker] * 2 + worker, f"user {worker}")])

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(2)]
    for each in threads:
        each.start()
    versions = [_fit("popularity") for _ in range(5)]
    for pipeline in versions:
        live.replace(pipeline)
    stopped.set()
    for each in threads:
        each.join()
    assert [_count(live.pipeline, f"user {worker}") for worker in range(2)] == sent
    assert min(sent) > 0


def test_old_versions_are_freed(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("item_knn"), log)
    old = weakref.ref(live.pipeline)
    live.replace(_fit("popularity"))
    gc.collect()
    assert old() is None


def test_the_lists_of_an_old_version_are_dropped_with_it(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("item_knn"), log)
    old = live.pipeline
    for user in old.fitted_user_ids.tolist():
        live.recommend(user)
    assert len(old._lists) == len(old.fitted_user_ids)
    live.replace(_fit("popularity"))
    assert len(old._lists) == 0


def test_events_wait_for_no_read_of_the_store_while_a_version_takes_over(
    log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePipeline(_fit("popularity"), log)
    _record(live, log, [_click(1)])
    read = log.events
    reads: list[tuple[int, bool]] = []

    def read_events(**span: int) -> Events:
        reads.append((span.get("after", 0), live._recording.locked()))
        if len(reads) == 1:  # an event that comes after the replay
            _record(live, log, [_click(2)])
        return read(**span)

    warm_up = Pipeline.warm_up

    def warm_up_while_events_arrive(pipeline: Pipeline) -> None:
        _record(live, log, [_click(3)])
        warm_up(pipeline)

    monkeypatch.setattr(log, "events", read_events)
    monkeypatch.setattr(Pipeline, "warm_up", warm_up_while_events_arrive)
    replayed = live.replace(_fit("popularity"))
    assert _count(live.pipeline) == replayed.last_seq == live.last_seq
    assert _count(live.pipeline) >= 2
    assert reads
    assert not any(is_locked for _, is_locked in reads)


def test_items_that_are_added_while_a_version_loads_are_there(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("content"), log)
    assert live.pipeline.catalog.table is not None
    column = next(name for name, cells in live.pipeline.catalog.table.columns.items() if cells.dtype.kind == "T")
    table = Table({column: np.array(["a"], np.dtypes.StringDType())})
    live.add_items([900], table, persist=lambda: log.add_items({900: {column: "a"}}))
    live.replace(_fit("content"))
    assert 900 in live.pipeline.catalog.items


def test_a_version_of_other_data_is_refused_and_the_old_one_stays(log: SQLiteEventStore) -> None:
    first = _fit("popularity")
    live = LivePipeline(first, log)
    _record(live, log, [_click(1)])
    with pytest.raises(DataError, match="belongs to other data"):
        live.replace(Pipeline.fit(get_model("popularity")(), make_dataset(seed=1)))
    assert live.pipeline is first


def test_hidden_items_stay_hidden_in_the_next_version(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    live.set_hidden([100, 101], hidden=True)
    live.set_hidden([101], hidden=False)
    assert (log.hidden_items(), log.shown_items()) == ((100,), (101,))
    other = _fit("ease")
    other.hide_items([101])
    live.replace(other)
    assert [live.pipeline.is_hidden(each) for each in (100, 101)] == [True, False]


def test_rules_hold_for_the_next_version(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("ease"), log)
    live.pipeline.use_rules(ListRules(limits=(ColumnLimit("genres", 1),)))
    live.replace(_fit("item_knn"))
    assert live.pipeline.rules.limits == (ColumnLimit("genres", 1),)
    assert live.pipeline.policy.startswith("item_knn/+rules=")


def test_rules_of_the_log_hold_for_all_versions_and_after_a_restart(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("ease"), log)
    live.start_trial(_fit("popularity"), VersionTrial(2, "v2", 0.5, is_shadow=False, salt="s", started="2026-11-30"))
    rules = ListRules((PinnedItem(130, 1),), (ColumnLimit("genres", 1),))
    assert live.replace_rules(rules, 0) == (1, rules.to_json())
    assert [each.pipeline.rules for each in live.versions] == [rules, rules]
    live.replace(_fit("item_knn"))
    assert live.pipeline.rules == rules
    again = LivePipeline(_fit("bias"), log)
    assert (again.pipeline.rules, again.rules_revision, again.rules_problem) == (rules, 1, None)
    assert again.pipeline.recommend("user-1", n=3).items[0].id == 130
    again.replace_rules(ListRules(), 1)
    assert again.pipeline.policy == "bias/"
    assert LivePipeline(_fit("ease"), log).pipeline.rules == ListRules()


def test_rules_that_do_not_fit_or_are_late_change_nothing(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("ease"), log)
    with pytest.raises(SettingError, match="the items have no column 'genre'"):
        live.replace_rules(ListRules(limits=(ColumnLimit("genre", 1),)), 0)
    with pytest.raises(ConflictError, match="revision must be 0"):
        live.replace_rules(ListRules(limits=(ColumnLimit("genres", 1),)), 1)
    assert (log.list_rules().revision, live.pipeline.rules) == (0, ListRules())
    fixed = ListRules((PinnedItem(130, 1),))
    live.fix_rules(fixed)
    with pytest.raises(ConflictError, match="must not be those of a file"):
        live.replace_rules(ListRules(), 0)
    live.replace(_fit("popularity"))
    assert live.pipeline.rules == fixed


def test_rules_that_do_not_fit_a_version_wait_for_one_that_they_fit(log: SQLiteEventStore) -> None:
    rules = ListRules(limits=(ColumnLimit("genres", 1),))
    log.replace_list_rules(rules.to_json(), 0)
    bare = dataclasses.replace(make_dataset(), item_table=None)
    live = LivePipeline(Pipeline.fit(get_model("ease")(), bare), log, rebind=True)
    assert live.pipeline.rules == ListRules()
    assert live.rules_problem is not None
    assert live.rules_problem.startswith("Revision 1 of the rules of lists cannot be used: limits: the items have no")
    live.replace(_fit("ease"))
    assert (live.pipeline.rules, live.rules_problem) == (rules, None)


def test_an_item_that_cannot_be_written_is_not_hidden(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    log.close()
    with pytest.raises(SourceError):
        live.set_hidden([100], hidden=True)
    assert not live.pipeline.is_hidden(100)


def test_a_user_is_forgotten_with_the_events_that_are_on_their_way(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    _record(live, log, [_click(1), _click(2, "other")])
    on_their_way = log.append([_click(3), _click(4, "other", item=77), _click(5)])
    assert live.forget_user("new").n_events == 3
    again = log.append([_click(6)])
    recorded = live.record(on_their_way.new, on_their_way.last_seq)
    assert [each.position for each in recorded.rejected] == [1]
    with pytest.raises(UnknownIdError):
        live.pipeline.history("new")
    live.record(again.new, again.last_seq)
    assert (_count(live.pipeline), _count(live.pipeline, "other")) == (1, 1)
    live.replace(_fit("item_knn"))
    assert (_count(live.pipeline), _count(live.pipeline, "other")) == (1, 1)


def test_events_that_overtake_the_forgetting_are_those_of_a_new_user(log: SQLiteEventStore) -> None:
    live = LivePipeline(_fit("popularity"), log)
    _record(live, log, [_click(1), _click(2)])
    forget = log.forget_user

    def forget_slowly(user: str) -> object:
        forgotten = forget(user)
        _record(live, log, [_click(3)])  # before the pipeline forgets
        return forgotten

    log.forget_user = forget_slowly  # type: ignore[method-assign, assignment]
    live.forget_user("new")
    assert _count(live.pipeline) == 1


FITTED = _fit("content").history("user-1")[-1]  # its oldest event
STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["user-1", "user-2", "new"]),
        st.sampled_from([FITTED.id, 101, 901, 902]),
        st.sampled_from(["rating", "click"]),
        st.sampled_from([0, 0.4996, 0.9996, 1]),
    ),
    st.sampled_from([901, 902]),
)


def _describe(pipeline: Pipeline) -> object:
    """What a pipeline says about the users of the test."""
    users = [user for user, _ in pipeline.find_users("", 1000)]
    asked = [user for user in ("user-1", "user-2", "new") if user in users]
    lists = [[(item.id, item.score) for item in pipeline.recommend(user, n=5, reasons=False).items] for user in asked]
    return sorted(users), [pipeline.history(user, 100) for user in asked], lists


@given(st.lists(STEPS, min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_a_restart_after_any_step_changes_nothing(steps: list[object]) -> None:
    """Events that the fit has, once or more, events on items that are added later, and events of one second."""
    with tempfile.TemporaryDirectory() as folder, SQLiteEventStore(Path(folder) / "events.db") as log:
        live = LivePipeline(_fit("content"), log)
        for number, step in enumerate(steps):
            if isinstance(step, int):
                content = {"title": f"tea {step}", "genres": "space"}
                table = Table({name: np.array([text], np.dtypes.StringDType()) for name, text in content.items()})
                live.add_items([step], table, persist=functools.partial(log.add_items, {step: content}))
            else:
                assert isinstance(step, tuple)
                user, item, event_type, second = step
                rating = 4.0 if event_type == "rating" else None
                time = FITTED.time + second
                _record(live, log, [UserEvent(f"e{number}", user, item, event_type, time, 1.0, rating)])
            restarted = LivePipeline(_fit("content"), log)
            assert _describe(restarted.pipeline) == _describe(live.pipeline)


def test_an_event_that_came_before_its_item_counts_once_the_item_is_there_also_in_a_new_version(
    log: SQLiteEventStore,
) -> None:
    live = LivePipeline(_fit("content"), log)
    assert len(_record(live, log, [_click(1, item=901), _click(2), _click(3, "other", 902)]).rejected) == 2
    content = {"title": "tea", "genres": "space"}
    table = Table({name: np.array([text], np.dtypes.StringDType()) for name, text in content.items()})
    live.add_items([901], table, persist=lambda: log.add_items({901: content}))
    assert [each.id for each in live.pipeline.history("new")] == [103, 901]
    live.replace(_fit("content"))
    assert [each.id for each in live.pipeline.history("new")] == [103, 901]
    live.add_items([902], table, persist=lambda: log.add_items({902: content}))
    assert _count(live.pipeline, "other") == 1

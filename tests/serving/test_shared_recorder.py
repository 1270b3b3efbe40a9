"""The recorder of a shared log: what all servers wrote is applied in the order of the log, whoever was first."""

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from contracts.server_log import restore_loggers
from leanrec.data.vocabulary import Id
from leanrec.errors import SourceError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.events.shared_store import LogHead, SharedEventStore
from leanrec.models import get_model
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline import Pipeline
from leanrec.serving.monitoring.server_log import start_logging
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.shared_recorder import SharedPipeline, SharedRecorder, follow_log


class SharedFile(SQLiteEventStore, SharedEventStore):
    """A file as a shared log: other servers are calls of its methods."""

    on_change: Callable[[LogHead], None]
    revision = 0
    is_away = False

    def read_head(self) -> LogHead:
        return LogHead(self.last_seq, self.revision, len(self.forgotten_users()))

    def watch(self, on_change: Callable[[LogHead], None]) -> None:
        self.on_change = on_change  # type: ignore[method-assign]

    def tell(self) -> None:
        self.on_change(self.read_head())

    def numbered_events(self, *, after: int, until: int) -> list[tuple[int, UserEvent]]:
        if self.is_away:
            raise SourceError("It is away.")
        numbers = range(after + 1, min(until, self.last_seq) + 1)
        found = [(number, self.user_events(after=number - 1, until=number)) for number in numbers]
        return [(number, event) for number, events in found for event in events]

    def changed_items(self, after: int) -> list[tuple[Id, dict[str, Any]]]:
        return self.item_contents() if after < self.revision else []

    def changed_visibility(self, after: int) -> list[tuple[Id, bool]]:
        hidden = [(each, True) for each in self.hidden_items()] + [(each, False) for each in self.shown_items()]
        return hidden if after < self.revision else []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(get_model("content")(), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SharedFile]:
    with SharedFile(tmp_path / "events.db") as store:
        yield store


def _make_event(number: int, user: str = "ada", item: int | None = None) -> UserEvent:
    when = 2_000_000_000 + number
    return UserEvent(f"e{number}", user, 100 + number if item is None else item, "rating", when, 1.0)


def _list_history(recorder: SharedRecorder, user: str = "ada") -> list[Id]:
    return [each.id for each in recorder.pipeline.history(user, 50)][::-1]


async def _start(model: Path, log: SharedFile) -> SharedRecorder:
    return SharedRecorder(SharedPipeline(Pipeline.load(model), log), log, ServingMetrics(), ())


async def _wait_for(is_true: Callable[[], bool]) -> None:
    for _ in range(4_000):
        if is_true():
            return
        await asyncio.sleep(0.005)
    pytest.fail("Nothing came in time.")


def test_events_of_others_are_applied_before_those_that_were_written_later(model: Path, log: SharedFile) -> None:
    async def run() -> None:
        recorder = await _start(model, log)
        log.append([_make_event(1), _make_event(2)])  # by another server
        appended, recorded = await recorder._write([_make_event(3)])
        assert (appended.last_seq, recorded.applied, recorder.as_of) == (3, 1, 3)
        assert _list_history(recorder) == [101, 102, 103]
        log.append([_make_event(4)])
        appended, recorded = await recorder._write(
            [_make_event(3)]
        )  # sent again: nothing new, and the other's is not lost
        assert (appended.duplicates, recorded.applied, recorder.as_of) == (1, 0, 4)
        assert _list_history(recorder) == [101, 102, 103, 104]

    asyncio.run(run())


def test_what_the_log_tells_is_applied(model: Path, log: SharedFile) -> None:
    async def run() -> None:
        recorder = await _start(model, log)
        async with recorder.following():
            log.append([_make_event(1), _make_event(2), _make_event(3, "bob")])
            log.tell()
            await _wait_for(lambda: recorder.as_of == 3)
            log.add_items({900: {"title": "new"}})
            log.set_hidden([100], hidden=True)
            log.revision += 1
            log.append([_make_event(4, "bob", 900)])
            log.tell()
            await _wait_for(lambda: recorder.as_of == 4)
            assert _list_history(recorder, "bob") == [103, 900]
            assert recorder.pipeline.is_hidden(100)
            log.forget_user("ada")
            log.append([_make_event(5)])
            log.tell()
            await _wait_for(lambda: recorder.as_of == 5)
            assert _list_history(recorder) == [105]

    asyncio.run(run())


def test_each_event_is_applied_once_while_two_servers_write(model: Path, log: SharedFile) -> None:
    async def run() -> None:
        recorders = [await _start(model, log) for _ in range(2)]

        async def write(at: int) -> None:
            for number in range(at, 30, 2):
                await recorders[at]._write([_make_event(number)])
                recorders[1 - at]._notice(log.read_head())

        async with recorders[0].following(), recorders[1].following():
            await asyncio.gather(write(0), write(1))
            for each in recorders:
                each._notice(log.read_head())
            await _wait_for(lambda: all(each.as_of == 30 for each in recorders))
        in_order = [event.item for event in log.user_events()]
        assert [len(_list_history(each)) for each in recorders] == [30, 30]
        assert [each.pipeline.n_users for each in recorders] == [recorders[0].pipeline.n_users] * 2
        assert sorted(in_order) == sorted(_list_history(recorders[0]))

    asyncio.run(run())


def test_a_log_that_is_away_is_reported_once_and_tried_again(model: Path, log: SharedFile) -> None:
    stream = io.StringIO()

    async def run() -> None:
        recorder = await _start(model, log)
        async with recorder.following():
            log.append([_make_event(1)])
            log.is_away = True
            log.tell()
            await _wait_for(lambda: "tried again" in stream.getvalue())
            log.tell()
            log.is_away = False
            await _wait_for(lambda: recorder.as_of == 1)

    with restore_loggers():
        start_logging("text", stream)
        asyncio.run(run())
    assert stream.getvalue().count("tried again") == 1


def test_a_file_needs_no_following(model: Path, tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        assert type(follow_log(Pipeline.load(model), log)) is LivePipeline

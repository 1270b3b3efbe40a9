"""A worker: when it stops, and what it shares."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import uvicorn

from conftest import make_dataset
from contracts.worker_server import wait_for
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models import get_model
from leanrec.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult
from leanrec.serving.app import assemble_app
from leanrec.serving.serving_settings import ServingSettings
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.stream_target import StreamedPipeline
from leanrec.serving.workers.worker import Worker, WorkerParts, watch_lifeline


def build_parts(folder: Path) -> WorkerParts:
    SQLiteEventStore(folder / "events.db").close()
    log = RemoteEventStore(SQLiteEventReader(folder / "events.db"), folder / "address")
    live = StreamedPipeline(Pipeline.fit(get_model("popularity")(), make_dataset()), log, ReplayResult(0))
    return WorkerParts.build(
        live, log, ("click",), lambda recorder: uvicorn.Config(assemble_app(recorder, ServingSettings()))
    )


def test_a_worker_stops_at_the_signal_of_its_supervisor_only(tmp_path: Path) -> None:
    parts = build_parts(tmp_path)
    assert parts.config.loaded
    worker = Worker(parts, 0, 0, lambda: None)
    worker.handle_exit(signal.SIGINT, None)  # a Ctrl-C reaches the supervisor too
    assert not worker.should_exit
    worker.handle_exit(signal.SIGTERM, None)
    assert worker.should_exit
    assert not worker.force_exit


@pytest.mark.parametrize("is_told", [True, False])
def test_the_end_of_the_supervisor_is_noticed(is_told: bool) -> None:
    reading, writing = os.pipe()

    async def go() -> list[bool]:
        stopped = [asyncio.get_running_loop().create_future() for _ in range(2)]
        for each in stopped:  # two processes that have the pipe
            watch_lifeline(os.dup(reading), each.set_result)
        await asyncio.sleep(0.01)
        assert not any(each.done() for each in stopped)
        if is_told:
            os.write(writing, b"..")
        os.close(writing)
        return list(await asyncio.wait_for(asyncio.gather(*stopped), 30))

    assert asyncio.run(go()) == [is_told] * 2
    os.close(reading)


def test_a_worker_whose_supervisor_was_killed_does_not_wait_for_late_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr("leanrec.serving.workers.worker._ORPHAN_SECONDS", 0.01)
    monkeypatch.setattr("leanrec.serving.workers.worker.os._exit", ended.append)
    worker = Worker(build_parts(tmp_path), 0, 0, lambda: None)
    worker._stop(is_told=True)
    assert (worker.should_exit, worker.is_orphan, worker.late_seconds) == (True, False, 2.0)
    worker._stop(is_told=False)
    assert (worker.is_orphan, worker.late_seconds) == (True, 0.0)
    wait_for(lambda: ended == [1])  # whatever it is busy with


@pytest.mark.parametrize(("waits_for_log", "seconds"), [(True, None), (False, 10.0)])
def test_a_worker_of_a_new_generation_answers_nothing_before_it_has_the_log(
    tmp_path: Path, seconds: float | None, *, waits_for_log: bool
) -> None:
    parts = build_parts(tmp_path)
    pipes = os.pipe()

    class _StartedError(Exception):
        pass

    async def start(target: object, list_samples: object, wait: float | None) -> None:
        assert target is parts.recorder
        assert wait == seconds
        raise _StartedError

    parts.log.start = start  # type: ignore[assignment, method-assign]
    worker = Worker(parts, pipes[0], pipes[1], lambda: pytest.fail("it must not answer"), waits_for_log=waits_for_log)
    with pytest.raises(_StartedError):
        asyncio.run(worker.startup())
    for pipe in pipes:
        os.close(pipe)

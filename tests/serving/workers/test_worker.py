"""A worker: when it stops, and what it shares."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import uvicorn

from conftest import make_dataset
from leanrec.models import get_model
from leanrec.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult
from leanrec.serving.app import assemble_app
from leanrec.serving.serving_settings import ServingSettings
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.stream_target import StreamedPipeline
from leanrec.serving.workers.worker import Worker, WorkerParts, watch_lifeline


def build_parts(folder: Path) -> WorkerParts:
    log = RemoteEventStore(folder / "events.db", folder / "address")
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


def test_the_end_of_the_supervisor_is_noticed() -> None:
    reading, writing = os.pipe()

    async def go() -> int:
        stopped = asyncio.Event()
        watch_lifeline(reading, stopped.set)
        os.write(writing, b".")
        await asyncio.sleep(0.01)
        was_stopped = stopped.is_set()
        os.close(writing)
        await asyncio.wait_for(stopped.wait(), 30)
        return was_stopped

    assert not asyncio.run(go())
    os.close(reading)


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

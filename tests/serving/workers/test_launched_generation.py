"""A generation as its supervisor sees it: errors, a new interpreter, and the end."""

import functools
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leanrec.errors import ArtifactError
from leanrec.events.records import RetentionPolicy, StorageLimits
from leanrec.serving.server import build_worker_config
from leanrec.serving.serving_settings import ServingSettings
from leanrec.serving.workers import launched_generation
from leanrec.serving.workers.generation import Generation, WorkerPlan
from leanrec.serving.workers.launched_generation import LaunchedGeneration

Launch = Callable[..., LaunchedGeneration]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    plan = WorkerPlan(
        n_workers=1,
        log_location=tmp_path / "events.db",
        retention=RetentionPolicy(),
        storage=StorageLimits(),
        rebind=False,
        event_types=(),
        build_config=functools.partial(build_worker_config, ServingSettings()),
        report=print,
    )
    launched: list[LaunchedGeneration] = []
    with socket.socket() as listener:

        def start(**options: Any) -> LaunchedGeneration:
            launched.append(
                LaunchedGeneration.launch(
                    plan,
                    tmp_path / "nowhere",
                    "v",
                    address=tmp_path / "address",
                    listener=listener.fileno(),
                    is_first=True,
                    **({"in_new_interpreter": False, "private": []} | options),
                )
            )
            return launched[-1]

        yield start
        for each in launched:
            each.kill()
            wait_until(each, lambda each=each: each.is_over)  # type: ignore[misc]
            each.close()


def wait_until(generation: LaunchedGeneration, condition: Callable[[], object]) -> None:
    while not condition():
        generation.look()
        time.sleep(0.01)


def hang(_: Generation) -> None:
    while True:
        time.sleep(1)


def test_the_error_of_a_version_is_told(launch: Launch) -> None:
    generation = launch()
    assert len(generation.private) == 3
    wait_until(generation, lambda: generation.is_over and generation.ended)
    assert isinstance(generation.error, ArtifactError)
    assert "not a leanrec artifact" in str(generation.error)
    assert (generation.ended, generation.is_ready) == ("with status 0", False)
    generation.close()
    assert generation.private == []


@pytest.mark.system
def test_a_new_interpreter_gets_the_plan(launch: Launch, tmp_path: Path) -> None:
    generation = launch(in_new_interpreter=True)
    wait_until(generation, lambda: generation.is_over)
    assert isinstance(generation.error, ArtifactError)
    assert list(tmp_path.glob("tmp*")) == []  # the file of the plan


def test_a_generation_that_does_not_end_in_time_is_killed(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generation, "run", hang)
    generation = launch()
    generation.look()
    assert (generation.ended, generation.is_over) == (None, False)
    generation.stop(0)
    wait_until(generation, lambda: generation.is_over)
    wait_until(generation, lambda: generation.ended)
    assert generation.ended == "by signal 9"


def test_a_generation_keeps_no_private_file_and_ends_with_its_supervisor(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reading, writing = os.pipe()

    def run(generation: Generation) -> None:
        while os.read(generation._pipes.lifeline, 1):
            pass
        (tmp_path / "ended").touch()

    monkeypatch.setattr(launched_generation.Generation, "run", run)
    generation = launch(private=[writing])
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
    generation.retire(60)
    generation.look()
    assert not (tmp_path / "ended").exists()
    generation.stop(60)
    wait_until(generation, lambda: generation.is_over)
    assert (tmp_path / "ended").exists()

"""Changes of generations, with processes that a test plays."""

import math
import time
from pathlib import Path
from typing import Any

import pytest

from leanrec.errors import ArtifactError, DataError, LeanrecError, SourceError, WorkerError
from leanrec.serving.workers import generations as module
from leanrec.serving.workers.generations import Generations


class Played:
    """A generation of which the test says what happens."""

    def __init__(self, path: Path, version: str, *, is_first: bool, in_new_interpreter: bool) -> None:
        self.path, self.version, self.name = path, version, "ease"
        self.is_first, self.in_new_interpreter = is_first, in_new_interpreter
        self.reports = -1
        self.private = [7]
        self.is_ready = self.is_over = self.is_closed = False
        self.error: LeanrecError | None = None
        self.ended: str | None = None
        self.told: list[str] = []

    def look(self) -> None:
        pass

    def retire(self, _: float) -> None:
        self.told.append("retire")

    def stop(self, _: float) -> None:
        self.told.append("stop")
        self.is_over = True

    def kill(self) -> None:
        self.told.append("kill")
        self.is_over = True

    def close(self) -> None:
        self.is_closed = True


class Server:
    """Generations, what was launched, and what was reported."""

    def __init__(self) -> None:
        self.launched: list[Played] = []
        self.reports: list[str] = []
        self.generations = Generations(self.launch, self.reports.append)  # type: ignore[arg-type]

    def launch(self, path: Path, version: str, **options: bool) -> Played:
        self.launched.append(Played(path, version, **options))
        return self.launched[-1]

    @property
    def current(self) -> Any:
        return self.generations.current

    def want(self, version: str) -> Played:
        self.generations.want(Path(version), version)
        self.generations.look()
        return self.launched[-1]

    def serve(self, version: str) -> Played:
        found = self.want(version)
        found.is_ready = True
        self.generations.look()
        return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(module, "find_pause", lambda _: 0.0)
    return Server()


def test_the_old_generation_ends_once_the_next_one_answers(server: Server) -> None:
    first = server.serve("a")
    assert server.current is first
    assert first.is_first
    assert server.generations.next_attempt == math.inf
    second = server.want("b")
    assert not second.is_first
    assert first.told == []
    second.is_ready = True
    server.generations.look()
    assert server.current is second
    assert first.told == ["retire"]
    assert not first.is_closed
    first.is_over = True
    server.generations.look()
    assert first.is_closed
    assert len(server.reports) == 1
    assert server.reports[0].startswith("Version b is served, ")
    assert server.want("b") is second


def test_the_last_version_that_was_promoted_wins(server: Server) -> None:
    first = server.serve("a")
    second = server.want("b")
    assert server.want("b") is second
    third = server.want("c")
    assert second.told == ["stop"]
    server.want("a")  # which answers
    assert third.told == ["stop"]
    assert first.told == []
    assert len(server.launched) == 3
    assert server.generations.next_attempt == math.inf


@pytest.mark.parametrize("error_class", [ArtifactError, DataError])  # it is damaged, or its log belongs to other data
def test_a_version_that_cannot_be_served_is_reported_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, error_class: type[LeanrecError]
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    first = server.serve("a")
    second = server.want("b")
    second.error = error_class("It is damaged.")
    for _ in range(3):
        server.generations.look()
    assert server.reports == ["Version b cannot be served, so a goes on: It is damaged."]
    assert server.current is first
    assert len(server.launched) == 2
    server.serve("c")
    assert first.told == ["retire"]


def test_a_version_is_tried_again_where_the_log_did_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    first = server.serve("a")
    server.want("b")
    for number in range(2, 5):
        assert len(server.launched) == number
        server.launched[-1].error = SourceError("The log did not answer.")
        server.generations.look()
        server.generations.look()
    assert server.reports == ["Version b cannot be served, so a goes on: The log did not answer."]
    assert server.current is first
    server.launched[-1].is_ready = True
    server.generations.look()
    assert server.current is server.launched[-1]
    assert first.told == ["retire"]


def test_the_error_of_the_first_generation_is_raised(server: Server) -> None:
    server.want("a").error = ArtifactError("It is damaged.")
    with pytest.raises(ArtifactError, match="It is damaged"):
        server.generations.look()


def test_a_generation_that_is_killed_while_it_loads_is_tried_three_times(server: Server) -> None:
    first = server.serve("a")
    for number in range(3):
        killed = server.want("b") if number == 0 else server.launched[-1]
        killed.ended = "by signal 9"
        server.generations.look()
        server.generations.look()
    assert len(server.launched) == 4
    assert server.reports[:2] == ["Version b is loaded again: its process ended by signal 9."] * 2
    assert server.reports[2] == "Version b cannot be served, so a goes on: Its process ended by signal 9, 3 times."
    assert first.told == []
    other = Server()
    for _ in range(2):
        other.want("a").ended = "by signal 9"
        other.generations.look()
    other.launched[-1].ended = "by signal 9"
    with pytest.raises(WorkerError, match="3 times"):
        other.generations.look()


def test_a_generation_whose_process_has_ended_is_replaced(server: Server) -> None:
    first = server.serve("a")
    first.ended = "by signal 9"
    server.generations.look()
    assert first.told == []  # its workers answer meanwhile
    second = server.launched[-1]
    assert (second.version, second.is_first) == ("a", False)
    second.is_ready = True
    server.generations.look()
    assert first.told == ["retire"]
    second.is_over, second.ended = True, "by signal 9"  # with all its workers
    server.generations.look()
    assert server.current is None
    assert server.launched[-1].is_first
    assert server.reports[0] == "The process that started the workers ended by signal 9. A new one takes over."


def test_a_version_that_served_is_tried_again_later(server: Server) -> None:
    first = server.serve("a")
    first.ended, first.is_over = "by signal 9", True
    server.generations.look()
    server.launched[-1].error = ArtifactError("It is damaged.")
    server.generations.look()
    server.generations.look()
    assert len(server.launched) == 2
    assert 5 < server.generations.next_attempt - time.monotonic() <= 10


def test_a_renewed_generation_has_a_new_interpreter(server: Server) -> None:
    server.generations.renew()  # before there is one
    first = server.serve("a")
    assert first.in_new_interpreter
    loading = server.want("b")
    server.generations.renew()
    server.generations.look()
    assert loading.told == ["stop"]
    assert (server.launched[-1].version, server.launched[-1].in_new_interpreter) == ("b", True)


def test_a_renewal_outlives_a_promotion_of_the_version_that_answers(server: Server) -> None:
    server.serve("a")
    server.want("b")
    server.generations.renew()
    renewed = server.want("a")
    assert (renewed.version, renewed.in_new_interpreter) == ("a", True)
    renewed.is_ready = True
    server.generations.look()
    assert server.current is renewed
    assert server.want("a") is renewed  # nothing more is to be renewed


def test_processes_are_renewed_while_another_version_waits_for_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    server.serve("a")
    server.want("b").error = SourceError("The log did not answer.")
    server.generations.look()
    server.generations.renew()
    server.generations.look()
    renewed = server.launched[-1]
    assert (renewed.version, renewed.in_new_interpreter) == ("a", True)
    renewed.is_ready = True
    server.generations.look()
    assert server.current is renewed
    server.generations.look()
    last = server.launched[-1]
    assert last.version == "b"  # and is tried again
    last.is_ready = True
    server.generations.look()
    server.generations.look()
    assert server.launched[-1] is server.current is last


def test_all_generations_end(server: Server) -> None:
    first, second = server.serve("a"), server.want("b")
    assert server.generations.list_private() == [7, 7]
    server.generations.stop(lambda: False)
    assert (first.told, second.told) == (["stop"], ["stop"])
    assert first.is_closed
    assert server.current is None

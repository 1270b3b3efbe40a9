"""The log of a server: text or JSON lines, without what belongs to users."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from contracts.server_log import restore_loggers
from leanrec.errors import SettingError
from leanrec.serving.monitoring import server_log
from leanrec.serving.monitoring.server_log import log_event, make_reporter, start_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    with restore_loggers():
        yield


def open_log(log_format: str) -> io.StringIO:
    stream = io.StringIO()
    start_logging(log_format, stream)
    return stream


def read_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(user: str) -> None:
    raise KeyError(user)


def test_a_line_of_json_has_the_event_and_its_fields() -> None:
    stream = open_log("json")
    log_event("start", 'It "serves"\nnow.', url="http://x", workers=2)
    make_reporter("version")("Version b is served.")
    first, second = read_lines(stream)
    assert (first["event"], first["message"], first["url"], first["workers"]) == (
        "start",
        'It "serves"\nnow.',
        "http://x",
        2,
    )
    assert first["level"] == "info"
    assert first["time"].endswith("Z")
    assert (second["event"], second["message"]) == ("version", "Version b is served.")


def test_a_line_of_text_is_the_sentence() -> None:
    stream = open_log("text")
    log_event("start", "It serves.", url="http://x")
    assert stream.getvalue() == "It serves.\n"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_error_has_its_place_and_not_its_message(log_format: str) -> None:
    stream = open_log(log_format)
    try:
        try:
            fail("secret-user")
        except KeyError as error:
            raise ValueError("secret-user again") from error
    except ValueError as error:
        log_event("error", "Request 17 failed.", error=error)
    text = stream.getvalue()
    assert "secret-user" not in text
    assert "in fail" in text
    assert text.index("KeyError") < text.index("ValueError", text.index("KeyError"))


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_errors_of_libraries_are_written_without_values(log_format: str) -> None:
    stream = open_log(log_format)

    async def lose_an_error() -> None:
        loop = asyncio.get_running_loop()
        loop.default_exception_handler(
            {"message": "Lost.", "exception": KeyError("secret-user"), "user": "secret-user"}
        )

    asyncio.run(lose_an_error())
    try:
        fail("secret-user")
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    text = stream.getvalue()
    assert "Lost." in text
    assert "Exception in ASGI application" in text
    assert "secret-user" not in text


def test_clients_cannot_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(server_log.time, "monotonic", lambda: now[0])
    stream = open_log("json")
    for number in range(1000):
        log_event("refused", f"Request {number} was refused.")
    for number in range(30):
        log_event("version", f"Version {number} is served.")
    assert len(read_lines(stream)) == 20 + 30
    now[0] += 11
    log_event("refused", "One more.")
    assert read_lines(stream)[-1]["left_out"] == 980


def test_another_format_is_refused() -> None:
    with pytest.raises(SettingError, match="log_format must be one of text, json"):
        start_logging("xml")

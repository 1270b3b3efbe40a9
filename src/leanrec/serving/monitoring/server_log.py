"""Log of a server: one line for each notable event on standard error, as text or as JSON, without ids of users and keys."""

import datetime
import functools
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from leanrec.settings import check_one_of

__all__ = ["LOG_FORMATS", "log_event", "make_reporter", "start_logging"]

LOG_FORMATS = ("text", "json")
_LOGGER = logging.getLogger("leanrec.serving")
_NAMES = ("leanrec.serving", "uvicorn", "asyncio")
# Clients cause these events, so a client could fill the disk with them.
_LIMITED = frozenset(["error", "refused", "slow_request"])
_LINES, _SECONDS = 20, 10.0  # so many lines of one event in so many seconds


def log_event(
    event: str, message: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object
) -> None:
    """Write one line.

    Args:
        event: what happened, one of few words: "start", "version", "process", "refused", "slow_request", "error", ….
        message: the same as a sentence, without ids of users.
        level: of ``logging``.
        error: an exception; its class and place are written, and not its message, in which there may be ids of users.
        fields: further values of the line in JSON.
    """
    _LOGGER.log(level, message, exc_info=error, extra={"event": event, "fields": fields})


def make_reporter(event: str) -> Callable[[str], None]:
    """A function that writes a sentence about this event."""
    return functools.partial(log_event, event)


def start_logging(log_format: str = "text", stream: TextIO | None = None) -> None:
    """Write the log of the server, and what uvicorn has to say, to a stream; None: standard error. Calling it again replaces that.

    Raises SettingError for a format that is not "text" or "json".
    """
    check_one_of("log_format", log_format, LOG_FORMATS)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    handler.addFilter(_LineLimit())
    for name in _NAMES:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    _LOGGER.setLevel(logging.INFO)


class _LineLimit(logging.Filter):
    """Lets through some lines of an event that clients cause, and tells in the next line how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if record.name != _LOGGER.name and getattr(error, "__notes__", None):
            return False  # an error of a request, which is logged with its id
        event = getattr(record, "event", "error")
        if event not in _LIMITED:
            return True
        start, n_lines = self._windows.get(event, (-_SECONDS, 0))
        now = time.monotonic()
        if now - start >= _SECONDS:
            record.left_out = max(0, n_lines - _LINES)
            start, n_lines = now, 0
        self._windows[event] = start, n_lines + 1
        return n_lines < _LINES


def _find_message(record: logging.LogRecord) -> str:
    """The message. That of another library is cut where the values begin."""
    message = record.getMessage().rstrip()
    return message if record.name == _LOGGER.name else message.partition("\n")[0]


class _TextFormatter(logging.Formatter):
    """The sentence alone, and the place of an error below it."""

    def format(self, record: logging.LogRecord) -> str:
        left_out = getattr(record, "left_out", 0)
        more = f" ({left_out} such lines were left out.)" if left_out else ""
        error = record.exc_info[1] if record.exc_info else None
        lines = [] if error is None else [f"  {line}" for line in _describe_error(error)]
        return "\n".join([_find_message(record) + more, *lines])


class _JsonFormatter(logging.Formatter):
    """One JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "error" if record.levelno >= logging.ERROR else record.name),
            "message": _find_message(record),
            "process": record.process,
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["where"] = list(_describe_error(record.exc_info[1]))
        if getattr(record, "left_out", 0):
            line["left_out"] = record.left_out  # type: ignore[attr-defined]
        return json.dumps(line, default=str)


def _describe_error(error: BaseException) -> Iterator[str]:
    """Class and calls of an exception and of what caused it, without messages and values."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _describe_error(cause)
    for frame in traceback.extract_tb(error.__traceback__)[-12:]:
        yield f"{frame.filename}:{frame.lineno} in {frame.name}"
    yield type(error).__name__

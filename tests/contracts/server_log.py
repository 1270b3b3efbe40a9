"""Loggers for tests: what a test sets is undone."""

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["restore_loggers"]


@contextlib.contextmanager
def restore_loggers() -> Iterator[None]:
    """Undo what ``start_logging`` does."""
    loggers = [logging.getLogger(name) for name in ("leanrec.serving", "uvicorn", "asyncio")]
    before = [([*each.handlers], each.propagate, each.level) for each in loggers]
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)

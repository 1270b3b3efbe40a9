"""Connections to PostgreSQL: an event loop in a thread, explicit time-outs, and errors in words."""

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import asyncpg

from leanrec.errors import DataError, LeanrecError, SourceError
from leanrec.events.locations import hide_password

__all__ = [
    "ConnectionLimits",
    "LoopThread",
    "concerns_data",
    "connect",
    "connected",
    "hide_password",
    "translate_error",
]

_Result = TypeVar("_Result")
_CLOSE_SECONDS = 1.0
_N_CANCELS = 10


@dataclasses.dataclass(frozen=True)
class ConnectionLimits:
    """Time-outs in seconds. Each is set: the defaults of PostgreSQL wait without end.

    Attributes:
        connect: for a connection, its encryption and its login.
        statement: for one statement; the server ends it then, and the client does not wait a second longer.
        lock: for the lock of the log while another server writes.
        idle: after which the server ends a transaction whose client does nothing, and with it its locks.
    """

    connect: float = 3.0
    statement: float = 4.0
    lock: float = 3.0
    idle: float = 5.0

    @property
    def answer(self) -> float:
        """How long the client waits for the answer to a statement."""
        return self.statement + 1

    def to_server_settings(self) -> dict[str, str]:
        """The settings of a session."""
        return {
            "application_name": "leanrec",
            "statement_timeout": f"{round(self.statement * 1000)}",
            "lock_timeout": f"{round(self.lock * 1000)}",
            "idle_in_transaction_session_timeout": f"{round(self.idle * 1000)}",
            "synchronous_commit": "on",  # an accepted event is on disk, whatever the default of the server
            "timezone": "UTC",
        }


class LoopThread:
    """An event loop in a thread of its own, for callers in other threads."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do some work in the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """End what is under way, and the thread. Calling it again does nothing."""
        if self.loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._cancel_tasks(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _cancel_tasks(self) -> None:
        for _ in range(_N_CANCELS):  # a task that has just got what it waited for may miss one
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLOSE_SECONDS / _N_CANCELS)
        with contextlib.suppress(TimeoutError):  # a process that is forked after this must have no thread of it
            await asyncio.wait_for(self.loop.shutdown_default_executor(), _CLOSE_SECONDS)


async def connect(url: str, limits: ConnectionLimits) -> Any:
    """A connection with time-outs. Raises SourceError if there is none in time."""
    try:
        async with asyncio.timeout(limits.connect):
            return await asyncpg.connect(
                url,
                timeout=limits.connect,
                command_timeout=limits.answer,
                server_settings=limits.to_server_settings(),
            )
    except Exception as error:
        raise translate_error(hide_password(url), error) from error


@contextlib.asynccontextmanager
async def connected(url: str, limits: ConnectionLimits) -> AsyncIterator[Any]:
    """A connection for some work, closed after it. Errors of the server become SourceError."""
    connection = await connect(url, limits)
    try:
        yield connection
        await connection.close(timeout=_CLOSE_SECONDS)
    except Exception as error:
        raise translate_error(hide_password(url), error) from error
    finally:
        connection.terminate()


def concerns_data(error: BaseException) -> bool:
    """Whether the values of a statement are wrong, so that the connection can be used for others."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate or "")[:2] in {"22", "23"}  # data exception, integrity constraint violation
    return isinstance(error, LeanrecError | ValueError | OverflowError)


def translate_error(name: str, error: BaseException) -> BaseException:
    """The error of leanrec for one of the connection or the server."""
    if isinstance(error, LeanrecError):
        return error
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return SourceError(
            f"The event log {name} must let this user in. The server answers: {error}. Check the user in the URL, and give the "
            "password by PGPASSWORD or a file .pgpass."
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return SourceError(f"The event log {name} must be in a database that exists. The server answers: {error}.")
    if isinstance(error, asyncpg.exceptions.InsufficientPrivilegeError):
        return SourceError(
            f"The event log {name} must be writable for its user. The server answers: {error}. Let the user create the schema "
            "leanrec once: GRANT CREATE ON DATABASE … TO …."
        )
    if isinstance(error, asyncpg.LockNotAvailableError):
        return SourceError(
            f"The event log {name} was locked by another server for too long. Nothing of this write was stored: send it again."
        )
    if isinstance(error, asyncpg.DataError | asyncpg.exceptions.DataError | OverflowError | UnicodeError | ValueError):
        return DataError(
            f"An event must hold numbers of at most 64 bits and valid text without a null character. Got: {error}."
        )
    if isinstance(error, TimeoutError):
        return SourceError(
            f"The event log {name} did not answer in time. A write may still be stored: send it again with the same ids."
        )
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | OSError):
        return SourceError(f"The event log {name} cannot be used: {error}. Check the server and the URL.")
    return error

"""Guarded connection: questions to a Redis server that wait for milliseconds at most, and are not asked while it fails."""

import collections
import contextlib
import hashlib
import os
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import valkey
from valkey.exceptions import AuthenticationError, NoScriptError, ResponseError, ValkeyError

from leanrec.errors import CacheError, SettingError

__all__ = ["GuardedConnection", "Script"]

_CONNECT_SECONDS = 0.5  # in the thread, of each step of a connection
_WRITE_SECONDS = 0.2  # in the thread
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # between a failure and the next attempt
_N_QUIET_FAILURES = 3  # before the operator is told
_MAX_WAITING = 1_000  # commands that wait to be written
_BATCH = 64
_GATHER_SECONDS = 0.01  # in which commands come together: to wake the thread for each would delay the lists
_SECONDS_OF_DUTY = 60.0  # after which a command that must be sent has no effect any more
_TOO_SLOW = 5.0  # times the time limit, of a whole answer


class Script:
    """A Lua script, by its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha1 = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, key: str, *arguments: Any) -> tuple[Any, ...]:
        """The command that runs it on one key."""
        return ("EVALSHA", self.sha1, 1, key, *arguments)


class GuardedConnection:
    """A connection for questions with a time limit, and one for commands whose answer is not awaited.

    A failure closes the connection, since a late answer would be taken for that of the next question. A thread connects again
    after a pause, which doubles with every failure up to five seconds, and tries the time limit before the next question
    again. Until then questions fail at once. So a server that is down, stopped or slow costs the time limit of one question
    now and then. Thread-safe; also after a fork, when it connects anew.

    Attributes:
        wait_seconds: how long a question waits for its turn, and for each part of the answer.
    """

    def __init__(self, url: str, report: Callable[[str], None], timeout_ms: float = 2.0) -> None:
        """Prepare; the first question or command starts the thread. Raises SettingError for a URL that cannot be read."""
        self.wait_seconds = timeout_ms / 1e3
        self._report = report
        try:
            parsed = urllib.parse.urlsplit(url)
            int(parsed.path.strip("/") or 0)  # which the client would ignore if it is no number
            pools: Any = valkey.ConnectionPool  # whose methods have no types
            self._pool = pools.from_url(url)
            self._pool.make_connection()  # which does not connect yet
            self.address = f"{parsed.hostname or 'localhost'}:{parsed.port or 6379}"
        except (ValueError, TypeError):  # whose message may have a part of the password
            raise SettingError(
                "cache must be a URL such as redis://user:password@localhost:6379/0, with / in a password as %2F, @ as %40 and : "
                "as %3A. Got one with a port or a database that is no number, or with an option that is unknown."
            ) from None
        self._scripts: list[Script] = []
        self._pid = 0
        self._stopping = False
        self._start_state()

    def _start_state(self) -> None:
        self._lock = threading.Lock()  # of the questions
        self._waking = threading.Condition()
        self._reader: Any = None
        self._writer: Any = None
        self._commands: collections.deque[tuple[Any, ...]] = collections.deque(maxlen=_MAX_WAITING)
        self._duties: collections.deque[tuple[float, tuple[Any, ...]]] = collections.deque()
        self._n_failures, self._n_attempts, self._is_told = 0.0, 0, False
        self._next_attempt = 0.0
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def add_script(self, script: Script) -> Script:
        """Load a script at every connection; to be called before the first question."""
        self._scripts.append(script)
        return script

    @property
    def is_connected(self) -> bool:
        """Whether questions are asked now."""
        return self._reader is not None

    def ask(self, *command: Any) -> Any:
        """The answer to a command. Raises CacheError if there is none in time, or the server refuses it."""
        self._start()
        reader, lock = self._reader, self._lock
        if reader is None or not lock.acquire(timeout=self.wait_seconds):
            raise CacheError("The cache is not asked: it has failed, or others wait for it.", is_asked=False)
        try:
            if self._reader is not reader:
                raise CacheError("The cache is not asked: it has failed.", is_asked=False)
            start = time.perf_counter()
            reader.send_command(*command)
            answer = reader.read_response()
            if time.perf_counter() - start > _TOO_SLOW * self.wait_seconds:
                self._fail()
            elif self._n_failures:
                self._n_failures = max(0.0, self._n_failures - 0.1)
        except (ValkeyError, OSError) as error:
            if not isinstance(error, ResponseError) or isinstance(error, NoScriptError):
                self._fail()
            raise CacheError(f"The cache at {self.address} does not answer: {_describe(error)}.") from error
        else:
            return answer
        finally:
            lock.release()

    def tell(self, *command: Any, is_duty: bool = False) -> None:
        """Send a command soon, without waiting.

        It is dropped if the server is away or too many wait; with ``is_duty`` it is sent within a minute, once the server is back.
        """
        self._start()
        if is_duty:
            self._duties.append((time.monotonic(), command))
        elif self._reader is None:
            return
        else:
            self._commands.append(command)
            if len(self._commands) > 1:  # the thread has been woken
                return
        with self._waking:
            self._waking.notify()

    def flush(self, seconds: float) -> bool:
        """Wait until all commands are sent. Returns False after so many seconds."""
        end = time.monotonic() + seconds
        with self._waking:
            while self._duties or self._commands or self._is_writing:
                if not self._waking.wait(min(0.05, max(0.0, end - time.monotonic()))) and time.monotonic() >= end:
                    return False
        return True

    def close(self) -> None:
        """Send what waits, for half a second at most, and disconnect."""
        if self._thread is not None and self._pid == os.getpid():
            self.flush(0.5)
            with self._waking:
                self._stopping = True
                self._waking.notify()
            self._thread.join(2.0)
            self._thread = None

    def find_problem(self) -> str | None:
        """What the operator should know of the server, or None. Waits for half a second at each step. Raises SettingError for a wrong user or password."""
        try:
            connection = self._open(_CONNECT_SECONDS)
            with contextlib.closing(_Closing(connection)):
                info = _parse_info(self._ask_slowly(connection, "INFO", "memory"))
        except AuthenticationError as error:
            raise SettingError(
                f"The cache at {self.address} must accept the user and the password of its URL. It answers: {_describe(error)}."
            ) from error
        except (ValkeyError, OSError) as error:
            return f"The cache at {self.address} does not answer: {_describe(error)}. Lists are made without it until it does."
        if info.get("maxmemory", "0") == "0":
            return (
                f"The cache at {self.address} has no limit of memory. Lists expire after a minute; to be safe, set maxmemory "
                "there, and maxmemory-policy to allkeys-lru."
            )
        if info.get("maxmemory_policy") == "noeviction":
            return (
                f"The cache at {self.address} keeps no new list once its memory is full: its maxmemory-policy is noeviction. "
                "Set it to allkeys-lru there."
            )
        return None

    def _start(self) -> None:
        """Start the thread, once in each process."""
        if self._pid == os.getpid():
            return
        self._start_state()  # sockets and locks of another process are not touched
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="leanrec-cache", daemon=True)
        self._thread.start()

    def _open(self, seconds: float) -> Any:
        """A connection whose steps may take so many seconds each."""
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "health_check_interval": 0}
        connection = self._pool.connection_class(
            **self._pool.connection_kwargs | limits, lib_name=None, lib_version=None
        )
        connection.connect()
        return connection

    def _ask_slowly(self, connection: Any, *command: Any) -> Any:
        connection.send_command(*command)
        return connection.read_response()

    def _fail(self) -> None:
        """Close the connection of the questions, whose lock must be held, and let the thread connect after a pause."""
        with self._waking:
            if self._reader is not None:
                self._reader.disconnect()
            self._reader = None
            self._pause()
            self._waking.notify()

    def _pause(self) -> None:
        seconds = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._n_failures)
        self._n_failures = min(self._n_failures + 1, 10)
        self._next_attempt = time.monotonic() + seconds

    def _run(self) -> None:
        """Connect, and write what waits."""
        while True:
            with self._waking:
                is_away = self._reader is None
                if not self._stopping and (is_away or not (self._duties or self._commands)):
                    self._waking.wait(max(0.0, self._next_attempt - time.monotonic()) if is_away else 1.0)
                if self._stopping:
                    break
            try:
                self._work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the server answers on, and connects again
                self._report(f"The cache at {self.address} cannot be used: {error!r}.")
                with self._lock:
                    self._fail()
        with self._lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.disconnect()
            self._reader = self._writer = None

    def _work(self) -> None:
        if self._reader is None:
            if time.monotonic() >= self._next_attempt:
                self._connect()
            return
        if len(self._commands) < _BATCH and not self._duties:
            time.sleep(_GATHER_SECONDS)
        self._write()

    def _connect(self) -> None:
        """Connect, and see that answers come in time."""
        if self._writer is not None:
            self._writer.disconnect()
            self._writer = None
        opened: list[Any] = []
        try:
            writer = self._open(_CONNECT_SECONDS)
            opened.append(writer)
            for script in self._scripts:
                self._ask_slowly(writer, "SCRIPT LOAD", script.text)
            reader = self._open(_CONNECT_SECONDS)
            opened.append(reader)
            for connection, seconds in ((writer, _WRITE_SECONDS), (reader, self.wait_seconds)):
                connection._sock.settimeout(seconds)  # noqa: SLF001 - the limit of a connection under way has no other name
                self._ask_slowly(connection, "PING")
            self._ask_slowly(reader, "PING")
        except (ValkeyError, OSError) as error:
            for connection in opened:
                connection.disconnect()
            self._n_attempts += 1
            self._pause()
            if self._n_attempts >= _N_QUIET_FAILURES and not self._is_told:
                self._is_told = True
                self._report(
                    f"The cache at {self.address} does not answer: {_describe(error)}. Lists are made without it."
                )
        else:
            self._writer, self._n_attempts = writer, 0
            self._reader = reader
            if self._is_told:
                self._is_told = False
                self._report(f"The cache at {self.address} answers again.")

    def _write(self) -> None:
        """Write a batch of the commands that wait, those that must be sent first."""
        self._is_writing = True
        duties: list[tuple[float, tuple[Any, ...]]] = []
        commands: list[tuple[Any, ...]] = []
        while self._duties and len(duties) < _BATCH:
            duties.append(self._duties.popleft())
        while self._commands and len(commands) < _BATCH:
            commands.append(self._commands.popleft())
        now = time.monotonic()
        batch = [command for at, command in duties if now - at < _SECONDS_OF_DUTY] + commands
        try:
            writer = self._writer
            if batch:
                writer.send_packed_command(writer.pack_commands(batch))
                for _ in batch:
                    _read_refusal(writer)
        except (ValkeyError, OSError):
            self._duties.extendleft(reversed(duties))
            with self._lock:
                self._fail()
        self._is_writing = False
        with self._waking:
            self._waking.notify_all()


class _Closing:
    """A connection as something that can be closed."""

    def __init__(self, connection: Any) -> None:
        self.close = connection.disconnect


def _read_refusal(connection: Any) -> None:
    """Read the answer to one command of several. One that is refused, such as for want of memory, harms no other."""
    try:
        connection.read_response()
    except NoScriptError:
        raise
    except ResponseError:
        pass


def _describe(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _parse_info(content: bytes) -> dict[str, str]:
    lines = content.decode("utf-8", "replace").splitlines()
    return {name: value for name, separator, value in (line.partition(":") for line in lines) if separator}

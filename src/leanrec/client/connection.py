"""Connections of a client: kept for the next request, with one time limit for all of an answer."""

import collections
import contextlib
import functools
import http.client
import io
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Answer", "ConnectionPool"]

_MAX_BYTES = 64 * 2**20
_MAX_IDLE = 32


class Answer(NamedTuple):
    """An answer of a server: the status, the value of its JSON (None if it is none), and the header Retry-After."""

    status: int
    body: Any
    retry_after: str | None


class ConnectionPool:
    """Connections to one server. Thread-safe: a connection is used by one thread at a time.

    After a fork the child makes connections of its own.
    """

    def __init__(self, host: str, port: int | None, *, is_tls: bool, certificates: str | None = None) -> None:
        self._host, self._port = host, port
        self._tls = ssl.create_default_context(cafile=certificates) if is_tls else None
        self._idle: collections.deque[http.client.HTTPConnection] = collections.deque()
        self._process = os.getpid()
        self._lock = threading.Lock()

    def send(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], seconds: float) -> Answer:
        """Send a request and read its answer, over a kept connection if there is one.

        A kept connection that the server has closed meanwhile is replaced by a new one: what is sent must have the same effect
        twice as once.

        Raises OSError if there is no whole answer after ``seconds``.
        """
        end = time.monotonic() + seconds
        sent = {**headers, "Content-Type": "application/json"} if data is not None else dict(headers)
        while (connection := self._take()) is not None:
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                return self._exchange(connection, method, path, data, sent, end)
        left = max(1e-3, end - time.monotonic())
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=left)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=left, context=self._tls)
        try:
            return self._exchange(connection, method, path, data, sent, end)
        except http.client.HTTPException as error:
            raise ConnectionError(f"The answer is no HTTP: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        while (connection := self._take()) is not None:
            connection.close()

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            if self._process != os.getpid():  # the connections belong to the parent
                self._process = os.getpid()
                while self._idle:
                    self._idle.pop().close()
            return self._idle.pop() if self._idle else None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
        end: float,
    ) -> Answer:
        """Send a request over a connection, and keep or close it."""
        is_kept = False
        try:
            if connection.sock is not None:
                connection.sock.settimeout(max(1e-3, end - time.monotonic()))
            # The reading end is replaced, because a time-out of the socket begins anew with every byte.
            connection.response_class = functools.partial(_TimedResponse, end)  # type: ignore[assignment]
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
            content = response.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES or response.length:
                raise ConnectionError(f"An answer must be whole and have at most {_MAX_BYTES} bytes.")
            body = None
            with contextlib.suppress(ValueError, RecursionError):
                body = json.loads(content)
            with self._lock:
                is_kept = connection.sock is not None and not response.will_close and len(self._idle) < _MAX_IDLE
                if is_kept:
                    self._idle.append(connection)
            return Answer(response.status, body, response.headers.get("Retry-After"))
        finally:
            if not is_kept:
                connection.close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer with one time limit for all its bytes together."""

    def __init__(self, end: float, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedReader(sock, end))


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a time."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        super().__init__()
        self._sock, self._end = sock, end

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived. Raises TimeoutError at the time."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

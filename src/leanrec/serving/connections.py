"""Limits of connections: how many are open, how long a request may take to arrive, and what happens without descriptors."""

import asyncio
import errno
import functools
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from leanrec.errors import SettingError
from leanrec.serving.error_handlers import error_response
from leanrec.serving.handshakes import HandshakeProtocol, Handshakes
from leanrec.serving.prometheus import ServingMetrics

if sys.platform != "win32":
    import fcntl
    import termios

__all__ = ["check_certificate", "make_server_config", "quiet_accept_errors"]

_BACKLOG = 128
_EXTRA_HANDSHAKES = 128  # beyond the limit of connections, so that those clients can be told of it
_RESERVED_DESCRIPTORS = 64  # files of the log, of the model and of libraries
_LOOK_AGAIN_SECONDS = 0.02  # after bytes that the loop has not read yet
_FAREWELL_SECONDS = 1.0  # for a client to answer the end of a TLS connection
_BUSY_HINT = "Keep connections open and use them again, or try again after a second."


def check_certificate(tls_cert: str | Path | None, tls_key: str | Path | None) -> None:
    """Raise SettingError unless a server can use a certificate and its private key; None: it has none."""
    if tls_cert is None:
        if tls_key is not None:
            raise SettingError("tls_cert must be given with tls_key. Got only the key.")
        return
    try:
        # Without an answer to the question for a password, which no person would see.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls_cert, tls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingError(
            f"tls_cert must be a file with a certificate in PEM, and tls_key one with its private key. {tls_cert} and "
            f"{tls_key or 'no other file'} are not: {error}."
        ) from error


def make_server_config(
    app: FastAPI,
    max_connections: int,
    request_timeout: float,
    tls: tuple[str | Path, str | Path | None] | None = None,
) -> uvicorn.Config:
    """The configuration of a uvicorn server of this app that limits connections.

    Args:
        app: the app, as ``create_app`` makes it.
        max_connections: largest number of open connections; fewer where the process may not open as many files.
        request_timeout: seconds in which a request must arrive, and in which a client must take more of an answer.
        tls: files of the certificate and of its private key, for HTTPS.
    """

    class Protocol(_LimitedProtocol):
        limit = _find_limit(max_connections)
        timeout = request_timeout
        metrics = app.state.metrics

    # Warnings of uvicorn are about what clients send, so a client could fill the log with them.
    return _TLSConfig(
        app,
        http=Protocol,
        ws="none",
        backlog=_BACKLOG,
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=10,
        ssl_certfile=None if tls is None else tls[0],
        ssl_keyfile=None if tls is None or tls[1] is None else str(tls[1]),
    )


def quiet_accept_errors(loop: asyncio.AbstractEventLoop, metrics: ServingMetrics) -> None:
    """Count connections that cannot be accepted for want of descriptors, instead of a traceback for each."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
            metrics.refused_connections.inc()
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


class _TLSConfig(uvicorn.Config):
    """A configuration whose handshakes, if it has a certificate, are counted among the connections and take a limited time."""

    def load(self) -> None:
        super().load()
        context, protocol = self.ssl, self.http_protocol_class
        if context is None:
            return
        assert issubclass(protocol, _LimitedProtocol)  # noqa: S101 - see make_server_config
        handshakes: Handshakes | None = None

        def make_protocol(**options: Any) -> asyncio.Protocol:
            nonlocal handshakes
            if handshakes is None:
                connections, metrics = options["server_state"].connections, protocol.metrics
                handshakes = Handshakes(
                    context,
                    protocol.timeout,
                    lambda n_open: len(connections) + n_open < protocol.limit + _EXTRA_HANDSHAKES,
                    metrics.refused_connections.inc,
                    metrics.ended_connections.inc,
                )
            return HandshakeProtocol(handshakes, functools.partial(protocol, **options))

        self.ssl, self.http_protocol_class = None, make_protocol  # type: ignore[assignment]


class _LimitedProtocol(HttpToolsProtocol):
    """HTTP over one connection, which is closed if there are too many, or if a request does not arrive in time.

    A connection has a timer while it waits for the rest of a request, or for the client to take more of an answer. Most
    requests arrive whole and need none.
    """

    limit: int
    timeout: float
    metrics: ServingMetrics
    _timer: asyncio.TimerHandle | None = None
    _is_whole = False  # the last request that has begun
    _is_prepared = False  # for the end of the server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.limit:
            self.metrics.refused_connections.inc()
            message = f"A server may have {self.limit} connections. It has as many."
            transport.write(_make_answer(503, message, "connection", _BUSY_HINT))
            self.transport = transport
            self._close()
            return
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        is_waiting = self._timer is not None
        was_whole, self._is_whole = self._is_whole, False
        super().data_received(data)
        if self._is_whole:
            self._stop_timer()
        elif was_whole or not is_waiting:
            self._start_timer()

    def on_message_begin(self) -> None:
        self._is_whole = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_whole = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer()

    def prepare_end(self, late_seconds: float, *, may_stay: bool) -> None:
        """Answer what has been sent, then close: the server is ending.

        Args:
            late_seconds: how long to wait for a request that has not begun, or of which a part has arrived.
            may_stay: wait for the next request of an idle connection, until its usual time-out.
        """
        self._is_prepared = True
        is_idle = self.cycle is not None and self._is_whole
        if not (is_idle and may_stay):
            self.loop.call_later(0.0 if is_idle else late_seconds, self._close_if_silent)

    def shutdown(self) -> None:
        """Called by the server at its end: what is in progress is the last of its connection."""
        if self._is_answering or not self._is_prepared:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        self._close_if_silent()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _close_if_silent(self) -> None:
        """Close the connection, unless a request is being answered or has arrived and was not read yet."""
        if self.transport.is_closing() or self._is_answering:
            return
        if _count_unread(self.transport):
            self.loop.call_later(_LOOK_AGAIN_SECONDS, self._close_if_silent)
        else:
            self._close()

    def _close(self) -> None:
        """Close the connection, also where the client does not answer the end of TLS, as one with idle connections does not."""
        self.transport.close()
        if self.transport.get_extra_info("sslcontext") is not None:
            self.loop.call_later(_FAREWELL_SECONDS, self.transport.abort)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.timeout, self._end)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        """Close the connection, and say why if no answer has begun."""
        self.metrics.ended_connections.inc()
        if self.flow.write_paused:  # the client does not take what is written
            self.transport.abort()
            return
        has_begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if self.headers is not None and not has_begun and not self.pipeline:
            message = f"A request must arrive within {self.timeout:g} s. This one did not."
            self.transport.write(_make_answer(408, message, "request", "Send it again, at once."))
        self._close()


def _make_answer(status: int, message: str, location: str, hint: str) -> bytes:
    """An error as the bytes of a whole answer, for a connection without a request."""
    body = bytes(error_response(status, message, location, hint).body)
    phrase = {408: "Request Timeout", 503: "Service Unavailable"}[status]
    retry = "retry-after: 1\r\n" if status == 503 else ""
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{retry}"
    return f"{head}connection: close\r\n\r\n".encode() + body


def _count_unread(transport: asyncio.Transport) -> int:
    """Number of bytes that have arrived on a connection and were not read."""
    handle = transport.get_extra_info("socket")
    if sys.platform == "win32" or handle is None or handle.fileno() < 0:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(handle.fileno(), termios.FIONREAD, b"\0" * 4))
    return int(count)


def _find_limit(max_connections: int) -> int:
    """The number of connections for which this process may open files; the limit of files is raised if that is allowed."""
    if sys.platform == "win32":
        return max_connections
    import resource  # noqa: PLC0415 - Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Connections that are refused are open for a moment too.
    wanted = max_connections + _BACKLOG + _RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max_connections
    return max(1, min(max_connections, (soft - _RESERVED_DESCRIPTORS) // 2))

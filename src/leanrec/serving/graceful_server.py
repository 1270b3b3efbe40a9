"""Graceful end of a server: what a client has sent, or is about to send on a connection that was accepted, is answered."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

__all__ = ["GracefulServer", "has_terminal", "survive_hangup"]

_CLOSE_HEADER = (b"connection", b"close")


class GracefulServer(uvicorn.Server):
    """A server that loses no request at its end.

    It accepts what waits at its socket, and then no more. Requests in progress are answered, with the header
    ``Connection: close``. A connection without a request gets two seconds to send one, since its client may be about to
    do so. An idle connection is closed if nothing has arrived on it; or, where other processes answer at the same
    address, after its next request.

    Attributes:
        is_replaced: whether other processes answer at the same address from now on.
        late_seconds: how long a connection without a request may take to send one.
    """

    is_replaced = False
    late_seconds = 2.0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what has been sent, then end. Takes at most the time-out of the configuration."""
        for _ in range(3):  # turns of the loop, in which it accepts what waits at the socket and starts to read
            await asyncio.sleep(0)
        # In place, because a request in progress has this list.
        self.server_state.default_headers.append(_CLOSE_HEADER)
        for connection in self.server_state.connections:
            connection.prepare_end(self.late_seconds, may_stay=self.is_replaced)  # type: ignore[union-attr]
        await super().shutdown(sockets)


def has_terminal() -> bool:
    """Whether this process belongs to a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def survive_hangup(report: Callable[[str], None]) -> Iterator[None]:
    """Go on at a SIGHUP, which asks for new processes: a server of one process has none. It ends if its terminal was closed.

    Args:
        report: tells the operator.
    """
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup sets it
        yield
        return
    had_terminal = has_terminal()

    def handle(*_: object) -> None:
        if had_terminal and not has_terminal():
            signal.raise_signal(signal.SIGTERM)
        else:
            report(
                "SIGHUP starts new processes of a server with at least 2 workers. This one has 1: restart it instead."
            )

    before = signal.signal(signal.SIGHUP, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)

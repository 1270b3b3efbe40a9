"""Graceful end of a server: what a client has sent, or is about to send on a connection that was accepted, is answered."""

import asyncio
import socket

import uvicorn

__all__ = ["GracefulServer"]

_CLOSE_HEADER = (b"connection", b"close")
_LATE_SECONDS = 2.0  # for the first request of a connection that was accepted


class GracefulServer(uvicorn.Server):
    """A server that loses no request at its end.

    It accepts what waits at its socket, and then no more. Requests in progress are answered, with the header
    ``Connection: close``. A connection without a request gets two seconds to send one, since its client may be about to
    do so. An idle connection is closed if nothing has arrived on it; or, where other processes answer at the same
    address, after its next request.

    Attributes:
        is_replaced: whether other processes answer at the same address from now on.
    """

    is_replaced = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what has been sent, then end. Takes at most the time-out of the configuration."""
        for _ in range(3):  # turns of the loop, in which it accepts what waits at the socket and starts to read
            await asyncio.sleep(0)
        # In place, because a request in progress has this list.
        self.server_state.default_headers.append(_CLOSE_HEADER)
        for connection in self.server_state.connections:
            connection.prepare_end(_LATE_SECONDS, may_stay=self.is_replaced)  # type: ignore[union-attr]
        await super().shutdown(sockets)

"""TLS handshakes: how many are in progress, and how long one may take."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

__all__ = ["HandshakeProtocol", "Handshakes"]

_LIBRARY_SECONDS = 600.0  # of asyncio, which must not end a handshake before it is counted


class Handshakes:
    """The handshakes of a server, which are connections that do not speak HTTP yet.

    asyncio gives a handshake that does not end 60 seconds, and tells the server of no connection before it has ended. So a
    server that counts only connections has no limit against clients that open them and say nothing.

    Attributes:
        n_open: number of handshakes in progress.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        seconds: float,
        has_room: Callable[[int], bool],
        count_refused: Callable[[], None],
        count_ended: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            context: the certificate.
            seconds: how long a handshake may take.
            has_room: whether there may be another connection beside so many handshakes.
            count_refused: called for each connection for which there is no room.
            count_ended: called for each handshake that did not end in time.
        """
        self._context, self._seconds, self._has_room = context, seconds, has_room
        self._count_refused, self._count_ended = count_refused, count_ended
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def n_open(self) -> int:
        """Number of handshakes in progress."""
        return len(self._tasks)

    def begin(self, transport: asyncio.Transport, received: bytearray, protocol: asyncio.Protocol) -> None:
        """Begin the handshake of a connection, and give it to a protocol at its end; or close it.

        Args:
            transport: a connection that was accepted.
            received: what arrives on it before its protocol is that of TLS.
            protocol: what it speaks after the handshake.
        """
        if not self._has_room(self.n_open):
            self._count_refused()
            transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._make_connection(transport, received, protocol))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_connection(
        self, transport: asyncio.Transport, received: bytearray, protocol: asyncio.Protocol
    ) -> None:
        early = _EarlyData()
        handshake = asyncio.create_task(self._start_tls(transport, early))
        for _ in range(2):  # turns of the loop, after which TLS has the connection, and nothing more was read
            await asyncio.sleep(0)
        if received and not transport.is_closing():  # uvloop reads before a task begins
            _feed(transport.get_protocol(), received)
        try:
            async with asyncio.timeout(self._seconds):
                encrypted = await handshake
        except TimeoutError:
            self._count_ended()
            transport.abort()
            return
        except (OSError, asyncio.CancelledError):  # what it speaks is no TLS, or it has gone; an SSLError is an OSError
            transport.abort()
            return
        if encrypted is None or early.is_lost:
            return
        encrypted.set_protocol(protocol)
        protocol.connection_made(encrypted)
        if early.data:
            protocol.data_received(bytes(early.data))
        if early.has_ended:
            protocol.eof_received()

    async def _start_tls(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> asyncio.Transport | None:
        """The encrypted connection, or None if it has ended. Raises OSError if the handshake fails."""
        if transport.is_closing():  # uvloop would wait for the handshake of a client that has gone
            return None
        return await asyncio.get_running_loop().start_tls(
            transport, protocol, self._context, server_side=True, ssl_handshake_timeout=_LIBRARY_SECONDS
        )


class HandshakeProtocol(asyncio.Protocol):
    """A connection that begins with a handshake."""

    def __init__(self, handshakes: Handshakes, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """Prepare.

        Args:
            handshakes: those of the server.
            make_protocol: makes what the connection speaks afterwards.
        """
        self._handshakes, self._make_protocol = handshakes, make_protocol
        self._received = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake."""
        self._handshakes.begin(transport, self._received, self._make_protocol())

    def data_received(self, data: bytes) -> None:
        """Keep what arrives before the handshake begins."""
        self._received += data


class _EarlyData(asyncio.Protocol):
    """What arrives with the end of the handshake, before the protocol is told of the connection."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.has_ended = self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.has_ended = True
        return True

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True


def _feed(protocol: Any, received: bytearray) -> None:
    """Give a protocol with a buffer of its own, as that of TLS is, what has arrived before it had the connection."""
    while received:
        buffer = protocol.get_buffer(len(received))
        size = min(len(buffer), len(received))
        memoryview(buffer)[:size] = received[:size]
        del received[:size]
        protocol.buffer_updated(size)

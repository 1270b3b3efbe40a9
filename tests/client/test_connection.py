"""Connections of a client: one time limit for all of an answer, and connections that are used again."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from leanrec.client.connection import ConnectionPool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.contextmanager
def serve(handle: Callable[[socket.socket, int], None]) -> Iterator[ConnectionPool]:
    """A server that gives each connection, with its number, to a function."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    opened.append(connection)
                    threading.Thread(target=run, args=(connection, len(opened)), daemon=True).start()

        def run(connection: socket.socket, number: int) -> None:
            with contextlib.suppress(OSError):
                handle(connection, number)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        pool = ConnectionPool("127.0.0.1", listener.getsockname()[1], is_tls=False)
        try:
            yield pool
        finally:
            pool.close()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in opened:
                connection.close()


def ask(pool: ConnectionPool, seconds: float = 60.0) -> int:
    return pool.send("GET", "/", None, {}, seconds).status


def test_a_connection_is_used_again() -> None:
    def handle(connection: socket.socket, number: int) -> None:
        assert number == 1
        while connection.recv(10_000):
            connection.sendall(OK)

    with serve(handle) as pool:
        assert [ask(pool) for _ in range(3)] == [200] * 3


def test_a_connection_that_the_server_closed_is_replaced() -> None:
    def handle(connection: socket.socket, _: int) -> None:
        connection.recv(10_000)
        connection.sendall(OK)
        connection.close()

    with serve(handle) as pool:
        assert [ask(pool) for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(("sent", "drip"), [(b"", b""), (b"HTTP/1.1 200 OK\r\nX: ", b"a"), (OK[:-1], b"")])
def test_a_server_that_sends_byte_by_byte_or_nothing_is_given_up_in_time(sent: bytes, drip: bytes) -> None:
    def handle(connection: socket.socket, _: int) -> None:
        connection.recv(10_000)
        connection.sendall(sent)
        while True:
            connection.sendall(drip)
            time.sleep(0.02)

    with serve(handle) as pool:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(pool, 0.2)
        assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("sent", [b"garbage\r\n\r\n", OK[:-1], b""])
def test_what_is_no_answer_is_a_connection_error(sent: bytes) -> None:
    def handle(connection: socket.socket, _: int) -> None:
        connection.recv(10_000)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_RDWR)

    with serve(handle) as pool, pytest.raises(ConnectionError):
        ask(pool)


def test_an_answer_without_json_has_no_body() -> None:
    def handle(connection: socket.socket, _: int) -> None:
        connection.recv(10_000)
        connection.sendall(b"HTTP/1.1 502 Bad\r\nContent-Length: 3\r\nRetry-After: 7\r\n\r\n<p>")

    with serve(handle) as pool:
        assert pool.send("GET", "/", None, {}, 5) == (502, None, "7")


def test_threads_have_connections_of_their_own() -> None:
    both = threading.Barrier(2, timeout=10)

    def handle(connection: socket.socket, _: int) -> None:
        connection.recv(10_000)
        both.wait()
        connection.sendall(OK)

    with serve(handle) as pool:
        threads = [threading.Thread(target=ask, args=(pool,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        ask(ConnectionPool("127.0.0.1", port, is_tls=False))

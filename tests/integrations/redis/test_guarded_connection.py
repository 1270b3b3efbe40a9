"""A guarded connection answers in its time limit or fails, and comes back by itself."""

import contextlib
import os
import socketserver
import threading
import time

import pytest

from leanrec.errors import CacheError, SettingError
from leanrec.integrations.redis.guarded_connection import GuardedConnection, Script

pytestmark = pytest.mark.system


def wait_until(holds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def connected(connection: GuardedConnection) -> GuardedConnection:
    with contextlib.suppress(CacheError):
        connection.ask("PING")  # which starts the thread
    wait_until(lambda: connection.is_connected)
    return connection


def test_nothing_waits_for_the_first_connection(connect) -> None:
    with pytest.raises(CacheError) as failed:
        connect("redis://127.0.0.1:1").ask("PING")
    assert not failed.value.is_asked


def test_questions_commands_and_scripts(server, connect) -> None:
    connection = connect(server.url)
    double = connection.add_script(Script("return ARGV[1] * 2"))
    connected(connection)
    assert connection.ask("GET", "a") is None
    connection.tell("SET", "a", b"\r\n\x00")
    assert connection.flush(5)
    assert connection.ask("GET", "a") == b"\r\n\x00"
    assert connection.ask(*double.call("a", 21)) == 42


def test_a_refusal_is_an_error_that_harms_no_other_question(server, connect) -> None:
    connection = connected(connect(server.url))
    connection.tell("SET", "a", "1")
    connection.tell("HSET", "a", "field", "1")  # which is refused
    connection.tell("SET", "b", "2")
    assert connection.flush(5)
    with pytest.raises(CacheError, match="WRONGTYPE") as refused:
        connection.ask("HGET", "a", "field")
    assert refused.value.is_asked
    assert connection.ask("GET", "b") == b"2"


def test_scripts_that_the_server_has_lost_are_loaded_again(server, connect) -> None:
    connection = connect(server.url)
    one = connection.add_script(Script("return 1"))
    connected(connection)
    server.client.script_flush()
    with pytest.raises(CacheError, match="No matching script"):
        connection.ask(*one.call("a"))
    wait_until(lambda: connection.is_connected)
    assert connection.ask(*one.call("a")) == 1


def test_a_stopped_server_costs_one_time_limit_and_what_must_be_sent_is_sent_later(own_server, connect) -> None:
    told: list[str] = []
    connection = connected(connect(own_server.url, told.append, timeout_ms=50))
    own_server.stop()
    errors = []
    for _ in range(200):
        with pytest.raises(CacheError) as failed:
            connection.ask("GET", "a")
        errors.append(failed.value)
    assert [each.is_asked for each in errors] == [True] + [False] * 199
    assert not connection.is_connected
    connection.tell("SET", "lost", "1")
    connection.tell("SET", "kept", "1", is_duty=True)
    wait_until(lambda: told)
    assert "does not answer" in told[0]
    own_server.go_on()
    wait_until(lambda: connection.is_connected)
    assert connection.flush(5)
    assert connection.ask("MGET", "lost", "kept") == [None, b"1"]
    wait_until(lambda: len(told) == 2)
    assert "answers again" in told[1]


def test_a_server_that_ends_and_starts_again(own_server, connect) -> None:
    connection = connected(connect(own_server.url))
    own_server.kill()
    with pytest.raises(CacheError):
        connection.ask("GET", "a")
    own_server.start()
    wait_until(lambda: connection.is_connected)
    assert connection.ask("GET", "a") is None


def test_a_slow_server_is_left_alone_more_and_more() -> None:
    """Connections are made at once, and then every answer takes longer than the time limit."""
    asked: list[bytes] = []
    is_slow = threading.Event()

    class SlowServer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while content := self.request.recv(4096):
                asked.append(content)
                time.sleep(0.06 if is_slow.is_set() else 0)
                with contextlib.suppress(OSError):
                    self.request.sendall(b"+PONG\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SlowServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connection = connected(GuardedConnection(f"redis://127.0.0.1:{server.server_address[1]}", lambda _: None, 20))
        is_slow.set()
        with pytest.raises(CacheError, match="Timeout"):
            connection.ask("GET", "a")
        time.sleep(0.5)
        n_before = len(asked)
        time.sleep(0.3)
        assert len(asked) - n_before <= 4
        assert not connection.is_connected
        connection.close()
        server.shutdown()
        thread.join()


def test_a_late_answer_is_never_that_of_another_question(own_server, connect) -> None:
    connection = connected(connect(own_server.url, timeout_ms=50))
    connection.tell("MSET", "a", "1", "b", "2")
    assert connection.flush(5)
    for _ in range(3):
        own_server.stop()
        with pytest.raises(CacheError):
            connection.ask("GET", "a")
        own_server.go_on()
        wait_until(lambda: connection.is_connected)
        assert connection.ask("GET", "b") == b"2"


def test_a_defect_in_the_thread_is_told_and_not_the_end(server, connect, monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(GuardedConnection, "_connect", lambda _: 1 / 0)
    connection = connect(server.url, told.append)
    with pytest.raises(CacheError):
        connection.ask("PING")
    wait_until(lambda: len(told) > 1)
    assert "ZeroDivisionError" in told[0]
    monkeypatch.undo()
    wait_until(lambda: connection.is_connected)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_a_connection_of_its_own(server, connect) -> None:
    connection = connected(connect(server.url))
    child = os.fork()
    if not child:
        code = 1
        try:
            connected(connection)
            code = int(connection.ask("ECHO", "child") != b"child")
        finally:
            os._exit(code)
    answers = {connection.ask("ECHO", "parent") for _ in range(200)}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert answers == {b"parent"}


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"maxmemory": "0"}, "no limit of memory"),
        ({"maxmemory": "20mb", "maxmemory-policy": "noeviction"}, "noeviction"),
        ({"maxmemory": "20mb", "maxmemory-policy": "allkeys-lru"}, None),
    ],
)
def test_the_memory_of_the_server_is_looked_at(server, connect, limits: dict[str, str], problem: str | None) -> None:
    try:
        for name, value in limits.items():
            server.client.config_set(name, value)
        found = connect(server.url).find_problem()
    finally:
        server.client.config_set("maxmemory", "0")
    assert (found is None) if problem is None else problem in found


def test_wrong_urls_and_passwords(server, connect) -> None:
    wrong = ("localhost:port/0", ":pass/word@localhost:6379/0", "localhost/first", "localhost?retries=5")
    for url in (f"redis://{each}" for each in wrong):
        with pytest.raises(SettingError, match="%2F") as refused:
            GuardedConnection(url, print)
        assert "pass/" not in str(refused.value)
    server.client.config_set("requirepass", "secret")
    try:
        with pytest.raises(SettingError, match="password") as refused:
            connect(server.url.replace("//", "//:wrong@")).find_problem()
        assert "wrong@" not in str(refused.value)
        assert connect(server.url.replace("//", "//:secret@")).find_problem()
    finally:
        server.client.auth("secret")
        server.client.config_set("requirepass", "")
    assert "does not answer" in connect("redis://127.0.0.1:1/0").find_problem()

"""A PostgreSQL server for tests: on a free port, in a temporary folder, as a user without rights."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil


def find_programs() -> Path:
    """The folder of the server and its tools."""
    found = shutil.which("postgres")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian keeps them out of PATH
    folders += [Path(found).resolve().parent] if found else []
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_isready", "psql")):
            return folder
    raise RuntimeError("The tests need PostgreSQL: make test installs it, or apt-get install postgresql.")


class PostgresServer:
    """A server that can be stopped, paused and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._programs = folder, find_programs()
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        entry = names.get("postgres") or names["nobody"]
        self._identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
        if self._identity:
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--auth=trust", "--username=leanrec", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run_program("initdb", "--pgdata", str(folder / "data"), *options)
        self.start()

    def start(self) -> None:
        """Start, and return when it answers."""
        settings = {"fsync": "off", "shared_buffers": "16MB", "listen_addresses": "127.0.0.1"}
        settings["unix_socket_directories"] = str(self._folder)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            command = [
                str(self._programs / "postgres"),
                "-D",
                str(self._folder / "data"),
                "-p",
                str(self.port),
                *options,
            ]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self._folder, **self._identity
            )
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(400):
            if subprocess.run(ready).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "log").read_text())

    def stop(self) -> None:
        """Stop at once, as if it had crashed."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """It is stopped, and started again at the end."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """All its processes stand still: connections are accepted by the kernel, and nothing is answered."""
        main = psutil.Process(self._process.pid)
        stopped = [main, *main.children(recursive=True)]
        for each in stopped:
            each.suspend()
        try:
            yield
        finally:
            for each in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):  # its client is gone
                    each.resume()

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"log_{uuid.uuid4().hex[:12]}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://leanrec@127.0.0.1:{self.port}/{name}"

    def query(self, url: str, statement: str) -> str:
        """The answer to a statement, as text."""
        database = url.rpartition("/")[2]
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "leanrec", "-d", database, "-At", "-c", statement]
        return self._run_program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *options)

    @contextlib.contextmanager
    def holding(self, url: str, statement: str) -> Iterator[None]:
        """Another program is in a transaction that has done this statement."""
        database = url.rpartition("/")[2]
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "leanrec", "-d", database, "-X", "-q", "-At"]
        program = str(self._programs / "psql")
        with subprocess.Popen([program, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdin.write(f"BEGIN; {statement}; SELECT 'held';\n")
            other.stdin.flush()
            while "held" not in other.stdout.readline():
                pass
            yield
            other.stdin.write("ROLLBACK;\n")

    def _run_program(self, name: str, *options: str) -> str:
        done = subprocess.run(
            [str(self._programs / name), *options], capture_output=True, text=True, cwd=self._folder, **self._identity
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()


@contextlib.contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """A running server; its folder is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="leanrec-postgres-"))
    server = None
    try:
        server = PostgresServer(folder)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)

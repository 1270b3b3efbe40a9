"""Logs of web servers: one request in each line."""

from pathlib import Path

import pytest

from leanrec.data.ingest.forms.programs.server_logs import find_request_names
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import ColumnError

COMMON = '10.0.0.{n} - {user} [01/May/2023:08:00:{n:02d} +0000] "GET /p/{n}?q=a%20b HTTP/1.1" 200 {size}'
TAIL = ' "https://shop.example/a, b" "Mozilla/5.0 (X11; \\"x\\")"'
TIMES = [1_682_928_000 + n for n in range(3)]


def write_log(path: Path, users: list[str], tail: str = "") -> Path:
    lines = [COMMON.format(n=n, user=user, size="-" if n else 7) + tail for n, user in enumerate(users)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("tail", ["", TAIL, TAIL + " 0.003 x"])
@pytest.mark.parametrize("server", ["", "shop.example:443 "])
def test_a_request_is_an_event_of_its_user(tmp_path: Path, tail: str, server: str) -> None:
    path = write_log(tmp_path / "access.log", ["ann", "Bob Lee", "ann"], tail)
    path.write_text("".join(f"{server}{line}\n" for line in path.read_text().splitlines()))
    data, report = ingest(path)
    assert data.users.ids[data.events.user].tolist() == ["Bob Lee", "ann", "ann"]
    assert data.items.ids[data.events.item].tolist() == ["/p/1?q=a%20b", "/p/0?q=a%20b", "/p/2?q=a%20b"]
    assert data.events.time.tolist() == [TIMES[1], TIMES[0], TIMES[2]]
    assert "each line was read as a request to a web server" in " ".join(report.warnings)


def test_requests_without_users_need_one(tmp_path: Path) -> None:
    path = write_log(tmp_path / "access.log", ["-", "-", "-"])
    with pytest.raises(
        ColumnError, match=r'no user column.*columns=\{"user": "COLUMN"\}, where COLUMN is one of \'host\''
    ):
        ingest(path)
    assert ingest(path, columns={"user": "host"}).data.users.ids.tolist() == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]


def test_a_line_that_is_no_request_is_rejected(tmp_path: Path) -> None:
    path = write_log(tmp_path / "access.log", ["ann"] * 30)
    path.write_text(path.read_text() + "segfault\n")
    assert ingest(path).report.rejected == {"unreadable line": 1}


def test_other_lines_are_no_requests() -> None:
    assert find_request_names(["1 2 3", 'a - b "GET"']) == ()

"""Lines of pairs of keys and values, and query strings."""

from pathlib import Path

import pytest

from leanrec.data.ingest.forms.programs.key_values import find_keys
from leanrec.data.ingest.ingest import ingest

STAMPS = ["2024-03-13T13:05:00Z", "2024-03-13T13:05:07Z", "2024-03-14T00:00:00Z"]
SECONDS = [1_710_335_100, 1_710_335_107, 1_710_374_400]


@pytest.mark.parametrize(
    "line",
    [
        'ts={t} level=info msg="product viewed, again" user_id={u} product_id={i}',
        "{t} INFO [shop] event=view user={u} item={i}",
        "user={u},item={i},time={t}",
        "user_id={u}&item_id={i}&ts={t}",
    ],
)
def test_a_line_of_pairs_is_an_event(tmp_path: Path, line: str) -> None:
    users, items = ["ann", "bob", "ann"], ["i1", "i2", "i3"]
    path = tmp_path / "app.log"
    path.write_text("".join(line.format(t=t, u=u, i=i) + "\n" for t, u, i in zip(STAMPS, users, items, strict=True)))
    data, report = ingest(path)
    assert data.users.ids[data.events.user].tolist() == ["ann", "ann", "bob"]
    assert data.items.ids[data.events.item].tolist() == ["i1", "i3", "i2"]
    assert data.events.time.tolist() == [SECONDS[0], SECONDS[2], SECONDS[1]]
    assert "each line was read as pairs of a key and a value" in " ".join(report.warnings)


def test_query_strings_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "beacon.log"
    path.write_text("user_id=a%40b.example&item_id=Red+Mug%2C+large&v=100%\nuser_id=c&item_id=Oak&v=\n")
    data, _ = ingest(path)
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == (["a@b.example", "c"], ["Oak", "Red Mug, large"])


@pytest.mark.parametrize(
    "lines",
    [
        ["user,item,url", "1,2,https://x.example/?user_id=1&item_id=2"],
        ["ts=1 level=info", "ts=2 level=warn"],
        ["user_id=1 item_id=2", "started", "stopped"],
        [],
    ],
)
def test_other_lines_are_no_pairs(lines: list[str]) -> None:
    assert find_keys(lines) == ()

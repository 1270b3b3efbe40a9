"""JSON behind other text: the objects are read, and the time before them where they have none."""

import gzip
import json
from pathlib import Path

import pytest

from contracts.followed_advice import list_pairs, run_command
from leanrec.data.ingest.forms.programs.prefixed_json import find_objects
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

EVENTS = [("u7", "i12", 1_600_000_000), ("u7", "i13", 1_600_000_060), ("u8", "i12", 1_600_000_120)]
STAMPS = ["2020-09-13T12:26:40", "2020-09-13T12:27:40", "2020-09-13T12:28:40"]
PAIRS = [each[:2] for each in EVENTS]


def write_lines(prefix: str, *, time: bool = False, literal: bool = False, end: str = "\n") -> str:
    lines = []
    for (user, item, seconds), stamp in zip(EVENTS, STAMPS, strict=True):
        record = {"user_id": user, "item_id": item} | ({"ts": seconds} if time else {})
        lines.append(prefix.format(stamp=stamp) + (str(record) if literal else json.dumps(record)) + end)
    return "".join(lines)


@pytest.mark.parametrize(
    ("prefix", "options"),
    [
        ("Mar  1 12:00:00 web1 shop[123]: ", {}),
        ("<165>1 {stamp}Z web shop 1 ID47 - ", {}),
        ("{stamp} INFO event ", {}),
        ("{stamp}.123456789Z stdout F ", {"end": "\r\n"}),
        ("web_1  | ", {}),
        ("09-13 12:26:40.123  1234  1234 I Shop: ", {}),
        ("data: ", {"end": "\n\n"}),
        ("\x1e", {}),
        ("{stamp},123 - shop.events - INFO - ", {"literal": True}),
    ],
)
def test_objects_are_read(tmp_path: Path, prefix: str, options: dict[str, object]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(write_lines(prefix, time=True, **options), newline="")  # type: ignore[arg-type]
    result = ingest(path)
    assert [each[:2] for each in list_pairs(result)] == PAIRS
    assert result.data.events.time.tolist() == [each[2] for each in EVENTS]
    assert any("before the JSON object of each line was left out" in each for each in result.report.warnings)


@pytest.mark.parametrize("literal", [False, True])
def test_the_time_before_them_is_theirs(tmp_path: Path, *, literal: bool) -> None:
    path = tmp_path / "log.txt.gz"
    path.write_bytes(gzip.compress(write_lines("web {stamp}Z INFO ", literal=literal).encode()))
    result = ingest(path)
    assert result.data.events.time.tolist() == [each[2] for each in EVENTS]


def test_lines_without_an_object_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(write_lines("{stamp}Z INFO ") * 4 + "2020-09-13T12:29:00Z the end\n")
    result = ingest(path)
    assert dict(result.report.rejected)["unreadable line"] == 1
    assert result.report.rows_read == 13


def test_few_objects_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a b.log"
    path.write_text("INFO worker started\n" * 9 + write_lines("{stamp}Z INFO "))
    with pytest.raises(SourceError, match="JSON objects in 3 of its first 12 lines") as refusal:
        ingest(path)
    assert [each[:2] for each in list_pairs(ingest(run_command(str(refusal.value), tmp_path)))] == PAIRS


@pytest.mark.parametrize("mark", ["\t", ",", "; ", "|"])
def test_objects_in_cells_are_those_of_a_table(mark: str) -> None:
    assert find_objects([f'u7{mark}{{"user_id": 1, "item_id": 2}}']) == [None]


def test_a_key_before_the_object_stays_a_column(tmp_path: Path) -> None:
    path = tmp_path / "topic.txt"
    path.write_text("".join(f'{user}\t{{"item_id": "{item}"}}\n' for user, item, _ in EVENTS))
    assert [each[:2] for each in list_pairs(ingest(path, columns={"user": "1"}))] == PAIRS

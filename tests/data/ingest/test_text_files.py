"""Text in other encodings."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from leanrec.data.ingest import text_files
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SettingError, SourceError

LOG = "user,item,title\nu1,i1,café\nu2,ü,naïve\nu3,i1,café\n"
CHINESE = "user,item,title\n张三,书一,红楼梦\n李四,书二,西游记\n"


def write(path: Path, text: str, encoding: str) -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def titles(source: Any, **options: Any) -> list[str]:
    table = ingest(source, **options).data.item_table
    assert table is not None
    return sorted(table.columns["title"].tolist())


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("latin-1", LOG, ["café", "naïve"]),
        ("utf-16", LOG, ["café", "naïve"]),
        ("gbk", CHINESE, ["红楼梦", "西游记"]),
        ("utf-8-sig", CHINESE, ["红楼梦", "西游记"]),
    ],
)
def test_a_named_encoding_is_read(tmp_path: Path, encoding: str, text: str, expected: list[str]) -> None:
    assert titles(write(tmp_path / "log.csv", text, encoding), encoding=encoding) == expected


def test_blocks_may_end_inside_a_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "_BLOCK", 7)
    assert titles(write(tmp_path / "log.csv", CHINESE, "gbk"), encoding="gbk") == ["红楼梦", "西游记"]


def test_packed_files_json_tables_and_several_files_are_read_too(tmp_path: Path) -> None:
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(LOG.encode("cp1252")))
    assert titles(packed, encoding="cp1252") == ["café", "naïve"]
    lines = write(tmp_path / "log.jsonl", '{"user": "a", "item": "x", "title": "café"}\n', "cp1252")
    assert titles(lines, encoding="cp1252") == ["café"]
    bare = write(tmp_path / "bare.csv", "user,item\na,x\nb,ü\n", "cp1252")
    table = write(tmp_path / "items.csv", "item,title\nx,café\nü,naïve\n", "cp1252")
    assert titles(bare, items=table, encoding="cp1252") == ["café", "naïve"]
    (tmp_path / "two").mkdir()
    parts = [write(tmp_path / "two" / f"{i}.csv", LOG, "cp1252") for i in range(2)]
    assert ingest(parts, encoding="cp1252").data.shape.users == 3


def test_parquet_has_no_encoding(tmp_path: Path) -> None:
    from leanrec.data.datasets.bundled import sample_path

    file = sample_path("ml-latest-small") / "ratings.parquet"
    assert ingest(file, encoding="gbk").data.shape.events == ingest(file).data.shape.events


def test_a_wrong_encoding_names_file_line_and_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "log.csv", LOG, "latin-1")
    wanted = rf"{path}, line 2: byte 0xe9 is not valid in utf-8\. Pass the encoding of the file as encoding=NAME"
    with pytest.raises(SourceError, match=wanted):
        ingest(path, encoding="utf-8")
    monkeypatch.setattr(text_files, "_BLOCK", 5)
    with pytest.raises(SourceError, match=wanted):
        ingest(path, encoding="utf-8")


def test_without_a_name_the_message_names_the_option(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", LOG, "latin-1")
    assert "(the first is line 2). If that is wrong, pass encoding=NAME" in ingest(path).report.warnings[0]
    with pytest.raises(SourceError, match="is UTF-16 text. Pass encoding='utf-16'"):
        ingest(write(tmp_path / "wide.csv", LOG, "utf-16"))


@pytest.mark.parametrize("name", ["klingon", "base64", ""])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match=r"encoding must be a text encoding of Python, such as cp1252"):
        ingest(write(tmp_path / "log.csv", LOG, "utf-8"), encoding=name)


def test_what_cannot_be_unpacked_here_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(SourceError, match="Unpack the .zst file first"):
        ingest(path, encoding="gbk")

"""Folders, patterns and partitions."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.ingest.forms.folders import find_files, natural_key
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

LOG = "user,item\na,x\nb,y\n"


def write(path: Path, text: str = LOG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_parts_come_in_natural_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in (
        "part-10.csv",
        "part-2.csv",
        ".part-1.csv",
        "_tmp.csv",
        ".cache/a.csv",
        "_delta_log/b.csv",
        "z/part-1.csv",
    ):
        write(tmp_path / name)
    (tmp_path / "_SUCCESS").touch()
    found = [each.path.relative_to(tmp_path).as_posix() for each in find_files(tmp_path)]
    assert found == ["part-2.csv", "part-10.csv", "z/part-1.csv"]
    assert sorted(["a10", "a9", "a"], key=natural_key) == ["a", "a9", "a10"]
    # The folder itself may be hidden.
    assert len(find_files(tmp_path / ".cache")) == 1


def test_parts_may_have_no_suffix(tmp_path: Path) -> None:
    for name in ("part-00000", "part-00001", "_SUCCESS", "notes"):
        write(tmp_path / name)
    assert [each.path.name for each in find_files(tmp_path)] == ["part-00000", "part-00001"]


def test_a_path_is_the_named_file_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a[1].csv", "user,item\nright,x\n")
    write(tmp_path / "a1.csv", "user,item\nwrong,x\n")
    write(tmp_path / "log*.csv", "user,item\nright,x\n")
    write(tmp_path / "log1.csv", "user,item\nwrong,x\n")
    write(tmp_path / "what?.jsonl", '{"user": "right", "item": 1}\n')
    write(tmp_path / "whatx.jsonl", '{"user": "wrong", "item": 1}\n')
    pd.DataFrame({"user": ["right"], "item": [1]}).to_parquet(tmp_path / "p[1].parquet")
    pd.DataFrame({"user": ["wrong"], "item": [1]}).to_parquet(tmp_path / "p1.parquet")
    for name in ("a[1].csv", "log*.csv", "what?.jsonl", "p[1].parquet"):
        assert ingest(tmp_path / name).data.users.ids.tolist() == ["right"]
    assert len(find_files(tmp_path / "lo?1.csv")) == 1
    with pytest.raises(SourceError, match="No file matches"):
        find_files(tmp_path / "none*.csv")


def test_folders_that_are_partitions_become_columns(tmp_path: Path) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        for event in ("view", "purchase"):
            write(tmp_path / f"date={day}" / f"event={event}" / "part-0.csv")
    for source in (tmp_path, f"{tmp_path}/date=*/*/*.csv"):
        report = ingest(source).report
        assert {name: kind["events"] for name, kind in report.event_types.items()} == {"purchase": 4, "view": 4}
        assert str(report.start).startswith("2026-01-01")
        assert "The names of folders became columns: date, event." in report.warnings
    roles = next(iter(ingest(tmp_path / "date=2026-01-01").report.columns.values()))
    assert roles["event_type"] == "event"


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_folders_above_a_file_are_no_partitions(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "user=5" / "country=de%20at"
    folder.mkdir(parents=True)
    frame = pd.DataFrame({"user": [1, 2], "item": [3, 4]})
    if form == "csv":
        frame.to_csv(folder / "log.csv", index=False)
    elif form == "parquet":
        frame.to_parquet(folder / "log.parquet")
    else:
        frame.to_json(folder / "log.jsonl", orient="records", lines=True)
    assert ingest(folder / f"log.{form}").data.users.ids.tolist() == [1, 2]
    # Nor do they replace a column of the file.
    data = ingest(tmp_path, columns={"content": "country"}).data
    assert data.users.ids.tolist() == [1, 2]
    assert data.item_table is not None
    assert data.item_table.columns["country"].tolist() == ["de at", "de at"]


def test_empty_parts_are_skipped_and_told(tmp_path: Path) -> None:
    write(tmp_path / "part-0.csv")
    write(tmp_path / "part-1.csv", "")
    write(tmp_path / "part-2.csv", "\n")
    (tmp_path / "part-3.csv.gz").write_bytes(gzip.compress(b""))
    report = ingest(tmp_path).report
    assert report.events == 2
    assert report.warnings[0].startswith("3 files have no content and did not count: ")
    write(tmp_path / "part-0.csv", "")
    with pytest.raises(SourceError, match="has files without content only"):
        ingest(tmp_path)


def test_parts_that_split_wrote_have_the_names_of_the_first(tmp_path: Path) -> None:
    write(tmp_path / "part-0.csv", "user,item,note\na,x,p\n")
    write(tmp_path / "part-1.csv", "b,y,q\nc,z,r\n")
    data, report = ingest(tmp_path)
    assert data.users.ids.tolist() == ["a", "b", "c"]
    assert any(
        "part-1.csv has no names in its first line; its columns are those of part-0.csv" in each
        for each in report.warnings
    )


@pytest.mark.parametrize(
    ("mark", "name"),
    [
        ("_delta_log/0.json", "Delta Lake"),
        (".hoodie/hoodie.properties", "Apache Hudi"),
        ("metadata/1.metadata.json", "Apache Iceberg"),
    ],
)
def test_a_table_with_earlier_versions_is_no_folder_of_parts(tmp_path: Path, mark: str, name: str) -> None:
    table = tmp_path / "lake" / "ratings"
    write(table / "data" / "part-0.csv")
    assert len(find_files(table)) == 1
    write(table / mark, "{}")
    for path in (table, tmp_path / "lake", table / "data"):
        with pytest.raises(SourceError, match=f"is a table of {name}: its files hold removed rows too"):
            find_files(path)


def test_parts_of_one_row_have_no_names(tmp_path: Path) -> None:
    write(tmp_path / "part-0.csv", "user,item,action\n[a],[x],click\n")
    for i in (1, 2):
        write(tmp_path / f"part-{i}.csv", f"[b{i}],[y],click\n")
    data = ingest(tmp_path).data
    assert data.users.ids.tolist() == ["[a]", "[b1]", "[b2]"]


@pytest.mark.parametrize(
    "names",
    [
        ("part-r-00000", "part-r-00001"),
        ("000000_0", "000001_0_copy_1"),
        ("0000_part_00", "0001_part_00"),
        ("unload_0000_part_00.gz", "unload_0001_part_00.gz"),
        ("data.csv.gz.1", "data.csv.gz.2"),
        ("log.csv.2024-01-30", "log.csv.2024-01-31"),
        ("log.csv", "log.csv.1"),
        ("events-1.dat", "events-2.dat"),
        ("20240131_1200_1a_7f3c-9b", "20240131_1200_1a_02de-4f"),
    ],
)
def test_parts_of_other_programs_are_read(names: tuple[str, str], tmp_path: Path) -> None:
    for name, user in zip(names, "ab", strict=True):
        data = f"{user}|x\n{user}|y\n{user}|z\n".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if "gz" in name else data)
    (tmp_path / "README").write_text("about")
    (tmp_path / "unload_manifest" if "unload" in names[0] else tmp_path / "manifest").write_text('{"entries": []}')
    assert ingest(tmp_path, names="user,item").data.users.ids.tolist() == ["a", "b"]


def test_a_folder_of_unlike_files_is_refused_with_their_names(tmp_path: Path) -> None:
    write(tmp_path / "u.data")
    write(tmp_path / "u.item", "1|Heat\n")
    (tmp_path / "u.item").rename(tmp_path / "u.genre")
    with pytest.raises(SourceError, match="It has: u.data, u.genre. Pass the file that is the log"):
        find_files(tmp_path)

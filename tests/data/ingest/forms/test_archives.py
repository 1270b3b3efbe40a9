"""Packed files and archives are unpacked, and told."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import BudgetError, SourceError

LOG = b"user,item\n1,2\n1,3\n2,3\n"


def read(path: Path) -> tuple[int, str]:
    report = ingest(path).report
    return report.events, " ".join(report.warnings)


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress), (".gz", gzip.compress)])
def test_packed_files_are_read_under_any_name(suffix: str, pack, tmp_path: Path) -> None:
    for name in (f"log.csv{suffix}", "log.csv"):
        (tmp_path / name).write_bytes(pack(LOG))
        events, notes = read(tmp_path / name)
        assert events == 3
        assert ("was unpacked to a temporary file" in notes) == (suffix != ".gz")


def test_an_archive_of_one_table_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("ml/README.txt", "about")
        archive.writestr("__MACOSX/ml/._part-1.csv", "x")
        archive.writestr("ml/part-10.csv", LOG)
        archive.writestr("ml/part-2.csv", LOG)
    events, notes = read(tmp_path / "log.zip")
    assert events == 6
    assert "log.zip was unpacked to a temporary file of 44 B" in notes
    (tmp_path / "log.csv").write_bytes(LOG)
    for name in ("log.tar", "log.tar.gz", "log.tgz", "log.tar.xz"):
        with tarfile.open(tmp_path / name, "w:" + {"log.tar": "", "log.tar.xz": "xz"}.get(name, "gz")) as tar:
            tar.add(tmp_path / "log.csv", "../log.csv")
        assert read(tmp_path / name)[0] == 3


def test_an_archive_of_several_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("movies.csv", LOG)
        archive.writestr("ratings.csv", LOG)
    with pytest.raises(SourceError, match="must have one table.*It has movies.csv, ratings.csv. Unpack it"):
        ingest(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", "about")
    with pytest.raises(SourceError, match="has no file with data"):
        ingest(path)


def test_damage_and_full_disks_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.csv.bz2").write_bytes(bz2.compress(LOG * 100)[:40])
    with pytest.raises(SourceError, match="cannot be unpacked"):
        ingest(tmp_path / "log.csv.bz2")
    (tmp_path / "log.csv.xz").write_bytes(lzma.compress(LOG))

    def full(engine: SqlEngine, size: int, what: str) -> None:
        raise BudgetError(f"{what} needs disk")

    monkeypatch.setattr(SqlEngine, "check_disk", full)
    with pytest.raises(BudgetError, match="needs disk"):
        ingest(tmp_path / "log.csv.xz")

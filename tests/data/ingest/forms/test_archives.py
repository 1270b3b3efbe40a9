"""Packed files and archives are unpacked, and told."""

import bz2
import gzip
import io
import lzma
import re
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


ITEMS = b"item,title\n2,Heat\n3,Alien\n"


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("name", ["ml.zip", "ml.tar.gz"])
def test_the_log_and_the_tables_of_an_archive_are_found_or_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_archive(path, {"ml/README.txt": b"about", "ml/films.csv": ITEMS, "ml/ratings.csv": LOG})
    data, report = ingest(path, items=path / "ml/films.csv")
    assert (data.users.ids.tolist(), data.items.ids.tolist()) == ([1, 2], [2, 3])
    assert f"{path}: ml/ratings.csv was read, and not ml/films.csv" in " ".join(report.warnings)
    for read in (data, ingest(path, items=path).data):
        assert read.item_table is not None
        assert read.item_table.columns["title"].tolist() == ["Heat", "Alien"]
    with pytest.raises(
        SourceError, match="has no member 'ml/plays.csv'. It has: ml/README.txt, ml/films.csv, ml/ratings.csv"
    ):
        ingest(path / "ml/plays.csv")
    # The advice of the refusal works.
    write_archive(path, {"views.csv": LOG, "sales.csv": LOG})
    with pytest.raises(SourceError, match=rf"such as '(.*{name}/views.csv)'") as refused:
        ingest(path)
    advised = re.findall("'([^']+)'", str(refused.value))[0]
    assert ingest({"view": advised, "purchase": path / "sales.csv"}).report.events == 6


def test_a_dump_may_be_in_an_archive(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.zip", {"shop.sql": b"INSERT INTO log (user, item) VALUES (1, 2), (1, 3);\n"})
    assert read(tmp_path / "x.zip")[0] == 2


def test_an_archive_without_data_and_a_path_below_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ml.zip"
    write_archive(path, {"README.md": b"about"})
    with pytest.raises(SourceError, match="has no file with data"):
        ingest(path)
    (tmp_path / "log.csv").write_bytes(LOG)
    with pytest.raises(SourceError, match=r"log.csv/x.csv does not exist: .*log.csv is a file that holds no others"):
        ingest(tmp_path / "log.csv/x.csv")


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


def test_documents_of_open_office_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", "<office:document-content/>")
    with pytest.raises(SourceError, match=r"document of OpenOffice.*as CSV, or as \.xlsx.*pandas\.read_excel"):
        ingest(tmp_path / "log.ods")

"""Binary files are named by their first bytes, and pickles in each protocol."""

import pickle
from pathlib import Path

import pytest

from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError


def write_record(example: bytes) -> bytes:
    """One TensorFlow record: length, its checksum, the bytes, theirs."""
    return len(example).to_bytes(8, "little") + b"abcd" + example + b"efgh"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64\0", "MATLAB file of version 7.3, which is HDF5.*h5py.File"),
        (b"A\n3\n262146\n", r"is an R object.*readRDS\('"),
        (b"RDA3\nA\n3\n", "is an R workspace"),
        (b"$FL3@(#) SPSS DATA FILE\0", r"is an SPSS file.*read_spss\('"),
        (b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!", r"SAS transport file.*read_sas\('.*format='xport'"),
        (b"\0\1\0\0Standard ACE DB\0", "is an Access database.*mdb-export"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive, not a log. Unpack it: 7z x '"),
        (write_record(b"\x0a\x08abcdefgh"), "a file of TensorFlow records.*TFRecordDataset"),
        *((pickle.dumps({"u": [1, 2]}, protocol), "is a pickle, which may run code") for protocol in range(6)),
        (pickle.dumps([1, 2], 0), "is a pickle"),
        (b"cpandas.core.frame\nDataFrame\np0\n(", "is a pickle"),
    ],
)
def test_binary_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a log.bin"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says):
        ingest(path)


def test_columns_of_text_are_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("city,user,item\np0,a,x\n(a,b,y\n")
    assert len(ingest(path).data.events) == 2

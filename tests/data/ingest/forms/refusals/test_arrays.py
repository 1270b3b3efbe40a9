"""Files of arrays: the call that the message advises, with the names that a user knows, reads the events."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from contracts.followed_advice import list_pairs, run_call
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SourceError

USERS, ITEMS, RATINGS = np.array([7, 7, 8, 9]), np.array([12, 13, 12, 14]), np.array([5, 1, 4, 2])
TABLE = np.stack([USERS, ITEMS, RATINGS], axis=1)
SPARSE = scipy.sparse.coo_array((RATINGS, (USERS, ITEMS)))
PAIRS = [("7", "12"), ("7", "13"), ("8", "12"), ("9", "14")]


def save_records(path: Path) -> None:
    np.save(path, np.rec.fromarrays([USERS, ITEMS], names="user,item"))


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a b.npy", lambda path: np.save(path, TABLE)),
        ("a.npy", save_records),
        ("wide.npy", lambda path: np.save(path, SPARSE.toarray())),
        ("a.npz", lambda path: np.savez(path, user=USERS, item=ITEMS)),
        ("one.npz", lambda path: np.savez(path, TABLE)),
        ("csr.npz", lambda path: scipy.sparse.save_npz(path, SPARSE.tocsr())),
        ("table.mat", lambda path: scipy.io.savemat(path, {"rating": TABLE})),
        ("columns.mat", lambda path: scipy.io.savemat(path, {"user": USERS, "item": ITEMS})),
        ("sparse.mat", lambda path: scipy.io.savemat(path, {"R": SPARSE.tocsc()})),
        ("wide.mat", lambda path: scipy.io.savemat(path, {"R": SPARSE.toarray()})),
    ],
)
def test_the_call_reads_the_events(tmp_path: Path, name: str, save: Callable[[Path], None]) -> None:
    path = tmp_path / name
    save(path)
    with pytest.raises(SourceError, match=r"not a log\. .*ass (it|them|its arrays) in Python") as refusal:
        ingest(path)
    result = run_call(str(refusal.value), user="user", item="item")
    assert sorted(each[:2] for each in list_pairs(result)) == PAIRS


def test_names_of_arrays_are_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", uid=USERS, sku=ITEMS)
    with pytest.raises(SourceError, match="where NAME is one of uid, sku"):
        ingest(tmp_path / "x.npz")
    scipy.io.savemat(tmp_path / "x.mat", {"uid": USERS, "sku": ITEMS})
    with pytest.raises(SourceError, match="where NAME is one of uid, sku"):
        ingest(tmp_path / "x.mat")


def test_arrays_that_are_no_table_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"user": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match="has Python objects, which may run code"):
        ingest(tmp_path / "x.npy")
    (tmp_path / "cut.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(SourceError, match=re.escape("where arrays.keys() has the names")):
        ingest(tmp_path / "cut.mat")

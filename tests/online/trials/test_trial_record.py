"""Trial record: what processes add is what a later one reads."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leanrec.errors import ArtifactError
from leanrec.online.trials.trial_record import TrialRecord, TrialUser


@pytest.fixture
def record(tmp_path: Path) -> TrialRecord:
    """A record that is not there yet."""
    return TrialRecord(tmp_path / "trials" / "salt.db")


def _end_soon(record: TrialRecord) -> None:
    """Note the start of a process that ends without another word."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom leanrec.online.trials.trial_record import TrialRecord\n"
        "TrialRecord(Path(sys.argv[1])).note_start()\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(record.path)], check=False)


def test_totals_are_added_and_the_larger_counts_of_a_user_stay(record: TrialRecord) -> None:
    assert record.read() == ({}, [])
    assert record.count_lists() == {}
    ada = TrialUser(9, is_candidate=False, lists=2, rewards=0, has_failed=False)
    ben = TrialUser(-4, is_candidate=True, lists=1, rewards=0, has_failed=True)
    record.add({"lists control": 3.0, "failures gain 0.1": -0.25}, [ada])
    record.add({"lists control": 2.0, "lists candidate": 1.0}, [ben, ada._replace(lists=1, rewards=7)])
    totals, users = record.read()
    assert totals == {"lists control": 5.0, "lists candidate": 1.0, "failures gain 0.1": -0.25}
    assert users == [ada._replace(rewards=7), ben]  # in the order of their arrival
    assert record.count_lists() == {"lists control": 5, "lists candidate": 1, "users control": 1, "users candidate": 1}


def test_a_file_that_is_no_record_is_refused(record: TrialRecord) -> None:
    record.path.parent.mkdir()
    record.path.write_bytes(b"no database, but long enough to be read as one" * 40)
    for act in (record.read, record.count_lists, record.note_start, lambda: record.add({"n": 1.0}, [])):
        with pytest.raises(ArtifactError, match="Stop the trial, and start it again"):
            act()


def test_processes_that_end_soon_after_their_start_are_counted(
    record: TrialRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, n_ended = record.note_start()
    assert n_ended == 0
    record.forget_start(first)
    now = time.time()
    for seconds in (100.0, 99.5, 50.0):  # the first two are workers that started together
        monkeypatch.setattr(time, "time", functools.partial(float, now - seconds))
        monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # no process has the number
        record.note_start()
        monkeypatch.undo()
    assert record.note_start()[1] == 2
    assert record.note_start()[1] == 3  # a process with the number of this one, as in a container


def test_a_process_that_was_killed_has_ended(record: TrialRecord) -> None:
    _end_soon(record)
    assert record.note_start()[1] == 1

"""Attempts: what was tried stays in the store, and one refit runs at a time."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from leanrec.errors import ArtifactError, ConflictError
from leanrec.online.refits.attempts import Attempt, AttemptFile

NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


def test_attempts_are_kept_in_order(tmp_path: Path) -> None:
    file = AttemptFile(tmp_path)
    assert file.read() == ()
    assert file.find_last() is None
    first = file.start("abc", NOW)
    assert first == Attempt("2026-05-01T12:30:00.000+00:00", "abc")
    assert file.find_last() == NOW
    file.finish(Attempt(first.started, "abc", "proposed", "better", "def"))
    second = file.start("abc")
    assert [each.outcome for each in AttemptFile(tmp_path).read()] == ["proposed", "unfinished"]
    assert file.read()[-1] == second


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    for text in ("[", '[{"wrong": 1}]', "3"):
        (tmp_path / "refits.json").write_text(text)
        with pytest.raises(ArtifactError, match="Remove it"):
            AttemptFile(tmp_path).read()


def test_one_refit_at_a_time_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / ".refit-99999999").mkdir()  # left by a crash
    with AttemptFile(tmp_path).lock() as staging:
        staging.mkdir()
        with pytest.raises(ConflictError, match="under way"), AttemptFile(tmp_path).lock():
            pass
    assert [each.name for each in tmp_path.iterdir()] == [".refit-lock"]
    with AttemptFile(tmp_path).lock():
        pass

"""Artifacts whose arrays are mapped: linked when saved, mapped when loaded, verified all the same."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from leanrec import artifacts
from leanrec.errors import ArtifactError
from leanrec.types import Candidates


def value(scores: np.ndarray) -> Candidates:
    return Candidates(items=np.zeros(scores.shape, np.int32), scores=scores)


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    np.save(tmp_path / "scores.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    return np.load(tmp_path / "scores.npy", mmap_mode="r")


def test_a_whole_mapped_file_is_linked(mapped: np.memmap, tmp_path: Path) -> None:
    saved = artifacts.save(value(mapped), tmp_path / "a", link_from=tmp_path)
    assert (saved / "value.scores.npy").samefile(tmp_path / "scores.npy")
    np.testing.assert_array_equal(artifacts.load(saved).scores, mapped)


@pytest.mark.parametrize("cut", [np.s_[1:], np.s_[:, ::2], np.s_[::-1], np.s_[:2]], ids=str)
def test_a_part_of_a_mapped_file_is_written_out(cut: object, mapped: np.memmap, tmp_path: Path) -> None:
    saved = artifacts.save(value(mapped[cut]), tmp_path / "a", link_from=tmp_path)
    np.testing.assert_array_equal(artifacts.load(saved).scores, np.asarray(mapped[cut]))


def test_a_mapping_of_another_folder_is_written_out(mapped: np.memmap, tmp_path: Path) -> None:
    saved = artifacts.save(value(mapped), tmp_path / "a", link_from=tmp_path / "elsewhere")
    # Whatever happens to the file after that, the artifact keeps what was saved.
    with (tmp_path / "scores.npy").open("r+b") as handle:
        handle.seek(-4, 2)
        handle.write(b"\0\0\0\0")
    assert artifacts.load(saved).scores[2, 3] == 11


def test_large_arrays_are_mapped_on_request(monkeypatch: pytest.MonkeyPatch, mapped: np.memmap, tmp_path: Path) -> None:
    monkeypatch.setattr(artifacts, "_MAPPED_FROM", 1)
    saved = artifacts.save(value(mapped), tmp_path / "a")
    assert isinstance(artifacts.load(saved, mapped=True).scores, np.memmap)
    assert not isinstance(artifacts.load(saved).scores, np.memmap)
    again = artifacts.save(dataclasses.replace(artifacts.load(saved, mapped=True), fallback=None), tmp_path / "b")
    np.testing.assert_array_equal(artifacts.load(again).scores, mapped)
    with (saved / "value.scores.npy").open("r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"\x07")
    with pytest.raises(ArtifactError, match="missing or damaged"):
        artifacts.load(saved, mapped=True)

"""Bundled samples, and folders in which local data sets are searched."""

from pathlib import Path

import pytest

from leanrec.data.datasets.bundled import find_data, sample_path
from leanrec.errors import SourceError


def test_find_data_looks_in_the_named_folder_then_the_cache_then_the_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, cache = tmp_path / "own", tmp_path / "cache"
    for folder in (own / "a", cache / "leanrec" / "a", cache / "leanrec" / "b"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("LEANREC_DATA", str(own))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert find_data("a") == own / "a"
    assert find_data("b") == cache / "leanrec" / "b"
    assert find_data("ml-latest-small") == sample_path()
    with pytest.raises(
        SourceError, match=f"There is no data set 'c' in {own}, {cache}/leanrec. Put it there, or set LEANREC_DATA"
    ):
        find_data("c")


def test_an_unknown_sample() -> None:
    with pytest.raises(SourceError, match="The sample must be one of ml-latest-small"):
        sample_path("x")

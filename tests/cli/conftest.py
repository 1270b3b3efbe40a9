"""Fixtures of the command tests."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leanrec.cli import main
from leanrec.data.datasets.bundled import sample_path

USER_DATA = """user_id,behavior,content_id,content
1,click,a1,space ships and stars
1,view,a2,romance in paris
2,click,a1,space ships and stars
2,like,a3,stars and wars in space
3,view,a4,cooking pasta
3,like,a2,romance in paris
4,click,a5,pasta recipes from paris
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line: exit code, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["leanrec", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "user_data.csv"
    file.write_text(USER_DATA)
    return file


@pytest.fixture(scope="session")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model fitted on the bundled sample by the command itself."""
    folder, out = sample_path("ml-latest-small"), tmp_path_factory.mktemp("models") / "item_knn"
    words = [
        "fit",
        "item_knn",
        folder / "ratings.parquet",
        "--items",
        folder / "movies.parquet",
        "--out",
        out,
    ]
    subprocess.run(
        [sys.executable, "-c", "from leanrec.cli import main; main()", *map(str, words)],
        check=True,
        capture_output=True,
    )
    return out

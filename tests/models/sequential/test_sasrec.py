"""SASRec: the contract, and what makes it a model of order."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.sequence import SequenceContract
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run

ONE = Run(threads=1)


class TestSASRec(SequenceContract):
    estimator = SASRec(
        width=16, layers=1, length=12, epochs=15, batch=128, learning_rate=1e-2, dropout=0.3, weight_decay=0.3
    )
    learner = SASRec(width=16, layers=1, length=24, epochs=20, batch=256, learning_rate=1e-2, dropout=0.0)


def test_heads_divide_the_width() -> None:
    with pytest.raises(SettingError, match="width must be a multiple of heads"):
        SASRec(width=10, heads=4)


def test_an_artifact_names_the_extra_where_torch_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    folder = artifacts.save(SASRec(width=8, epochs=1).fit(dataset, ONE), tmp_path / "model")
    code = (
        "import sys; sys.modules['torch'] = None; from leanrec import artifacts; from leanrec.errors import MissingExtraError\n"
        f"try: artifacts.load({str(folder)!r})\nexcept MissingExtraError as error: print(error)"
    )
    called = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert called.stdout.startswith("This artifact needs an optional package.")
    assert 'pip install "leanrec[deep]"' in called.stdout

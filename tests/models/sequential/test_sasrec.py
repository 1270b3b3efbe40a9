"""SASRec: the contract, and loading without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.sequential import SequentialContract
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run

ONE = Run(threads=1)


class TestSASRec(SequentialContract):
    estimator = SASRec(
        embedding_dim=16,
        n_layers=1,
        max_length=12,
        epochs=15,
        batch_size=128,
        learning_rate=1e-2,
        dropout=0.3,
        weight_decay=0.3,
    )
    learner = SASRec(
        embedding_dim=16, n_layers=1, max_length=24, epochs=20, batch_size=256, learning_rate=1e-2, dropout=0.0
    )


def test_n_heads_must_divide_embedding_dim() -> None:
    with pytest.raises(SettingError, match="embedding_dim must be a multiple of n_heads"):
        SASRec(embedding_dim=10, n_heads=4)


def test_an_artifact_names_the_extra_where_torch_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    folder = artifacts.save(SASRec(embedding_dim=8, epochs=1).fit(dataset, ONE), tmp_path / "model")
    code = (
        "import sys; sys.modules['torch'] = None; from leanrec import artifacts; from leanrec.errors import MissingExtraError\n"
        f"try: artifacts.load({str(folder)!r})\nexcept MissingExtraError as error: print(error)"
    )
    called = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert called.stdout.startswith("This artifact needs an optional package.")
    assert 'pip install "leanrec[deep]"' in called.stdout

"""SASRec: the contract, refused settings, and a fit without torch."""

import subprocess
import sys

import pytest

from contracts.sequential import SequentialContract
from leanrec.errors import SettingError
from leanrec.models.sequential.sasrec import SASRec


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


def test_a_fit_without_torch_names_the_extra() -> None:
    code = """
import sys
from leanrec.errors import MissingExtraError
from leanrec.models import get_model

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
try:
    get_model("sasrec")().fit(None)
except MissingExtraError as error:
    print(error)
"""
    called = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert called.stdout.startswith("The model 'sasrec' needs an optional package.")
    assert 'pip install "leanrec[deep]"' in called.stdout

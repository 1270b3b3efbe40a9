"""SASRec: the contract, and what makes it a model of order."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract
from leanrec.data import artifacts
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.deep.sasrec import SASRec
from leanrec.run import Run
from leanrec.types import CSR, Queries

ONE = Run(threads=1)


class TestSASRec(EstimatorContract):
    estimator = SASRec(
        width=16, layers=1, length=12, epochs=30, batch=128, learning_rate=1e-2, dropout=0.3, weight_decay=1.0
    )


def walks() -> Dataset:
    """Whoever touched item i touches item i + 1 next."""
    data = make_dataset(n_items=20)
    start = data.events.user * 7
    place = np.arange(len(data.events)) % 12
    return data.with_events(dataclasses.replace(data.events, item=((start + place) % 20).astype(np.int32)))


def asked(data: Dataset, *histories: list[int]) -> Queries:
    rows = [np.array(row, np.int32) for row in histories]
    history = np.zeros((len(rows), len(data.items)), np.float32)
    for b, row in enumerate(rows):
        history[b, row] = 1
    return Queries(np.full(len(rows), -1, np.int32), CSR(history), last=tuple(rows))


def test_what_comes_next_follows_from_the_latest_item() -> None:
    data = walks()
    model = SASRec(
        width=16, layers=1, length=6, epochs=30, batch=256, learning_rate=1e-2, schedule="constant", dropout=0.0
    ).fit(data, ONE)
    scores = model.score(asked(data, [3, 4, 5], [13, 14, 15], [15, 16, 17, 18, 19]))
    assert scores.argmax(1).tolist() == [6, 16, 0]
    # Items further back than ``length`` change nothing.
    long = model.score(asked(data, [11, 12, 13, 14, 15, 16], [1, 2, 3, 11, 12, 13, 14, 15, 16]))
    np.testing.assert_allclose(long[0], long[1], rtol=1e-5)


def test_heads_divide_the_width() -> None:
    with pytest.raises(SettingError, match="width must be a multiple of heads"):
        SASRec(width=10, heads=4)


def test_an_artifact_names_the_extra_where_torch_is_missing(dataset: Dataset, tmp_path: Path) -> None:
    folder = artifacts.save(SASRec(width=8, epochs=1).fit(dataset, ONE), tmp_path / "model")
    code = (
        "import sys; sys.modules['torch'] = None; from leanrec.data import artifacts; from leanrec.errors import MissingExtraError\n"
        f"try: artifacts.load({str(folder)!r})\nexcept MissingExtraError as error: print(error)"
    )
    called = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert called.stdout.startswith("This artifact needs an optional package.")
    assert 'pip install "leanrec[deep]"' in called.stdout

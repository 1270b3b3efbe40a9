"""Settings of sequential models: refused combinations and memory estimates."""

import dataclasses
from typing import Any

import pytest

from conftest import make_dataset
from leanrec.errors import SettingError
from leanrec.models.sequential.sasrec import SASRec

SMALL = SASRec(embedding_dim=16, n_layers=1, max_length=8, batch_size=256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hard_negative_factor": 2}, "hard_negative_factor must be 1 unless the loss is bce or bpr"),
        ({"loss": "gbce", "hard_negative_factor": 2}, "hard_negative_factor must be 1"),
        ({"loss": "gbce", "sampler": "popularity"}, "sampler must be 'uniform'"),
        ({"loss": "guess"}, "loss must be one of"),
        ({"sampler": "batch"}, "sampler must be .uniform. or .popularity. unless the loss is sampled_softmax"),
        (
            {"loss": "bpr", "sampler": "batch"},
            "sampler must be .uniform. or .popularity. unless the loss is sampled_softmax",
        ),
        ({"dropout": 1.0}, "dropout must be a number from 0 to 0.99"),
        ({"max_length": 0}, "max_length must be"),
        ({"n_negatives": 0}, "n_negatives must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"schedule": "stairs"}, "schedule must be one of"),
        ({"precision": "float16"}, "precision must be one of"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
    ],
)
def test_invalid_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        dataclasses.replace(SMALL, **change)


def test_memory_estimate_grows_with_the_activations() -> None:
    shape = make_dataset().shape
    deep = dataclasses.replace(SMALL, n_layers=12, batch_size=2**16, embedding_dim=64)
    plain, again = deep.fit_bytes(shape), dataclasses.replace(deep, activation_checkpointing=True).fit_bytes(shape)
    # Twelve blocks of 24 floats per position and dimension.
    assert plain - dataclasses.replace(deep, n_layers=6).fit_bytes(shape) >= 6 * 24 * 4 * 2**16 * 64
    assert again < plain / 3
    assert (
        dataclasses.replace(SMALL, loss="sampled_softmax", sampler="batch", batch_size=2**15).fit_bytes(shape)
        > 4 * 2**30
    )

"""Settings that all gradient-trained models share."""

import pytest

from leanrec.errors import SettingError
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.settings import describe_settings
from leanrec.training.config import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("schedule", "stairs"),
        ("warmup", 1.5),
        ("weight_decay", -0.1),
        ("max_grad_norm", -1.0),
        ("gradient_accumulation", 0),
        ("precision", "float16"),
        ("patience", -1),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        TrainingSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [CTRSettings, HistorySettings, SequentialSettings])
def test_families_document_every_setting_and_share_the_common_ones(kind: type[TrainingSettings]) -> None:
    described = {each.name: each.doc for each in describe_settings(kind)}
    assert all(described.values())
    common = {each.name for each in describe_settings(TrainingSettings)} | {"embedding_dim", "dropout", "n_negatives"}
    assert common <= described.keys()

"""Settings of CTR models: refused values and memory estimates."""

import pytest

from leanrec.errors import SettingError
from leanrec.models.ctr.deepfm import DeepFM


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_sizes", ()),
        ("hidden_sizes", (8, 0)),
        ("embedding_dim", 0),
        ("dropout", 1.0),
        ("n_negatives", 0),
        ("max_length", 0),
        ("id_dropout", 1.0),
        ("l2", -1.0),
        ("text", "poems"),
    ],
)
def test_invalid_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        DeepFM(**{name: value})  # type: ignore[arg-type]


def test_memory_estimate_grows_with_values_and_batch_size() -> None:
    small = DeepFM(batch_size=256).estimate_bytes(1000)
    assert DeepFM(batch_size=256).estimate_bytes(2000) > small
    assert DeepFM(batch_size=4096).estimate_bytes(1000) > small

"""Settings of models trained on histories: refused values and memory estimates."""

import pytest

from leanrec.data.dataset import DatasetShape
from leanrec.errors import SettingError
from leanrec.models.deep.core.settings import HistorySettings


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_layers", -1), ("node_dropout", 1.0), ("sampler", "batch"), ("pooling_exponent", -0.1), ("n_negatives", 0)],
)
def test_invalid_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        HistorySettings(**{name: value})  # type: ignore[arg-type]


def test_memory_estimate_grows_with_the_catalog() -> None:
    settings = HistorySettings()
    small, large = (settings.fit_bytes(DatasetShape(users=10, items=n, events=100)) for n in (100, 10_000))
    assert large > small

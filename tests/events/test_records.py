"""Values of an event store."""

import pytest

from leanrec.errors import SettingError
from leanrec.events.records import RetentionPolicy


@pytest.mark.parametrize(
    ("setting", "message"), [({"max_lists": -1}, "max_lists must be"), ({"max_days": 0}, "max_days must be")]
)
def test_a_retention_policy_checks_its_limits(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RetentionPolicy(**setting)  # type: ignore[arg-type]


def test_no_list_may_be_kept() -> None:
    assert RetentionPolicy(max_lists=0).max_days == 90

"""Values of an event store."""

import pytest

from leanrec.errors import ConflictError, DataError, SettingError
from leanrec.events.records import RetentionPolicy, ServedList, StoredRules


@pytest.mark.parametrize(
    ("setting", "message"), [({"max_lists": -1}, "max_lists must be"), ({"max_days": 0}, "max_days must be")]
)
def test_a_retention_policy_checks_its_limits(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RetentionPolicy(**setting)  # type: ignore[arg-type]


def test_no_list_may_be_kept() -> None:
    assert RetentionPolicy(max_lists=0).max_days == 90


@pytest.mark.parametrize(
    ("propensities", "message"),
    [((0.5,), "one entry for each of the 2"), ((0.5, 0), "above 0"), ((1.5, None), "at most 1")],
)
def test_propensities_are_those_of_the_items(propensities: tuple[float | None, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ServedList("r", 1, 1, (10, 11), (1.0, 0.5), propensities=propensities)


def test_rules_are_replaced_only_by_who_has_read_them() -> None:
    first = StoredRules().replace("one", 0)
    second = first.replace("two", 1)
    assert (first, second) == ((1, "one"), (2, "two"))
    assert second.replace("two", 1) is second
    for rules, revision in (("one", 1), ("two", 0), ("two", 3)):
        with pytest.raises(ConflictError, match=f"revision must be 2, .* Got {revision}"):
            second.replace(rules, revision)
    assert second.replace("two", 2) == (3, "two")

"""Options: texts of the command line become settings, sources and conditions."""

from pathlib import Path

import numpy as np
import pytest

from leanrec.cli.options import parse_conditions, parse_limit, parse_model, parse_pairs, parse_sources
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.units import parse_seconds


def test_pairs_need_a_name_and_an_equals_sign() -> None:
    assert parse_pairs(["a=1", "b=x=y"], "--set") == {"a": "1", "b": "x=y"}
    for text in ("a", "=1"):
        with pytest.raises(SettingError, match="--set must have the form NAME=VALUE"):
            parse_pairs([text], "--set")


def test_model_settings_come_after_commas_and_from_set() -> None:
    assert parse_model("ease,l2=5").l2 == 5
    assert parse_model("ease,l2=5", ["l2=7"]).l2 == 7


def test_limits_name_their_flag() -> None:
    assert parse_limit("--time-limit", None, parse_seconds) is None
    assert parse_limit("--time-limit", "2min", parse_seconds) == 120
    with pytest.raises(SettingError, match="--time-limit: A duration must be"):
        parse_limit("--time-limit", "soon", parse_seconds)


def test_sources_are_paths_or_event_types(tmp_path: Path) -> None:
    assert parse_sources(["a.csv"]) == "a.csv"
    assert parse_sources(["a.csv", "b.csv"]) == ["a.csv", "b.csv"]
    assert parse_sources(["view=a.csv", "buy=b.csv"]) == {"view": "a.csv", "buy": "b.csv"}
    with pytest.raises(SettingError, match="TYPE=PATH"):
        parse_sources(["view=a.csv", "b.csv"])


def test_conditions_on_numbers_may_be_ranges() -> None:
    items = Table({"year": np.array([1990.0, 2000.0])})
    assert parse_conditions(["year=1990..1999"], items) == {"year": {"min": 1990.0, "max": 1999.0}}
    assert parse_conditions(["year=1990"], items) == {"year": 1990.0}
    assert parse_conditions(None, items) is None

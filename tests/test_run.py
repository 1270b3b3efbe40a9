"""Sizes and durations, as people write them."""

import pytest

from leanrec.errors import SettingError
from leanrec.run import parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("200MB", 200_000_000), ("1.5 GiB", 1_610_612_736), (".5k", 500), ("7B", 7), (1234, 1234), (2.5, 2)],
)
def test_sizes(text: str | float, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("5ms", 0.005), ("2min", 120), ("1.5 h", 5400), (3, 3.0)])
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["200", "5 apples", "1.2.3GB", ".GB", "-1MB", "", "GB", "1e3MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="a number and a unit"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["5", "1parsec", "1..2s", "", "s", "-3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="a number and a unit"):
        parse_seconds(text)

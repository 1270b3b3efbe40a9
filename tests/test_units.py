"""Sizes and durations from text."""

import pytest

from leanrec.errors import SettingError
from leanrec.units import format_bytes, format_seconds, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("200MB", 200_000_000), ("1.5 GiB", 1_610_612_736), (".5k", 500), ("7B", 7), (1234, 1234), (2.5, 2)],
)
def test_sizes_are_parsed_to_bytes(text: str | float, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("5ms", 0.005), ("2min", 120), ("1.5 h", 5400), (3, 3.0)])
def test_durations_are_parsed_to_seconds(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["200", "5 apples", "1.2.3GB", ".GB", "-1MB", "", "GB", "1e3MB"])
def test_invalid_sizes_raise_a_setting_error(text: str) -> None:
    with pytest.raises(SettingError, match="a number and a unit"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["5", "1parsec", "1..2s", "", "s", "-3s"])
def test_invalid_durations_raise_a_setting_error(text: str) -> None:
    with pytest.raises(SettingError, match="a number and a unit"):
        parse_seconds(text)


def test_sizes_and_durations_are_formatted_with_three_digits() -> None:
    assert [format_bytes(size) for size in (7, 1234, 2_000_000_000, 3.5e13)] == ["7 B", "1.23 kB", "2 GB", "35 TB"]
    durations = (2e-6, 0.0042, 3.14159, 150)
    assert [format_seconds(seconds) for seconds in durations] == ["2 µs", "4.2 ms", "3.14 s", "2.5 min"]

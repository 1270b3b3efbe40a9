"""Targets of a compression, and their texts."""

import pytest

from leanrec.errors import SettingError
from leanrec.evaluation.compression.target import CompressionTarget, parse_loss, parse_size, parse_target


@pytest.mark.parametrize(
    ("text", "per_item", "in_all"),
    [("64B/item", 64, None), ("64 B / item", 64, None), ("0.5kB/item", 500, None), ("20MB", None, 20_000_000)],
)
def test_sizes(text: str, per_item: float | None, in_all: int | None) -> None:
    assert parse_size(text) == CompressionTarget(bytes_per_item=per_item, bytes=in_all)


@pytest.mark.parametrize("text", ["64", "64B/user", "small", "-3MB", "/item"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match="must be"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0B/item", "0MB", "0.2B"])
def test_a_size_of_zero_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="must be positive.*Got"):
        parse_size(text)


@pytest.mark.parametrize(("text", "share"), [("0.5%", 0.005), ("0.005", 0.005), ("5 %", 0.05), ("0", 0.0)])
def test_losses(text: str, share: float) -> None:
    assert parse_loss(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "101%", "x", "-1%"])
def test_other_losses_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match="must be a share"):
        parse_loss(text)


def test_the_smaller_of_two_sizes_counts() -> None:
    target = parse_target(size="64B/item", max_bytes="3200B")
    assert target.compute_max_bytes(100) == 3200
    assert target.compute_max_bytes(10) == 640
    assert parse_target(max_p99="2ms").compute_max_bytes(10) == float("inf")


def test_a_target_has_a_limit() -> None:
    with pytest.raises(SettingError, match="target must be given"):
        parse_target()
    with pytest.raises(SettingError, match="loss"):
        CompressionTarget(loss=2)
    with pytest.raises(SettingError, match="bytes_per_item"):
        CompressionTarget(bytes_per_item=0)


def test_a_target_says_what_it_is() -> None:
    assert str(CompressionTarget(bytes_per_item=64, p99=0.002)) == "at most 64 B an item, p99 2 ms"
    assert str(CompressionTarget(loss=0.005)) == "at most a loss of 0.5 %"

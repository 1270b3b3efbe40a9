"""Targets of a compression: the bytes, the milliseconds or the loss that are accepted."""

import dataclasses
import re

from leanrec.errors import SettingError
from leanrec.settings import check_between, check_positive
from leanrec.units import format_bytes, format_seconds, parse_bytes, parse_seconds

__all__ = ["CompressionTarget", "parse_loss", "parse_size"]


@dataclasses.dataclass(frozen=True)
class CompressionTarget:
    """What a compressed model may cost; None = no limit. At least one limit is set.

    With ``loss`` the smallest model within the limits is looked for, without it the best one.

    Attributes:
        bytes_per_item: bytes of all arrays of the model, per item.
        bytes: bytes of all arrays of the model.
        p99: seconds of one request at the 99th percentile.
        loss: share of NDCG that may be lost: the upper end of its interval must be below.
    """

    bytes_per_item: float | None = None
    bytes: int | None = None
    p99: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        values = dataclasses.asdict(self)
        if all(value is None for value in values.values()):
            raise SettingError("A target must be given: bytes_per_item, bytes, p99 or loss.")
        for name, value in values.items():
            if name == "loss" and value is not None:
                check_between(name, value, 0, 1)
            elif value is not None:
                check_positive(name, value)

    def compute_max_bytes(self, n_items: int) -> float:
        """The largest number of bytes of the model; infinite without a limit."""
        limits = [float("inf")]
        if self.bytes is not None:
            limits.append(self.bytes)
        if self.bytes_per_item is not None:
            limits.append(self.bytes_per_item * n_items)
        return min(limits)

    def __str__(self) -> str:
        parts = []
        if self.bytes_per_item is not None:
            parts.append(f"{self.bytes_per_item:g} B an item")
        if self.bytes is not None:
            parts.append(format_bytes(self.bytes))
        if self.p99 is not None:
            parts.append(f"p99 {format_seconds(self.p99)}")
        if self.loss is not None:
            parts.append(f"a loss of {100 * self.loss:g} %")
        return "at most " + ", ".join(parts)


def parse_size(text: str) -> CompressionTarget:
    """A target from ``"64B/item"`` or ``"20MB"``. Raises SettingError for other text."""
    size, slash, unit = text.partition("/")
    if slash and unit.strip().lower() != "item":
        raise SettingError(f"A size must be of the model, such as 20MB, or by item, such as 64B/item. Got {text!r}.")
    n_bytes = parse_bytes(size)
    if not n_bytes:
        raise SettingError(f"A size must be positive, such as 20MB or 64B/item. Got {text!r}.")
    return CompressionTarget(bytes_per_item=n_bytes) if slash else CompressionTarget(bytes=n_bytes)


def parse_loss(text: str) -> float:
    """A share from ``"0.5%"`` or ``"0.005"``. Raises SettingError for other text."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", text)
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= value < 1:
        raise SettingError(f"A loss must be a share, such as 0.5% or 0.005. Got {text!r}.")
    return value


def parse_target(
    *, size: str | None = None, max_bytes: str | None = None, max_p99: str | None = None, max_loss: str | None = None
) -> CompressionTarget:
    """A target from the texts of a command; None = no limit."""
    sizes = [parse_size(each) for each in (size, max_bytes) if each is not None]
    per_item = [each.bytes_per_item for each in sizes if each.bytes_per_item is not None]
    in_all = [each.bytes for each in sizes if each.bytes is not None]
    return CompressionTarget(
        bytes_per_item=min(per_item, default=None),
        bytes=min(in_all, default=None),
        p99=None if max_p99 is None else parse_seconds(max_p99),
        loss=None if max_loss is None else parse_loss(max_loss),
    )

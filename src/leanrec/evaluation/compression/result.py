"""Results of a compression: what each smaller model costs in bytes, time and ranking, and which one was chosen."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from leanrec.compression.methods import CompressionMethod
from leanrec.evaluation.compression.ranking_sample import METRICS, RelativeLoss
from leanrec.evaluation.compression.target import CompressionTarget
from leanrec.protocols import Scorer
from leanrec.units import format_bytes, format_seconds

__all__ = ["CompressedResult", "CompressionResult"]


@dataclasses.dataclass(frozen=True)
class CompressedResult:
    """What one model costs; the first of a compression is the model itself.

    Attributes:
        name: text of the method; "uncompressed" for the model itself.
        parts: bytes of the arrays by part, largest first.
        n_items: N.
        means: metric → mean over the queries of the report.
        losses: metric → what is lost of it, on the queries of the report.
        chosen_loss: the loss of NDCG on the queries that the choice was made by.
        identical: share of the queries whose list has the same items.
        p50: median seconds of one request.
        p99: the 99th percentile.
        build_seconds: wall time of the compression.
        certified: share of the queries whose list is proved to be that of the uncompressed model; None without a proof.
        mapped: bytes of vectors that stay in a file, beside ``parts``.
        method: the method; None for the model itself.
        model: the model.
    """

    name: str
    parts: Mapping[str, int]
    n_items: int
    means: Mapping[str, float]
    losses: Mapping[str, RelativeLoss]
    chosen_loss: RelativeLoss
    identical: float
    p50: float
    p99: float
    build_seconds: float
    certified: float | None = None
    mapped: int = 0
    method: CompressionMethod | None = dataclasses.field(default=None, repr=False, compare=False)
    model: Scorer | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays in memory."""
        return sum(self.parts.values())

    @property
    def bytes_per_item(self) -> float:
        """Bytes of all arrays in memory, per item."""
        return self.n_bytes / max(self.n_items, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = dataclasses.asdict(dataclasses.replace(self, method=None, model=None))
        del plain["method"], plain["model"]
        return plain | {"bytes": self.n_bytes, "bytes_per_item": self.bytes_per_item}


@dataclasses.dataclass(frozen=True)
class CompressionResult:
    """The outcome of a compression.

    Attributes:
        target: what was asked for.
        base: the model itself.
        chosen: the chosen one.
        halved: the best of those with at most half of its bytes; None where none was measured.
        tried: name, bytes and loss of NDCG of every measured one, on the queries of the choice.
        n_chosen: number of queries of the choice.
        n_reported: number of queries of the report.
        violation: by how much the chosen one misses the target; "" where it is reached.
        seconds: wall time of all of it.
    """

    target: CompressionTarget
    base: CompressedResult
    chosen: CompressedResult
    halved: CompressedResult | None
    tried: tuple[tuple[str, int, RelativeLoss], ...]
    n_chosen: int
    n_reported: int
    violation: str
    seconds: float

    def summary(self) -> tuple[str, ...]:
        """The outcome in sentences."""
        base, chosen, loss = self.base, self.chosen, self.chosen.losses["ndcg"]
        times = base.n_bytes / max(chosen.n_bytes, 1)
        outcome = (
            f"{chosen.name}: {_format_size(chosen)} B an item instead of {_format_size(base)}, {times:.3g} times "
            f"smaller, with {_describe_loss(loss)} of NDCG on held-out events of {self.n_reported} users, which took no part in the choice."
        )
        choice = (
            f"Chosen among {len(self.tried)} by other events of {self.n_chosen} users, on which it has "
            f"{_describe_loss(chosen.chosen_loss)}."
        )
        lines = [outcome, choice]
        if self.violation:
            lines.insert(0, f"The target, {self.target}, is out of reach. This is the closest: {self.violation}.")
        if self.halved is not None:
            lines.append(
                f"One more halving: {self.halved.name}, {_format_size(self.halved)} B an item, with "
                f"{_describe_loss(self.halved.losses['ndcg'])} of NDCG."
            )
        return tuple(lines)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Names of the columns, and the rows, as text: the model itself, the chosen one, and half of that."""
        shown = [each for each in (self.base, self.chosen, self.halved) if each is not None]
        rows = [("bytes an item", *(_format_size(each) for each in shown))]
        rows += [("model", *(format_bytes(each.n_bytes) for each in shown))]
        if any(each.mapped for each in shown):
            rows += [("  left on disk", *(format_bytes(each.mapped) for each in shown))]
        for name in METRICS:
            rows.append((name.replace("_", " "), *(f"{each.means[name]:.4f}" for each in shown)))
            losses = [each.losses[name] for each in shown[1:]]
            rows.append(("  change", "", *(_format_change(each.value) for each in losses)))
            rows.append(("  at worst", "", *(_format_change(each.high) for each in losses)))
        rows.append(("lists unchanged", "", *(f"{each.identical:.1%}" for each in shown[1:])))
        if any(each.certified is not None for each in shown):
            rows.append(
                (
                    "lists proved the same",
                    "",
                    *("–" if c.certified is None else f"{c.certified:.1%}" for c in shown[1:]),
                )
            )
        rows.append(("request p50, p99", *(f"{format_seconds(c.p50)}, {format_seconds(c.p99)}" for c in shown)))
        rows.append(("time to make it", "", *(format_seconds(each.build_seconds) for each in shown[1:])))
        for place, title in enumerate(("largest parts", "", "")):
            rows.append((title, *(_describe_part(each.parts, place) for each in shown)))
        return ("", *(each.name for each in shown)), rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "target": dataclasses.asdict(self.target),
            "base": self.base.to_dict(),
            "chosen": self.chosen.to_dict(),
            "halved": None if self.halved is None else self.halved.to_dict(),
            "tried": [{"name": name, "bytes": size, **dataclasses.asdict(loss)} for name, size, loss in self.tried],
            "n_chosen": self.n_chosen,
            "n_reported": self.n_reported,
            "violation": self.violation,
            "seconds": self.seconds,
            "summary": list(self.summary()),
        }


def _describe_loss(loss: RelativeLoss) -> str:
    if loss.value < 0:
        return f"a gain of {-loss.value:.2%} (95 % interval {-loss.high:+.2%} to {-loss.low:+.2%})"
    return f"a loss of {loss.value:.2%} (95 % interval {max(loss.low, -9.99):.2%} to {loss.high:.2%})"


def _format_size(result: CompressedResult) -> str:
    """Bytes an item, with four digits and no exponent."""
    size = result.bytes_per_item
    return f"{size:.4g}" if size < 1000 else f"{size:,.0f}"


def _format_change(loss: float) -> str:
    """A loss as the change of the metric; no sign before a zero."""
    return f"{-loss:+.2%}" if f"{loss:.2%}".strip("-") != "0.00%" else "0.00%"


def _describe_part(parts: Mapping[str, int], place: int) -> str:
    """Name and size of the part at a place from 0, "" past the last."""
    named = list(parts.items())[place : place + 1]
    return "".join(f"{name} {format_bytes(size)}" for name, size in named)

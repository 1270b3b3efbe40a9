"""How far a sequence model can grow: items a second, memory and use of the device by width, depth, length and precision.

    python benchmarks/large.py [--device cpu|cuda] [--repeats 3]

One epoch of HSTU and of SASRec on ML-1M (SASRec's file) with all items in the loss. The share of the device's products counts
six operations for each weight and item, the item vectors as often, and leaves the attention out.
"""

import argparse
import functools
from typing import Any

import harness
from harness import Claim, Comparison, Contestant, Probe
from sequences import read

from leanrec.cli.options import parse_model

# Width, layers, latest items, items of a step, precision.
SIZES = {
    "cpu": [(64, 2, 200, 2048, "float32"), (128, 2, 200, 2048, "float32"), (64, 4, 200, 2048, "float32")],
    "cuda": [
        (64, 2, 200, 2048, "float32"),
        (64, 2, 200, 16384, "float32"),
        (64, 2, 200, 16384, "bfloat16"),
        (256, 4, 200, 16384, "float32"),
        (256, 4, 200, 16384, "bfloat16"),
        (512, 8, 200, 16384, "bfloat16"),
        (1024, 12, 200, 16384, "bfloat16"),
        (256, 4, 1000, 16384, "bfloat16"),
    ],
}


def grow(probe: Probe, name: str, size: tuple[int, int, int, int, str]) -> None:
    width, layers, length, batch, precision = size
    heads = max(1, width // 64)
    text = f"{name},width={width},layers={layers},heads={heads},length={length},batch={batch},precision={precision},epochs=1,patience=0"
    estimator: Any = parse_model(text)
    data = read("ml-1m", 300 if probe.quick else None)
    with probe.warmup():
        estimator.fit(read("ml-1m", 50), probe.run)
    reset(probe.device)
    with probe.timed():
        model = estimator.fit(data, probe.run)
    table = model.weights["items.weight"].size
    weights = sum(each.size for each in model.weights.values()) - table
    items = len(data.events)
    operations = 6.0 * items * (weights + table)
    probe.reached(
        items_per_second=items / probe.wall[-1],
        gflops=operations / probe.wall[-1] / 1e9,
        weights=weights + table,
        device_memory=allocated(probe.device),
    )
    probe.note(repr(estimator))


def reset(device: str) -> None:
    """Count the memory of the device from now on."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)


def allocated(device: str) -> float:
    """Bytes of the device that were in use at most; 0 where that is the process' own memory."""
    if device == "cpu":
        return 0.0
    import torch

    return float(torch.cuda.max_memory_allocated(device))


def make_claim(asked: argparse.Namespace) -> Claim:
    kind = asked.device.partition(":")[0]
    contestants, rows = {}, []
    for size in SIZES[kind]:
        for name in ("sasrec", "hstu"):
            width, layers, length, batch, precision = size
            title = f"{name}, {layers} x {width}, {length} items, steps of {batch}, {precision}"
            contestants[title] = Contestant(functools.partial(grow, name=name, size=size))
            rows += [Comparison(what=title, ours=title, measure=measure) for measure in ("items_per_second", "gflops")]
    return Claim(
        name="large" + ("" if kind == "cpu" else f"_{kind}"),
        title="How far a sequence model can grow: items a second and use of the device, an epoch each.",
        data="ml1m_sasrec_sequences of ml-1m, all items in the loss, start and compilation left out",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    asked = harness.parser(__doc__, device=True).parse_args()
    harness.run(make_claim(asked), asked)


if __name__ == "__main__":
    main()

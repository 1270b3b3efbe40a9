"""Training throughput of large sequence models: items per second and memory by dimension, depth, length and precision.

    python benchmarks/large.py [--device cpu|cuda] [--repeats 3]

One epoch of HSTU and of SASRec on ML-1M (SASRec's file) with all items in the loss. GFLOP/s count six operations for each
weight and item of a history, the item embedding included and the attention excluded.
"""

import argparse
import functools
from typing import Any

import harness
from harness import Claim, Comparison, Contestant, Probe
from sequences import read_sequences

from leanrec.models import parse_model

MODELS = ("sasrec", "hstu")
# Embedding dimension, layers, history length, items per step, precision.
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


def settings_text(name: str, size: tuple[int, int, int, int, str]) -> str:
    """The settings of a model of that size, as text."""
    embedding_dim, n_layers, max_length, batch_size, precision = size
    return (
        f"{name},embedding_dim={embedding_dim},n_layers={n_layers},n_heads={max(1, embedding_dim // 64)},"
        f"max_length={max_length},batch_size={batch_size},precision={precision},epochs=1,patience=0"
    )


def train_size(probe: Probe, name: str, size: tuple[int, int, int, int, str]) -> None:
    estimator: Any = parse_model(settings_text(name, size))
    data = read_sequences("ml-1m", 300 if probe.quick else None)
    with probe.warmup():
        estimator.fit(read_sequences("ml-1m", 50), probe.run)
    reset_device_memory(probe.device)
    with probe.timed():
        model = estimator.fit(data, probe.run)
    table = model.weights["items.weight"].size
    weights = sum(each.size for each in model.weights.values()) - table
    items = len(data.events)
    operations = 6.0 * items * (weights + table)
    probe.record_quality(
        items_per_second=items / probe.wall[-1],
        gflops=operations / probe.wall[-1] / 1e9,
        weights=weights + table,
        device_memory=peak_device_memory(probe.device),
    )
    probe.add_note(repr(estimator))


def reset_device_memory(device: str) -> None:
    """Start to count the peak memory of the device."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)


def peak_device_memory(device: str) -> float:
    """Peak memory of the device in bytes; 0 on the CPU."""
    if device == "cpu":
        return 0.0
    import torch

    return float(torch.cuda.max_memory_allocated(device))


def make_claim(args: argparse.Namespace) -> Claim:
    device = args.device.partition(":")[0]
    contestants, rows = {}, []
    for size in SIZES[device]:
        for name in MODELS:
            embedding_dim, n_layers, max_length, batch_size, precision = size
            title = f"{name}, {n_layers} x {embedding_dim}, {max_length} items, steps of {batch_size}, {precision}"
            contestants[title] = Contestant(functools.partial(train_size, name=name, size=size))
            rows += [Comparison(what=title, ours=title, measure=measure) for measure in ("items_per_second", "gflops")]
    return Claim(
        name="large" + ("" if device == "cpu" else f"_{device}"),
        title="Throughput of large sequence models: items per second and use of the device, one epoch each.",
        data="ml1m_sasrec_sequences of ml-1m, all items in the loss, start and compilation not timed",
        contestants=contestants,
        comparisons=rows,
    )


def main() -> None:
    args = harness.build_parser(__doc__, device=True).parse_args()
    harness.run_claim(make_claim(args), args)


if __name__ == "__main__":
    main()

"""SASRec for one user: leanrec's NumPy forward pass, ONNX Runtime with the exported file, the same in 8 bits, and torch eager.

    python benchmarks/onnx_runtime.py [--repeats 3] [--quick]

SASRec of two layers of 64 with random weights over the number of items of Amazon Beauty (12,101); the time does not depend on
what the weights are. A request is a history of 10, 50 or 200 items and ends with the top 20 without those items. One thread.
It needs the extra `onnx` in the environment of the benchmarks.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from harness import Claim, Comparison, Contestant, Probe, main

from leanrec.protocols import Context
from leanrec.retrieval import ExactRetriever
from leanrec.types import Int32Array, Queries

ITEMS, WIDTH, LENGTHS, K = 12_101, 64, (10, 50, 200), 20
Recommend = Callable[[Int32Array], Any]


def make_model() -> Any:
    """A model whose weights have the size that training gives them."""
    from leanrec.models import SASRec
    from leanrec.models.sequential.core.models import SequentialModel

    settings = SASRec(embedding_dim=WIDTH, max_length=200)
    rng = np.random.default_rng(0)
    weights = {
        name: np.float32(WIDTH**-0.5) * rng.standard_normal(shape, np.float32)
        + np.float32("norm" in name and "weight" in name)
        for name, shape in settings.weight_shapes(ITEMS).items()
    }
    return SequentialModel(settings, weights)


def with_leanrec(model: Any) -> Recommend:
    retriever, context = ExactRetriever(model), Context(exclude_seen=True)

    def recommend(row: Int32Array) -> Any:
        items = np.unique(row).astype(np.int32)
        ones, bounds = np.ones(len(items), np.float32), np.array([0, len(items)], np.int32)
        history = sp.csr_array((ones, items, bounds), shape=(1, ITEMS))
        queries = Queries(users=np.full(1, -1, np.int32), history=history, sequences=(row,))
        return retriever.retrieve(queries, K, context).items[0]

    return recommend


def with_onnx(model: Any, *, bits: int) -> Recommend:
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    from leanrec import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = export_onnx(model, Path(folder) / "model.onnx", top_k=K).path
        if bits == 8:
            quantize_dynamic(file, file.with_name("small.onnx"))
            file = file.with_name("small.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])

    def recommend(row: Int32Array) -> Any:
        feeds = {"history": row[None].astype(np.int64), "lengths": np.array([len(row)])}
        return session.run(["items"], feeds)[0][0]

    return recommend


def with_torch(model: Any) -> Recommend:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    network: Any = model.settings.build_network(ITEMS).eval()
    network.load_state_dict({name: torch.from_numpy(weights) for name, weights in model.weights.items()})

    def recommend(row: Int32Array) -> Any:
        with torch.inference_mode():
            items = torch.from_numpy(row.astype(np.int64))
            state = network(items[None], torch.tensor([len(row)]))[0, -1]
            scores = network.items.weight @ state
            scores[items] = -torch.inf
            return torch.topk(scores, K).indices.numpy()

    return recommend


def measure(probe: Probe, length: int, build: Callable[[Any], Recommend]) -> None:
    """Latency of one request, and how many items of its lists are those of the model."""
    model = make_model()
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, ITEMS, length).astype(np.int32) for _ in range(50 if probe.quick else 1_000)]
    with probe.warmup():
        recommend = build(model)
    probe.measure_latency(recommend, rows)
    own = with_leanrec(model)
    kept = [len(np.intersect1d(recommend(row), own(row))) / K for row in rows[:50]]
    probe.record_quality(kept=float(np.mean(kept)))


TOOLS: dict[str, Callable[[Any], Recommend]] = {
    "ours": with_leanrec,
    "onnx": functools.partial(with_onnx, bits=32),
    "onnx 8 bits": functools.partial(with_onnx, bits=8),
    "torch": with_torch,
}
CLAIM = Claim(
    name="onnx_runtime",
    title="SASRec for one user, beside ONNX Runtime and torch",
    data=f"random weights and histories, {ITEMS:,} items, 2 layers of {WIDTH}",
    contestants={
        f"{name}, {length} items": Contestant(functools.partial(measure, length=length, build=build), threads=1)
        for length in LENGTHS
        for name, build in TOOLS.items()
    },
    comparisons=[
        Comparison(
            f"top {K} after a history of {length} items, p50",
            f"ours, {length} items",
            f"{peer}, {length} items",
            measure="p50",
            at_most=None if "8 bits" in peer else 1.0,  # other lists
        )
        for length in LENGTHS
        for peer in ("onnx", "onnx 8 bits", "torch")
    ],
)

if __name__ == "__main__":
    main(CLAIM, __doc__)

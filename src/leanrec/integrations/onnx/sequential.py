"""Sequential models in an ONNX graph: the state after each history, as their ``encode`` computes it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from leanrec.integrations.onnx.graph import GraphBuilder
from leanrec.integrations.onnx.histories import HistoryCells, HistoryWindow
from leanrec.integrations.onnx.layers import (
    GraphLayers,
    add_positions,
    mask_keys,
    mask_later,
    split_heads,
    take_last,
)
from leanrec.models.sequential.bert4rec import BERT4Rec
from leanrec.models.sequential.caser import Caser
from leanrec.models.sequential.core.models import ITEM_TABLE, SequentialModel
from leanrec.models.sequential.gru4rec import GRU4Rec
from leanrec.models.sequential.hstu import HSTU
from leanrec.models.sequential.lrurec import LRURec
from leanrec.models.sequential.sasrec import SASRec

__all__ = ["ENCODERS", "score_sequential"]


def score_sequential(graph: GraphBuilder, model: SequentialModel, cells: HistoryCells) -> tuple[str, str]:
    """(B, N) scores, and (B, 1) whether a history has no item, so that its scores have no meaning."""
    settings, layers = model.settings, GraphLayers(graph, model.weights)
    table = layers.store(ITEM_TABLE)
    window = cells.take_latest(settings.max_length, align_right=not isinstance(settings, GRU4Rec))
    state = ENCODERS[type(settings)](layers, settings, graph.apply("Gather", table, window.rows), window)
    scores = graph.score_items(layers.apply_norm("norm", state), table)
    return scores, graph.apply("Equal", window.counts, np.int64(0))


def _encode_sasrec(layers: GraphLayers, settings: SASRec, x: str, window: HistoryWindow) -> str:
    graph = layers.graph
    x = add_positions(layers, x, window.width)
    later = mask_later(graph, window.is_item, window.width) if settings.n_layers > 1 else ""
    for block in range(settings.n_layers - 1):
        x = layers.within(f"blocks.{block}").apply_block(x, later, settings.n_heads)
    last = layers.within(f"blocks.{settings.n_layers - 1}")
    return last.apply_block_to_last(x, mask_keys(graph, window.is_item, window.width), settings.n_heads)


def _encode_bert4rec(layers: GraphLayers, settings: BERT4Rec, x: str, window: HistoryWindow) -> str:
    graph = layers.graph
    batch = graph.apply("Concat", graph.size(x, 0), np.array([1, settings.embedding_dim]), axis=0)
    token = graph.apply("Expand", layers.store("mask_token"), batch)
    x = graph.apply("Concat", x, graph.apply("Reshape", token, np.array([0, 1, -1])), axis=1)
    width = graph.apply("Add", window.width, np.array([1]))
    x = add_positions(layers, x, width)
    is_row = graph.apply("Pad", graph.cast(window.is_item, np.int64), np.array([0, 0, 0, 1]), np.int64(1))
    mask = graph.cast(is_row, np.bool_)
    for block in range(settings.n_layers - 1):
        all_rows = graph.apply("Unsqueeze", mask, np.array([1]))
        x = layers.within(f"blocks.{block}").apply_block(x, all_rows, settings.n_heads)
    return layers.within(f"blocks.{settings.n_layers - 1}").apply_block_to_last(x, mask, settings.n_heads)


def _encode_gru4rec(layers: GraphLayers, settings: GRU4Rec, x: str, window: HistoryWindow) -> str:
    graph, D = layers.graph, settings.embedding_dim
    # An empty history has one step, whose state is not used.
    n_steps = graph.apply("Max", graph.reshape(window.counts, -1), np.int64(1))
    latest = graph.apply("Sub", n_steps, np.array([1]))
    steps, last = graph.transpose(x, 1, 0, 2), ""
    for number in range(settings.n_layers):
        unit = layers.within(f"units.{number}")
        steps_by_direction, last = graph.apply_all(
            "GRU",
            2,
            steps,
            unit.store("weight_ih_l0", _reorder_gates(unit["weight_ih_l0"])[None]),
            unit.store("weight_hh_l0", _reorder_gates(unit["weight_hh_l0"])[None]),
            unit.store(
                "bias", np.concatenate([_reorder_gates(unit[f"bias_{side}_l0"]) for side in ("ih", "hh")])[None]
            ),
            graph.cast(n_steps, np.int32),
            hidden_size=D,
            linear_before_reset=1,
        )
        steps = graph.apply("Squeeze", steps_by_direction, np.array([1]))
    latest_items = graph.apply("GatherND", x, graph.apply("Unsqueeze", latest, np.array([1])), batch_dims=1)
    return graph.apply("Add", latest_items, layers.apply_linear("out", graph.apply("Squeeze", last, np.array([0]))))


def _reorder_gates(weight: Any) -> Any:
    """Reset, update, new as update, reset, new, which is their order in ONNX."""
    reset, update, new = np.split(weight, 3)
    return np.concatenate([update, reset, new])


def _encode_caser(layers: GraphLayers, settings: Caser, x: str, window: HistoryWindow) -> str:
    graph, D, size = layers.graph, settings.embedding_dim, settings.window
    x = _zero_padding(graph, x, window)
    # Zeros before the first item, as in training.
    padded = graph.apply("Pad", x, np.array([0, size, 0, 0, 0, 0]))
    columns = graph.transpose(graph.slice(padded, -size, np.iinfo(np.int64).max, 1), 0, 2, 1)  # (B, D, window)
    found = []
    for number in range(size):
        filters = layers.within(f"across.{number}")
        matched = graph.apply("Conv", columns, filters.store("weight"), filters.store("bias"))
        found.append(graph.apply("ReduceMax", graph.apply("Relu", matched), np.array([2]), keepdims=0))
    found.append(graph.reshape(layers.apply_linear("down", columns), 0, D * settings.n_vertical))
    mixed = graph.apply("Relu", layers.apply_linear("mix", graph.apply("Concat", *found, axis=1)))
    total = graph.apply("ReduceSum", x, np.array([1]), keepdims=0)
    mean = graph.apply("Div", total, graph.cast(graph.apply("Max", window.counts, np.int64(1)), np.float32))
    return layers.apply_linear("out", graph.apply("Concat", mixed, mean, axis=1))


def _encode_hstu(layers: GraphLayers, settings: HSTU, x: str, window: HistoryWindow) -> str:
    graph = layers.graph
    x = add_positions(layers, x, window.width)
    columns = graph.count_up(window.width)
    # Steps from each row back to each other one; rows after it are masked.
    steps = graph.apply(
        "Max", graph.apply("Sub", graph.apply("Unsqueeze", columns, np.array([1])), columns), np.int64(0)
    )
    mask = graph.apply("Unsqueeze", mask_later(graph, window.is_item, window.width), np.array([1]))
    for number in range(settings.n_layers):
        if number == settings.n_layers - 1:
            last = graph.apply("Sub", window.width, np.array([1]))
            steps, mask = graph.apply("Gather", steps, last), graph.apply("Gather", mask, last, axis=2)
        x = _apply_hstu_block(layers.within(f"blocks.{number}"), settings, x, steps, mask)
    return graph.reshape(x, 0, settings.embedding_dim)


def _apply_hstu_block(layers: GraphLayers, settings: HSTU, x: str, steps: str, mask: str) -> str:
    """(B, W, D) to (B, Q, D) of the last Q rows, those of ``steps`` (Q, W) and ``mask`` (B, 1, Q, W)."""
    graph, heads = layers.graph, settings.n_heads
    weights, biases = (np.split(layers[f"projection.{part}"], 4) for part in ("weight", "bias"))

    def project(number: int, rows: str) -> str:
        return layers.apply_silu(layers.apply_matrix(f"projection.{number}", rows, weights[number], biases[number]))

    normed = layers.apply_norm("norm_in", x)
    values, keys = project(1, normed), project(3, normed)
    n_rows = graph.apply("Neg", graph.size(steps, 0))
    x, normed = (
        graph.apply("Slice", rows, n_rows, np.array([np.iinfo(np.int64).max]), np.array([1])) for rows in (x, normed)
    )
    gate, queries = project(0, normed), project(2, normed)
    products = graph.apply(
        "MatMul", split_heads(graph, queries, heads), split_heads(graph, keys, heads, is_transposed=True)
    )
    matched = layers.apply_silu(
        graph.apply("Add", products, graph.apply("Gather", layers.store("distance"), steps, axis=1))
    )
    scale = np.float32(1 / settings.max_length)
    weighed = graph.apply("Mul", matched, graph.apply("Mul", graph.cast(mask, np.float32), scale))
    summed = graph.apply("MatMul", weighed, split_heads(graph, values, heads))
    attended = graph.reshape(graph.transpose(summed, 0, 2, 1, 3), 0, -1, settings.embedding_dim)
    gated = graph.apply("Mul", layers.apply_norm("norm_out", attended), gate)
    return graph.apply("Add", x, layers.apply_linear("out", gated))


def _encode_lrurec(layers: GraphLayers, settings: LRURec, x: str, window: HistoryWindow) -> str:
    graph = layers.graph
    for number in range(settings.n_layers):
        block = layers.within(f"blocks.{number}")
        states = _scan_linear(block, settings, block.apply_norm("norm1", x), window)
        if number == settings.n_layers - 1:
            x, states = take_last(graph, x), take_last(graph, states)
        x = graph.apply("Add", x, block.within("unit").apply_linear("write", states))
        x = block.add_mlp(x)
    return x


def _scan_linear(block: GraphLayers, settings: LRURec, x: str, window: HistoryWindow) -> str:
    """(B, W, 4 D) pairs of real and imaginary parts of h_t = λ h_{t−1} + γ · x_t, by doubling: O(W · D · log W).

    After step k, each row has the sum over the 2^k rows up to it (Hillis & Steele, "Data Parallel Algorithms", 1986).
    """
    graph, unit = block.graph, block.within("unit")
    # The gain is part of the matrix; pairs of parts become all real ones, then all imaginary ones.
    gain = np.exp(unit["gamma"])
    parts = []
    for part in range(2):
        weight, bias = unit["read.weight"][part::2] * gain[:, None], unit["read.bias"][part::2] * gain
        parts.append(_zero_padding(graph, unit.apply_matrix(f"read.{part}", x, weight, bias), window))
    real, imaginary = parts
    decay = np.exp(-np.exp(unit["nu"].astype(np.float64)) + 1j * np.exp(unit["theta"].astype(np.float64)))
    for step in (2**k for k in range(math.ceil(math.log2(max(2, settings.max_length))))):
        factor = decay**step
        before_real, before_imaginary = (_shift(graph, part, step, window.width) for part in (real, imaginary))
        a, b = factor.real.astype(np.float32), factor.imag.astype(np.float32)
        real, imaginary = (
            graph.apply("Add", part, graph.apply(operator, graph.apply("Mul", one, a), graph.apply("Mul", other, b)))
            for part, operator, one, other in (
                (real, "Sub", before_real, before_imaginary),
                (imaginary, "Add", before_imaginary, before_real),
            )
        )
    last_axis = np.array([-1])
    pairs = graph.apply(
        "Concat", graph.apply("Unsqueeze", real, last_axis), graph.apply("Unsqueeze", imaginary, last_axis), axis=-1
    )
    return graph.reshape(pairs, 0, 0, 4 * settings.embedding_dim)


def _shift(graph: GraphBuilder, x: str, step: int, width: str) -> str:
    """Each row ``step`` rows later, zeros before."""
    return graph.slice(graph.apply("Pad", x, np.array([0, step, 0, 0, 0, 0])), 0, width, 1)


def _zero_padding(graph: GraphBuilder, x: str, window: HistoryWindow) -> str:
    """X (B, W, D) with zeros in rows without an item."""
    return graph.apply("Mul", x, graph.cast(graph.apply("Unsqueeze", window.is_item, np.array([2])), np.float32))


# State after each history by the class of the settings, from the vectors (B, W, D) of its items. Of an empty history it has
# no meaning.
ENCODERS: Mapping[type, Callable[[GraphLayers, Any, str, HistoryWindow], str]] = {
    SASRec: _encode_sasrec,
    BERT4Rec: _encode_bert4rec,
    GRU4Rec: _encode_gru4rec,
    Caser: _encode_caser,
    HSTU: _encode_hstu,
    LRURec: _encode_lrurec,
}

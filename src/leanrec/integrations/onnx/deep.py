"""Models of the set of items of a history in an ONNX graph: Mult-VAE and two-tower."""

import numpy as np

from leanrec.integrations.onnx.graph import GraphBuilder
from leanrec.integrations.onnx.histories import HistoryCells
from leanrec.integrations.onnx.layers import GraphLayers
from leanrec.models.deep.mult_vae import MultVAEModel
from leanrec.models.deep.two_tower import TwoTowerModel

__all__ = ["USERS", "reads_users", "score_mult_vae", "score_two_tower"]

# The input of rows of users, for models with features of users.
USERS = "users"


def score_mult_vae(graph: GraphBuilder, model: MultVAEModel, cells: HistoryCells) -> tuple[str, str]:
    """(B, N) scores, and (B, 1) whether a history has no item, so that its scores have no meaning."""
    layers, settings = GraphLayers(graph, model.weights), model.settings
    sums, counts = _sum_vectors(graph, graph.store("first", model.first), cells)
    scaled = graph.apply("Div", sums, graph.apply("Sqrt", graph.apply("Max", counts, np.float32(1))))
    x = layers.apply_silu(graph.apply("Add", scaled, layers.store("first_bias")))
    x = layers.apply_norm("norms.0", x)
    for i in range(settings.n_layers - 1):
        inner = layers.apply_silu(layers.apply_linear(f"upper.{i}", x))
        x = layers.apply_norm(f"norms.{i + 1}", graph.apply("Add", x, inner))
    x = layers.apply_linear("mean", x)
    if settings.decoder_dim:
        x = graph.apply("Tanh", layers.apply_linear("decoder_hidden", x))
    with_one = graph.apply("Pad", x, np.array([0, 0, 0, 1]), np.float32(1))  # for the bias
    return graph.score_items(with_one, graph.store("item_vectors", model.items)), graph.apply(
        "Equal", counts, np.float32(0)
    )


def score_two_tower(graph: GraphBuilder, model: TwoTowerModel, cells: HistoryCells) -> tuple[str, str]:
    """(B, N) scores, and (B, 1) whether there is neither a history nor a feature of the user.

    A model with features of users reads the input ``users``; it has them if ``reads_users`` says so.
    """
    settings, layers = model.settings, GraphLayers(graph, model.weights, "query.")
    sums, counts = _sum_vectors(graph, graph.store("history_vectors", model.history), cells)
    weight = graph.apply("Pow", graph.apply("Add", counts, np.float32(1)), np.float32(-settings.pooling_exponent))
    x = graph.apply("Mul", sums, weight)
    if reads_users(model):
        x = graph.apply("Add", x, _look_up_users(graph, model))
    is_empty = graph.apply("Not", graph.cast(graph.apply("ReduceMax", graph.apply("Abs", x), np.array([1])), np.bool_))
    x = graph.apply("Add", x, layers.apply_linear("down", graph.apply("Relu", layers.apply_linear("up", x))))
    squares = graph.apply("ReduceSum", graph.apply("Mul", x, x), np.array([1]), keepdims=1)
    length = graph.apply("Sqrt", graph.apply("Add", squares, np.float32(1e-6)))
    queries = graph.apply("Div", x, graph.apply("Mul", length, np.float32(settings.temperature)))
    return graph.score_items(queries, graph.store("item_vectors", model.items)), is_empty


def reads_users(model: object) -> bool:
    """Whether a model has features of users."""
    return isinstance(model, TwoTowerModel) and bool(model.users.any())


def _look_up_users(graph: GraphBuilder, model: TwoTowerModel) -> str:
    """(B, D) embedded features of the users (B,); zeros for rows that are none."""
    known = graph.apply(
        "And",
        graph.apply("GreaterOrEqual", USERS, np.int64(0)),
        graph.apply("Less", USERS, np.int64(len(model.users))),
    )
    vectors = graph.apply(
        "Gather", graph.store("user_features", model.users), graph.apply("Where", known, USERS, np.int64(0))
    )
    return graph.apply("Mul", vectors, graph.cast(graph.apply("Unsqueeze", known, np.array([1])), np.float32))


def _sum_vectors(graph: GraphBuilder, table: str, cells: HistoryCells) -> tuple[str, str]:
    """(B, D) sums of the vectors of the different items of each history, and (B, 1) their number."""
    is_first = graph.cast(cells.find_first(), np.float32)
    vectors = graph.apply("Gather", table, cells.rows)
    # (B, 1, L) · (B, L, D)
    sums = graph.apply("MatMul", graph.apply("Unsqueeze", is_first, np.array([1])), vectors)
    return graph.apply("Squeeze", sums, np.array([1])), graph.apply("ReduceSum", is_first, np.array([1]), keepdims=1)

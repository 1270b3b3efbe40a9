"""Comparison of an exported model with the model that it comes from, in ONNX Runtime."""

from typing import Any

import numpy as np
import onnxruntime
import scipy.sparse as sp

from leanrec.integrations.onnx.deep import USERS
from leanrec.protocols import Scorer
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["N_COMPARED", "measure_difference"]

# Histories that are compared.
N_COMPARED = 64
_LONGEST = 50


def measure_difference(exported: bytes, model: Scorer, *, top_k: int | None, exclude_seen: bool) -> float:
    """Largest difference of a score, relative to the largest score of its history.

    Compared are random histories in one batch: empty ones, short ones, and long ones in which items repeat. Of lists, both the
    scores and the model's own scores of the listed items are compared with those of its best items.
    """
    rng = np.random.default_rng(0)
    longest = getattr(model.settings, "max_length", _LONGEST) + 3  # type: ignore[attr-defined]
    lengths = np.concatenate([[0, 1, longest], rng.integers(0, longest, N_COMPARED - 3)])
    rows = [rng.integers(0, model.n_items, length).astype(np.int32) for length in lengths.tolist()]
    history = np.full((len(rows), longest), -1, np.int64)
    for b, row in enumerate(rows):
        history[b, : len(row)] = row
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {"history": history, "lengths": lengths}
    users = np.full(len(rows), -1, np.int32)
    if USERS in {each.name for each in session.get_inputs()}:
        users = rng.integers(-1, len(model.users), len(rows)).astype(np.int32)  # type: ignore[attr-defined]
        feeds[USERS] = users.astype(np.int64)
    outputs = dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))
    expected = model.score(make_queries(rows, users, model.n_items))
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1e-30)
    if top_k is None:
        return float((np.abs(outputs["scores"] - expected) / scale).max())
    has_none = (expected == 0).all(axis=1)
    if exclude_seen:
        for b, row in enumerate(rows):
            expected[b, row] = -np.inf
    expected[has_none] = -np.inf
    best = -np.sort(-expected, axis=1)[:, : outputs["items"].shape[1]]
    is_past_end = outputs["items"] < 0
    if (is_past_end != np.isneginf(best)).any():
        return float("inf")
    listed = np.where(is_past_end, 0, np.take_along_axis(expected, np.maximum(outputs["items"], 0), axis=1))
    best[is_past_end] = 0
    scores = np.where(is_past_end, 0, outputs["scores"])
    return float((np.maximum(np.abs(scores - best), np.abs(listed - best)) / scale).max())


def make_queries(rows: list[Int32Array], users: Int32Array, n_items: int) -> Queries:
    """Queries of histories, each item of which counts once."""
    indices = [np.unique(row) for row in rows]
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in indices])]).astype(np.int32)
    items = np.concatenate(indices).astype(np.int32)
    ones: Float32Array = np.ones(len(items), np.float32)
    history = sp.csr_array((ones, items, bounds), shape=(len(rows), n_items))
    return Queries(users=users, history=history, sequences=tuple(rows))

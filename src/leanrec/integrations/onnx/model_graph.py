"""The whole graph of a fitted model: from histories to scores, and to lists."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from leanrec._version import __version__
from leanrec.data.vocabulary import Id
from leanrec.errors import BudgetError, SettingError
from leanrec.integrations.onnx.deep import USERS, reads_users, score_mult_vae, score_two_tower
from leanrec.integrations.onnx.graph import GraphBuilder
from leanrec.integrations.onnx.histories import INPUTS, HistoryCells
from leanrec.integrations.onnx.sequential import ENCODERS, score_sequential
from leanrec.models.deep.mult_vae import MultVAEModel
from leanrec.models.deep.two_tower import TwoTowerModel
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.protocols import Scorer

__all__ = ["build_model", "check_exportable"]

# A file of Protocol Buffers ends there.
_MAX_BYTES = 2**31 - 2**20

# By the class of the model: scores (B, N), and (B, 1) whether a query has none.
_SCORES: Mapping[type, Callable[[GraphBuilder, Any, HistoryCells], tuple[str, str]]] = {
    SequentialModel: score_sequential,
    MultVAEModel: score_mult_vae,
    TwoTowerModel: score_two_tower,
}


def check_exportable(model: Scorer) -> None:
    """Raise SettingError unless the model has a form in ONNX."""
    if isinstance(model, SequentialModel):
        found = type(model.settings) in ENCODERS
    else:
        found = isinstance(model, tuple(_SCORES))
    if not found:
        names = sorted(each.__name__ for each in ENCODERS)
        raise SettingError(
            f"The model must be one of {', '.join(names)}, MultVAE and TwoTower, and not compressed: these can be exported "
            f"to ONNX. Got {type(model).__name__}. Fit one of them, or export the model before it is compressed."
        )


def build_model(model: Scorer, ids: Sequence[Id], *, top_k: int | None, exclude_seen: bool) -> Any:
    """The checked ``onnx.ModelProto`` of a model with these ids of its items."""
    graph, cells = _start(model)
    score = next(each for kind, each in _SCORES.items() if isinstance(model, kind))
    scores, is_empty = score(graph, model, cells)
    outputs: dict[str, Any]
    if top_k is None:
        graph.name_output(graph.apply("Where", is_empty, np.float32(0), scores), "scores")
        outputs = {"scores": (np.float32, ("batch", model.n_items))}
    else:
        width = min(top_k, model.n_items)
        scores = graph.apply("Where", is_empty, np.float32(-np.inf), scores)
        if exclude_seen:
            scores = _exclude(graph, scores, cells, model.n_items)
        values, found = graph.apply_all("TopK", 2, scores, np.array([width]))
        past_end = graph.apply("IsInf", values, detect_positive=0)
        graph.name_output(graph.apply("Where", past_end, np.int64(-1), found), "items")
        graph.name_output(values, "scores")
        outputs = {"items": (np.int64, ("batch", width)), "scores": (np.float32, ("batch", width))}
    if graph.stored_bytes > _MAX_BYTES:
        raise BudgetError(
            f"An ONNX file must have less than 2 GiB. The weights of this model have {graph.stored_bytes / 2**30:.1f} GiB. "
            "Fit it with a smaller embedding_dim."
        )
    settings: Any = model.settings  # type: ignore[attr-defined]
    name = type(settings).__name__
    what = "the scores of all items" if top_k is None else "the items with the highest scores"
    return graph.build(
        INPUTS | ({USERS: (np.int64, ("batch",))} if reads_users(model) else {}),
        outputs,
        name=name,
        about=f"{name}, exported by leanrec {__version__}: from histories to {what}.",
        facts={
            "model": name,
            "settings": repr(settings),
            "leanrec": __version__,
            "item_ids": json.dumps(ids, ensure_ascii=False, separators=(",", ":")),
        },
    )


def _start(model: Scorer) -> tuple[GraphBuilder, HistoryCells]:
    graph = GraphBuilder()
    return graph, HistoryCells(graph, model.n_items)


def _exclude(graph: GraphBuilder, scores: str, cells: HistoryCells, n_items: int) -> str:
    """(B, N + 1) scores, −inf for the items of the history, and for the column after the last item, where other cells point."""
    widened = graph.apply("Pad", scores, np.array([0, 0, 0, 1]), np.float32(-np.inf))
    columns = graph.apply("Where", cells.is_item, cells.rows, np.int64(n_items))
    lowest = graph.apply("Expand", np.float32(-np.inf), graph.apply("Shape", columns))
    # The minimum says what happens to an item that comes twice.
    return graph.apply("ScatterElements", widened, columns, lowest, axis=1, reduction="min")

"""Export of a fitted model to one ONNX file, with the ids of its items inside."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from leanrec.artifacts import replace_file
from leanrec.data.vocabulary import Id
from leanrec.errors import ArtifactError, MissingExtraError, SettingError
from leanrec.pipeline.pipeline import Pipeline
from leanrec.protocols import Scorer

__all__ = ["OnnxExport", "export_onnx"]

# Largest difference of a score, relative to the largest of its history, with which a file is written.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class OnnxExport:
    """A model that was written as an ONNX file.

    Attributes:
        path: the file.
        n_bytes: its size.
        n_compared: random histories for which ONNX Runtime was compared with the model, empty and long ones among them.
        difference: largest difference of a score, relative to the largest score of its history.
    """

    path: Path
    n_bytes: int
    n_compared: int
    difference: float


def export_onnx(
    model: Pipeline | Scorer,
    path: str | Path,
    *,
    top_k: int | None = 20,
    exclude_seen: bool = True,
    item_ids: Sequence[Id] | None = None,
) -> OnnxExport:
    """Write a fitted model as one ONNX file, which ONNX Runtime and other programs run without leanrec and without Python.

    Inputs: ``history`` (B, L) int64, the rows of the items of each history, oldest first, padded to the longest; and
    ``lengths`` (B,) int64. Cells past the length and numbers that are no row of an item are left out. A two-tower with
    features of users also reads ``users`` (B,) int64, rows of users; −1 = another user.

    Outputs: ``items`` (B, top_k) int64 rows, best first, and ``scores`` (B, top_k) float32; −1 and −inf past the end of a
    list. A history without an item has an empty list. With ``top_k=None`` only ``scores`` (B, N), zeros for such a history.

    The metadata "item_ids" is a JSON list of the ids of the items by row; "model", "settings" and "leanrec" (the version) say
    where the file comes from.

    SASRec, BERT4Rec, GRU4Rec, Caser, HSTU, LRURec, MultVAE and TwoTower can be exported. The operators are those of opset 20;
    every array is in the file once, in float32. Before the file appears, in one step, ONNX Runtime runs it for random histories,
    and its results must be those of the model. Memory: four times the weights.

    Args:
        model: a pipeline, of which the model is exported without rules and fallback; or a fitted model.
        path: the file, which is replaced if it exists.
        top_k: length of the lists; None = scores of all items.
        exclude_seen: leave the items of the history out of the lists.
        item_ids: ids by row for a model without a pipeline; None = the numbers of the rows.

    Raises SettingError for a model of another kind, BudgetError for weights of 2 GiB or more,
    ArtifactError if the file cannot be written or gives other results, and MissingExtraError without the extra onnx.
    """
    try:
        from leanrec.integrations.onnx.agreement import N_COMPARED, measure_difference  # noqa: PLC0415 - optional
        from leanrec.integrations.onnx.model_graph import build_model, check_exportable  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtraError.from_import_error("The export to ONNX", error) or error from error
    scorer = model.model if isinstance(model, Pipeline) else model
    check_exportable(scorer)
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise SettingError(f"top_k must be a whole number of at least 1, or None for all scores. Got {top_k!r}.")
    if isinstance(model, Pipeline):
        item_ids = model.catalog.items.ids[: scorer.n_items].tolist()  # later ones are not in the model
    ids = list(range(scorer.n_items)) if item_ids is None else list(item_ids)
    if len(ids) != scorer.n_items:
        raise SettingError(f"item_ids must have one id for each of the {scorer.n_items} items. Got {len(ids)}.")
    file = Path(path)
    if not file.parent.is_dir() or file.is_dir():
        raise ArtifactError(f"The path must be a file in a folder that exists. Got {file}. Name another one.")
    built = build_model(scorer, ids, top_k=top_k, exclude_seen=exclude_seen).SerializeToString()
    difference = measure_difference(built, scorer, top_k=top_k, exclude_seen=exclude_seen)
    if not difference <= _TOLERANCE:
        raise ArtifactError(
            f"The exported model must give the scores of the model. With this ONNX Runtime they differ by {difference:.1e} of the "
            "largest score, so nothing was written. Please report it, with the settings of the model."
        )
    try:
        replace_file(file, built)
    except OSError as error:
        raise ArtifactError(f"{file} could not be written: {error.strerror}. Nothing was left there.") from error
    return OnnxExport(file, len(built), N_COMPARED, difference)

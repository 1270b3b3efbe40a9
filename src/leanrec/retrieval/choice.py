"""Choice of the retrieval of a fitted model: exact search, or an approximate index where it pays and is good enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.errors import MissingExtraError, SettingError
from leanrec.protocols import Embedder, Scorer
from leanrec.retrieval.approximate import RECALL, ApproximateIndex, has_faiss
from leanrec.run import Run
from leanrec.settings import check_one_of

__all__ = ["RETRIEVALS", "check_retrieval", "choose_index", "get_asked"]

RETRIEVALS = ("auto", "exact", "approximate")
_AUTO_ABOVE = 2_000_000  # items, for which exact search takes 10 ms
_N_QUERIES = 200


def check_retrieval(retrieval: str) -> None:
    """Raise SettingError for an unknown retrieval, and MissingExtraError for an approximate one without its package."""
    check_one_of("retrieval", retrieval, RETRIEVALS)
    if retrieval == "approximate" and not has_faiss():
        raise MissingExtraError("Approximate retrieval", "ann")


def choose_index(
    model: Scorer, data: Dataset, retrieval: str, run: Run
) -> tuple[ApproximateIndex | None, dict[str, Any]]:
    """The index of a fitted model, None for exact search; and what was chosen and why, for the provenance.

    Nothing is said where exact search needs no reason. Queries of users of the data measure how many lists a query probes.
    """
    n_items = model.n_items
    if retrieval == "exact":
        return None, {"asked": retrieval, "used": "exact"}
    if retrieval == "auto" and (n_items <= _AUTO_ABOVE or not isinstance(model, Embedder)):
        return None, {}
    exact = {"asked": retrieval, "used": "exact"}
    if not isinstance(model, Embedder):
        return None, exact | {"note": "Retrieval is exact: the score of this model is not a dot product of vectors."}
    if not has_faiss():
        note = f"Retrieval is exact. An approximate index is faster for {n_items:,} items: pip install 'leanrec[ann]'."
        return None, exact | {"note": note}
    rng = np.random.default_rng(run.seed)
    with_events = np.flatnonzero(np.diff(data.indptr)).astype(np.int32)
    users = np.sort(rng.permutation(with_events)[:_N_QUERIES])
    try:
        index = ApproximateIndex.build(
            model.embed_items(), model.embed_queries(data.queries(users)), seed=run.seed, threads=run.n_threads()
        )
    except SettingError as error:
        return None, exact | {"note": f"Retrieval is exact: {error}"}
    if index is None:
        note = f"Retrieval is exact: an approximate index does not reach a recall of {RECALL:g} on these vectors."
        return None, exact | {"note": note}
    return index, {
        "asked": retrieval,
        "used": "approximate",
        "lists": index.n_lists,
        "depths": index.depths.tolist(),
        "probes": index.probes.tolist(),
        "recalls": [round(float(each), 4) for each in index.recalls],
    }


def get_asked(provenance: Mapping[str, Any]) -> str:
    """The retrieval that was asked for in the fit of a pipeline."""
    asked = provenance.get("retrieval", {}).get("asked", "auto")
    return asked if asked in RETRIEVALS and (asked != "approximate" or has_faiss()) else "auto"

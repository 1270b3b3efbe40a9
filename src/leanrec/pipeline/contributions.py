"""Contributions of a history to scores, of a model that explains itself and of any other."""

import dataclasses
from collections.abc import Callable

import numpy as np

from leanrec.events.user_history import UserHistory
from leanrec.pipeline.snapshot import Snapshot
from leanrec.protocols import Explainable, Explanation
from leanrec.types import Int32Array, Queries

__all__ = ["explain_by_single_items", "explain_without_hidden", "has_other_evidence"]

_MAX_EXPLAINED = 50  # newest history items to score one by one


def explain_without_hidden(
    snapshot: Snapshot, explainer: Explainable, queries: Queries, rows: Int32Array, top_k: int
) -> list[Explanation]:
    """Explanations of the items (R,) with the ``top_k`` largest contributions of items that are not hidden."""
    if snapshot.shown is None:
        return explainer.explain(queries, rows, top_k)
    past = queries.history.indices if queries.seen is None else queries.seen.indices
    n_hidden = int(np.count_nonzero(~snapshot.shown[past]))
    explanations = []
    for each in explainer.explain(queries, rows, top_k + n_hidden):
        kept = np.flatnonzero(snapshot.is_shown(each.items))[:top_k]
        paths = tuple(path for path in each.paths if snapshot.shown[path.item])
        explanations.append(dataclasses.replace(each, items=each.items[kept], weights=each.weights[kept], paths=paths))
    return explanations


def explain_by_single_items(
    snapshot: Snapshot, queries: Queries, row: int, build_history: Callable[[Int32Array], UserHistory]
) -> Explanation:
    """For a model that cannot explain itself: the score of the item ``row`` for a history of each single item.

    A contribution is how far that score is above the mean of all items. Cost: one query of the model for each of the newest
    50 items of the history.

    Args:
        snapshot: model and catalog.
        queries: one query (B = 1).
        row: the item.
        build_history: makes a history of item rows.
    """
    past = queries.history.indices if queries.sequences is None else queries.sequences[0]
    newest = np.unique(past[-_MAX_EXPLAINED:])
    newest = newest[snapshot.is_shown(newest)]
    if not len(newest):
        return Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32))
    single = [build_history(np.array([item], np.int32)).to_queries(-1, len(snapshot.catalog)) for item in newest]
    scores = np.concatenate([snapshot.model.score(each) for each in single])
    above_mean = scores[:, row] - scores.mean(axis=1)
    order = np.argsort(-above_mean, kind="stable")
    return Explanation("history", newest[order].astype(np.int32), above_mean[order])


def has_other_evidence(snapshot: Snapshot, queries: Queries) -> bool:
    """Whether an explainable model has evidence, such as links, for a user (B = 1) without a history."""
    if queries.users[0] < 0 or snapshot.explainer is None:
        return False
    scores = snapshot.model.score(queries)[0]
    return bool(scores.max(initial=0) > scores.min(initial=0))

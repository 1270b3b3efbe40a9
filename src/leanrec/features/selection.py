"""Feature selection by variance, or by mutual information with a grouping of the items."""

import dataclasses
from typing import Annotated, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

from leanrec.errors import DataError, SettingError
from leanrec.features.base import STRINGS, Float64Array, StringArray
from leanrec.features.reduction import truncated_svd
from leanrec.field_checks import ArrayShape
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Int32Array

__all__ = [
    "FeatureScore",
    "FeatureSelector",
    "FittedFeatureSelector",
    "compute_variances",
    "group_by_audience",
    "group_by_popularity",
    "mutual_information",
]


class FeatureScore(NamedTuple):
    """The outcome of the selection for one feature.

    Attributes:
        name: of the feature.
        score: variance, or mutual information in nats.
        kept: whether it is selected.
        reason: why, in words.
    """

    name: str
    score: float
    kept: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class FeatureSelector:
    """Select the features of the highest score.

    Cost: O(entries) for either score.
    """

    by: str = setting(
        "variance",
        one_of=("variance", "mutual-information"),
        doc='"variance", or "mutual-information" between having the feature and the group of the item.',
    )
    target: str = setting(
        "audience",
        one_of=("audience", "popularity"),
        doc=(
            'Grouping of the items where none is passed to the fit: "audience" (the users who interacted with the '
            'item) or "popularity" (their number).'
        ),
    )
    max_features: int = setting(10_000, at_least=1, doc="Maximum number of features to keep.")
    min_score: float = setting(0.0, at_least=0, doc="Minimum score; features below it are dropped.")
    n_groups: int = setting(8, between=(2, 1000), doc="Number of groups.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, X: CSR, names: tuple[str, ...], groups: Int32Array | None = None) -> "FittedFeatureSelector":
        """Score the F columns of X (N, F). Raises SettingError where ``groups`` (N,) are needed."""
        if self.by == "variance":
            scores = compute_variances(X)
        elif groups is None:
            raise SettingError(
                "Selection by mutual information must be given the group of each row. Got none; pass groups=."
            )
        else:
            scores = mutual_information(X, groups)
        order = np.argsort(-scores, kind="stable")
        chosen = order[: self.max_features]
        kept = np.zeros(len(scores), dtype=np.bool_)
        kept[chosen[(scores[chosen] >= self.min_score) & (scores[chosen] > 0)]] = True
        return FittedFeatureSelector(self, np.array(names, dtype=STRINGS), scores, kept)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFeatureSelector:
    """A fitted `FeatureSelector`.

    Attributes:
        settings: settings of the fit.
        names: (F,) StringDType of all features.
        scores: (F,) float64.
        kept: (F,) bool.
    """

    settings: FeatureSelector
    names: Annotated[StringArray, ArrayShape("F")]
    scores: Annotated[Float64Array, ArrayShape("F")]
    kept: Annotated[NDArray[np.bool_], ArrayShape("F")]

    def apply(self, X: CSR) -> CSR:
        """The kept columns of X (n, F)."""
        return sp.csr_array(X[:, np.flatnonzero(self.kept)])

    def report(self) -> list[FeatureScore]:
        """Every feature, best first, with its score and the reason."""
        order = np.argsort(-self.scores, kind="stable").tolist()
        rows = zip(self.names[order].tolist(), self.scores[order].tolist(), self.kept[order].tolist(), strict=True)
        return [
            FeatureScore(name, score, kept, self._reason(score, kept, rank))
            for rank, (name, score, kept) in enumerate(rows)
        ]

    def _reason(self, score: float, kept: bool, rank: int) -> str:
        what = self.settings.by.replace("-", " ")
        if kept:
            return f"{what} {score:.4g} is number {rank + 1} of {len(self.scores)}"
        if score <= 0:
            return (
                f"{what} is 0: all items have the same value"
                if self.settings.by == "variance"
                else f"{what} is 0: independent of the group"
            )
        if score < self.settings.min_score:
            return f"{what} {score:.4g} is below {self.settings.min_score:g}"
        return f"{what} {score:.4g} is number {rank + 1}; the first {self.settings.max_features} are kept"


def compute_variances(X: CSR) -> Float64Array:
    """(F,) variance of each column, zeros included. O(entries)."""
    n = max(X.shape[0], 1)
    means = np.bincount(X.indices, weights=X.data, minlength=X.shape[1]) / n
    squares = np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=X.shape[1]) / n
    spread = squares - means**2
    # A constant column has only rounding errors.
    return np.where(spread > 1e-7 * squares, spread, 0.0)


def mutual_information(X: CSR, groups: Int32Array) -> Float64Array:
    """(F,) mutual information, in nats, of having the feature and the row's group. O(entries + F · G).

    Args:
        X: (N, F).
        groups: (N,) group of each row, 0 … G − 1; −1 leaves a row out.
    """
    if len(groups) != X.shape[0]:
        raise DataError(f"groups must have one entry per row ({X.shape[0]}). Got {len(groups)}.")
    known = groups >= 0
    n_groups = int(groups.max(initial=0)) + 1
    has = sp.csr_array(((X.data != 0).astype(np.float64), X.indices, X.indptr), shape=X.shape)
    member = sp.csr_array((np.ones(known.sum()), (np.flatnonzero(known), groups[known])), shape=(len(groups), n_groups))
    sizes = np.asarray(member.sum(axis=0)).reshape(-1)
    total = max(sizes.sum(), 1.0)
    having = (has.T @ member).toarray()
    information = np.zeros(X.shape[1])
    for joint in (having, sizes - having):
        expected = joint.sum(axis=1, keepdims=True) * sizes / total
        ratio = np.divide(joint, expected, out=np.ones_like(joint), where=joint > 0)
        information += (joint / total * np.log(ratio)).sum(axis=1)
    return np.where(information > 1e-12, information, 0.0)


def group_by_popularity(interactions: CSR, groups: int = 8) -> Int32Array:
    """(N,) the quantile of each item's popularity, 0 = least popular; −1 = no interactions."""
    users = np.bincount(interactions.indices, minlength=interactions.shape[1])
    interacted = np.flatnonzero(users)
    rank = np.empty(len(interacted), dtype=np.int64)
    rank[np.argsort(users[interacted], kind="stable")] = np.arange(len(interacted))
    group = np.full(len(users), -1, dtype=np.int32)
    group[interacted] = rank * groups // max(len(interacted), 1)
    return group


def group_by_audience(interactions: CSR, groups: int = 8, run: Run = Run()) -> Int32Array:
    """(N,) a clustering of the items by the users who interacted with them; −1 = no interactions.

    Items are clustered by direction in the space of the first singular vectors of log(1 + weight), the most
    common direction (popularity) excluded. Fewer items with interactions than ``groups`` are one group.
    O(entries · groups).
    """
    users = np.bincount(interactions.indices, minlength=interactions.shape[1])
    interacted = np.flatnonzero(users)
    group = np.full(len(users), -1, dtype=np.int32)
    if len(interacted) < groups:
        group[interacted] = 0
        return group
    logs = sp.csr_array(
        (np.log1p(interactions.data), interactions.indices, interactions.indptr), shape=interactions.shape
    )
    audience = normalize(sp.csr_array(logs[:, interacted].T))
    width = min(groups + 1, *audience.shape)
    if width < 2:
        group[interacted] = 0
        return group
    with run.limit_threads():
        basis = truncated_svd(audience.astype(np.float32), width, run)[0]
        coordinates = normalize(np.asarray(audience @ basis.T)[:, 1:])
        group[interacted] = KMeans(groups, n_init=4, random_state=run.seed).fit_predict(coordinates)
    return group

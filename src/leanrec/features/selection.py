"""Which features to keep: the ones that vary, or the ones that say something about who touches an item."""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

from leanrec.errors import DataError, SettingError
from leanrec.features.base import STRINGS, Float64Array, StringArray
from leanrec.features.reduction import truncated_svd
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Int32Array

__all__ = [
    "Judged",
    "Select",
    "Selection",
    "audience_groups",
    "mutual_information",
    "popularity_groups",
    "variances",
]


class Judged(NamedTuple):
    """One feature, its score, whether it stays and why."""

    name: str
    score: float
    kept: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Select:
    """How to choose among features.

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
            'What the groups are, if none are given to the fit: "audience" (who touches the item) or "popularity" '
            "(how many do)."
        ),
    )
    keep: int = setting(10_000, at_least=1, doc="Most features to keep.")
    at_least: float = setting(0.0, at_least=0, doc="Least score; features below it go, whatever ``keep`` says.")
    groups: int = setting(8, between=(2, 1000), doc="Number of groups.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(self, X: CSR, names: tuple[str, ...], groups: Int32Array | None = None) -> "Selection":
        """Score the F columns of X (N, F). Raises SettingError where ``groups`` (N,) are needed."""
        if self.by == "variance":
            scores = variances(X)
        elif groups is None:
            raise SettingError(
                "Selection by mutual information must be given the group of each row. Got none; pass groups=."
            )
        else:
            scores = mutual_information(X, groups)
        order = np.argsort(-scores, kind="stable")
        chosen = order[: self.keep]
        kept = np.zeros(len(scores), dtype=np.bool_)
        kept[chosen[(scores[chosen] >= self.at_least) & (scores[chosen] > 0)]] = True
        return Selection(self, np.array(names, dtype=STRINGS), scores, kept)


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """What was kept, and why.

    Attributes:
        settings: how it was chosen.
        names: (F,) StringDType of all features.
        scores: (F,) float64.
        kept: (F,) bool.
    """

    settings: Select
    names: StringArray
    scores: Float64Array
    kept: NDArray[np.bool_]

    def apply(self, X: CSR) -> CSR:
        """The kept columns of X (n, F)."""
        return sp.csr_array(X[:, np.flatnonzero(self.kept)])

    def report(self) -> list[Judged]:
        """Every feature, best first, with its score and the reason."""
        order = np.argsort(-self.scores, kind="stable").tolist()
        rows = zip(self.names[order].tolist(), self.scores[order].tolist(), self.kept[order].tolist(), strict=True)
        return [
            Judged(name, score, kept, self._reason(score, kept, rank)) for rank, (name, score, kept) in enumerate(rows)
        ]

    def _reason(self, score: float, kept: bool, rank: int) -> str:
        what = self.settings.by.replace("-", " ")
        if kept:
            return f"{what} {score:.4g} is number {rank + 1} of {len(self.scores)}"
        if score <= 0:
            return (
                f"{what} is 0: it tells no two items apart"
                if self.settings.by == "variance"
                else f"{what} is 0: it says nothing of the group"
            )
        if score < self.settings.at_least:
            return f"{what} {score:.4g} is below {self.settings.at_least:g}"
        return f"{what} {score:.4g} is number {rank + 1}; the first {self.settings.keep} stay"


def variances(X: CSR) -> Float64Array:
    """(F,) variance of each column, zeros included. O(entries)."""
    n = max(X.shape[0], 1)
    means = np.bincount(X.indices, weights=X.data, minlength=X.shape[1]) / n
    squares = np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=X.shape[1]) / n
    spread = squares - means**2
    # A constant column leaves only rounding.
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


def popularity_groups(interactions: CSR, groups: int = 8) -> Int32Array:
    """(N,) which of ``groups`` equal slices of the popularity ranking, 0 = least; −1 = untouched."""
    users = np.bincount(interactions.indices, minlength=interactions.shape[1])
    touched = np.flatnonzero(users)
    rank = np.empty(len(touched), dtype=np.int64)
    rank[np.argsort(users[touched], kind="stable")] = np.arange(len(touched))
    group = np.full(len(users), -1, dtype=np.int32)
    group[touched] = rank * groups // max(len(touched), 1)
    return group


def audience_groups(interactions: CSR, groups: int = 8, run: Run = Run()) -> Int32Array:
    """(N,) the group of users that an item's audience is nearest to; −1 = untouched.

    Items are clustered by direction in the space of the first singular vectors of log(1 + weight), the most
    common direction (popularity) left out. O(entries · groups).
    """
    users = np.bincount(interactions.indices, minlength=interactions.shape[1])
    touched = np.flatnonzero(users)
    group = np.full(len(users), -1, dtype=np.int32)
    if len(touched) < groups:
        group[touched] = 0
        return group
    logs = sp.csr_array(
        (np.log1p(interactions.data), interactions.indices, interactions.indptr), shape=interactions.shape
    )
    audience = normalize(sp.csr_array(logs[:, touched].T))
    width = min(groups + 1, *audience.shape)
    if width < 2:
        group[touched] = 0
        return group
    with run.limit_threads():
        basis = truncated_svd(audience.astype(np.float32), width, run)[0]
        places = normalize(np.asarray(audience @ basis.T)[:, 1:])
        group[touched] = KMeans(groups, n_init=4, random_state=run.seed).fit_predict(places)
    return group

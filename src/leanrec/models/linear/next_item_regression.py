"""Next-item regression: ridge regression of the next item on the latest items of a history, in closed form.

Choi, Kim, Lee, Shim & Lee, "Session-aware Linear Item-Item Models for Session-based Recommendation", WWW 2021, where the
weight of an item decays with its distance. What differs: several decays side by side, each with weights of its own, and
weights for the most related pairs only.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError, SettingError
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import concat_ranges, replace_values
from leanrec.kernels.solvers.dense_ridge import dense_gram
from leanrec.kernels.solvers.local_ridge import fit_local_ridges, local_ridge_bytes
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.training.histories import PackedHistories
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["NextItemRegression", "NextItemRegressionModel"]

# Up to this size the Gram matrix of all columns is computed once, and those of the regressions are copied from it.
_GRAM_BYTES = 2**30
# Numbers of the dense block of products from which the most related items are chosen.
_BLOCK_NUMBERS = 2**24
# Importance of a weight: |weight| · frequency^0.3 of the item of the history · frequency^-0.2 of the scored item, as
# where item-item weights are pruned.
_HISTORY_POWER, _SCORED_POWER = 0.3, -0.2


@dataclasses.dataclass(frozen=True)
class NextItemRegression:
    """Item-item weights that predict the next item from the order of a history: an item a places before the last counts decay^a.

    Each decay has weights of its own, so that the last item, the latest few and the whole history are weighed
    apart. The weights minimize |T − Φ W|² + ridge · |W|² over examples cut from the histories: Φ are the decayed items before
    the cut, T the item after it, or any distribution over items, such as that of another model (``fit_targets``).

    When to use: the order of histories matters, and a fit must take seconds or answers must be fast without torch.

    Cost: fit O(examples · (F · L)²) for F decays and L items of a history, and O(N · K²) for the regressions; a query
    O(F · L · K) on average; the model 8 N · top_k bytes, or a quarter of that where it is compressed.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "order"})
    COST: ClassVar[str] = "minutes"

    decays: tuple[float, ...] = setting(
        (0.5, 0.9),
        between=(0, 1),
        search="[0.5,0.9],[0.3,0.8,0.97],[0.7],[1]",
        doc="Weight of an item relative to the one after it, in each group of weights; 1 = the order does not matter.",
    )
    max_length: int = setting(30, at_least=1, doc="L, number of latest items of a history that are used.")
    l2: float = setting(
        0.3,
        above=0,
        search="0.02..10:log",
        doc="Ridge strength, in units of the mean squared length of a column of Φ.",
    )
    n_neighbors: int = setting(
        300,
        at_least=1,
        search="50..800:log",
        doc="K, number of most related items, each counted once for each decay, on which an item is regressed.",
    )
    top_k: int = setting(
        100,
        at_least=0,
        doc="Mean number of weights of an item: the most important of all are kept and solved for again; 0 = all K.",
    )
    n_examples: int = setting(
        1_000_000,
        at_least=1,
        doc="Largest number of places of histories that are predicted; of more a sample is drawn. Many matter.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.decays or len(set(self.decays)) < len(self.decays):
            raise SettingError(f"decays must be one or more different numbers from 0 to 1. Got {self.decays}.")

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The examples in two orders, the Gram matrix or what replaces it, and the weights in several forms."""
        groups, n = len(self.decays), shape.items
        examples = min(self.n_examples, shape.events)
        entries = examples * (groups * min(self.max_length, shape.events) + 1)
        columns = (groups + 1) * n
        k = min(self.n_neighbors, groups * n)
        gram = 4 * columns**2
        work = local_ridge_bytes(examples, entries, k, columns, 8)
        size = 40 * entries + 64 * shape.events + 80 * n * k + 8 * min(_BLOCK_NUMBERS, groups * n * n) + work + 2**25
        return size + (gram if gram <= _GRAM_BYTES else 0)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "NextItemRegressionModel":
        """Regress the item after each of up to ``n_examples`` places of the histories on the items before it."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Next-item regression over {len(data.items)} items",
            "Lower n_examples or n_neighbors, or raise the limit.",
        )
        return self._regress(*self._cut_examples(data, run), run)

    @require_finite
    def fit_targets(
        self, data: Dataset, queries: Queries, targets: CSR, run: Run = Run(), *, weight: float = 1.0
    ) -> "NextItemRegressionModel":
        """Regress the given targets on the items of the queries, and the items of ``data`` as ``fit`` does.

        Args:
            data: the interactions.
            queries: B histories.
            targets: (B, N) float32, at least 0: what the scores of each shall be, such as the distribution of another model.
            run: seed and threads.
            weight: number of places of the data that a query counts as.
        """
        examples, following = self._cut_examples(data, run)
        others = PackedHistories.from_queries(queries, self.max_length)
        both = PackedHistories(
            np.concatenate([examples.items, others.items]),
            np.concatenate([examples.bounds, examples.bounds[-1] + others.bounds[1:]]),
        )
        weights = np.repeat(np.sqrt(np.array([1, weight], np.float32)), [len(examples), len(others)])
        return self._regress(both, sp.csr_array(sp.vstack([following, targets], format="csr")), run, weights)

    def _cut_examples(self, data: Dataset, run: Run) -> tuple[PackedHistories, CSR]:
        """The items before each of up to ``n_examples`` places of the histories, and the items there as rows of one entry."""
        histories = PackedHistories.from_dataset(data)
        has_before = np.ones(len(histories.items), np.bool_)
        has_before[histories.bounds[:-1][histories.lengths > 0]] = False
        cuts = np.flatnonzero(has_before)
        if len(cuts) > self.n_examples:
            cuts = np.sort(run.rng().choice(cuts, self.n_examples, replace=False))
        firsts = histories.bounds[np.searchsorted(histories.bounds, cuts, side="right") - 1]
        starts = np.maximum(firsts, cuts - self.max_length)
        before = histories.items[concat_ranges(starts, cuts - starts)]
        examples = PackedHistories(before, np.concatenate([[0], np.cumsum(cuts - starts)]))
        entries = np.ones(len(cuts), np.float32), histories.items[cuts], np.arange(len(cuts) + 1)
        return examples, sp.csr_array(entries, shape=(len(cuts), len(data.items)))

    def _regress(
        self, histories: PackedHistories, targets: CSR, run: Run, example_weights: Float32Array | None = None
    ) -> "NextItemRegressionModel":
        n, groups = targets.shape[1], len(self.decays)
        with run.limit_threads():
            X = _weigh_positions(histories, self.decays, n)
            if example_weights is not None:
                X, targets = (
                    replace_values(each, each.data * np.repeat(example_weights, np.diff(each.indptr)))
                    for each in (X, targets)
                )
            # One matrix, so that targets are columns beside those that they are regressed on.
            columns = sp.csr_array(sp.hstack([X, targets], format="csr"))
            gram = dense_gram(columns) if 4 * columns.shape[1] ** 2 <= _GRAM_BYTES else None
            columns = sp.csr_array(columns.T)
            squares = np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=X.shape[1])
            used = squares > 0
            ridge = self.l2 * (float(squares[used].mean()) if used.any() else 1.0)
            penalties = np.full(columns.shape[0], ridge, np.float32)

            def solve(pattern: CSR) -> CSR:
                weights = fit_local_ridges(columns, pattern, penalties, first=groups * n, gram=gram)
                return sp.csr_array((weights, pattern.indices, pattern.indptr), shape=pattern.shape)

            pattern = _find_related(X, targets, squares + ridge, min(self.n_neighbors, X.shape[1]))
            rows = solve(pattern)
            if self.top_k and rows.nnz > self.top_k * n:
                of_items = np.bincount(targets.indices, minlength=n) + 1.0
                in_history = np.tile(np.bincount(histories.items, minlength=n) + 1.0, groups)
                rows = solve(_keep_important(rows, in_history, of_items, self.top_k * n))
            rows = sp.csr_array((rows.data, rows.indices, rows.indptr), shape=(n, groups * n))
            rows.eliminate_zeros()
            return NextItemRegressionModel(settings=self, weights=compact_indices(sp.csr_array(rows.T)))


@dataclasses.dataclass(frozen=True, eq=False)
class NextItemRegressionModel:
    """A fitted `NextItemRegression`. It needs no torch.

    Attributes:
        settings: settings of the fit.
        weights: (F N, N) CSR float32; ``weights[f N + i, j]`` is the contribution of item i, as decay f weighs it, to the
            score of item j.
    """

    settings: NextItemRegression
    weights: Annotated[CSR, ArrayShape("M", "N")]

    def check_state(self) -> None:
        """Raise DataError unless there are weights for each decay."""
        expected = (len(self.settings.decays) * self.n_items, self.n_items)
        if self.weights.shape != expected:
            raise DataError(f"NextItemRegressionModel.weights must be {expected}. Got {self.weights.shape}.")

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.weights.shape[1])

    def profile(self, queries: Queries) -> CSR:
        """(B, F N): the latest items, weighed by each decay."""
        histories = PackedHistories.from_queries(queries, self.settings.max_length)
        return _weigh_positions(histories, self.settings.decays, self.n_items)

    def item_weights(self) -> CSR | None:
        """(F N, N) the weights."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Weighed latest items × weights: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.weights, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The latest items of the history and their contributions to the score, those of all decays together."""
        profile = self.profile(queries)
        found, group = np.unique(profile.indices % self.n_items, return_inverse=True)
        added = np.zeros((len(items), len(found)), np.float32)
        np.add.at(added.T, group, history_contributions(profile, self.weights, items).T)
        return rank_contributions(found, added, top_k=top_k)


def _weigh_positions(histories: PackedHistories, decays: tuple[float, ...], n_items: int) -> CSR:
    """(B, F N) float32: decay^a for an item a places before the last, in F groups of columns; sums for items that repeat."""
    groups, lengths = len(decays), histories.lengths
    age = np.repeat(histories.bounds[1:], lengths) - 1 - np.arange(len(histories.items))
    values = np.asarray(decays, np.float32) ** age[:, None].astype(np.float32)
    columns = histories.items[:, None] + (n_items * np.arange(groups)).astype(np.int32)
    shape = (len(histories), groups * n_items)
    matrix = sp.csr_array((values.ravel(), columns.ravel(), groups * histories.bounds), shape=shape)
    matrix.sum_duplicates()
    return compact_indices(matrix)


def _find_related(X: CSR, targets: CSR, squares: np.ndarray, k: int) -> CSR:
    """(N, F N + N) pattern: for each target the K columns of X of the largest product with it over their length."""
    n, width = targets.shape[1], X.shape[1]
    by_item = sp.csr_array(targets.T)
    scale = (1 / np.sqrt(squares)).astype(np.float32)
    indices, counts = [np.zeros(0, np.int32)], np.zeros(n + 1, np.int64)
    step = max(1, _BLOCK_NUMBERS // max(1, width))
    for first in range(0, n, step):
        products = (by_item[first : first + step] @ X).toarray() * scale
        best = np.sort(np.argpartition(-products, k - 1, axis=1)[:, :k], axis=1)
        related = np.take_along_axis(products, best, 1) > 0
        counts[first + 1 : first + 1 + len(products)] = related.sum(axis=1)
        indices.append(best[related].astype(np.int32))
    columns = np.concatenate(indices)
    return sp.csr_array((np.ones(len(columns), np.float32), columns, np.cumsum(counts)), shape=(n, width + n))


def _keep_important(rows: CSR, in_history: np.ndarray, of_items: np.ndarray, n_weights: int) -> CSR:
    """The pattern of the most important weights of all items; equal ones in the order of their rows and columns."""
    targets = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    powers = in_history[rows.indices] ** _HISTORY_POWER * of_items[targets] ** _SCORED_POWER
    kept = np.sort(np.argsort(-np.abs(rows.data) * powers, kind="stable")[:n_weights])
    bounds = np.concatenate([[0], np.cumsum(np.bincount(targets[kept], minlength=rows.shape[0]))])
    return sp.csr_array((rows.data[kept], rows.indices[kept], bounds), shape=rows.shape)

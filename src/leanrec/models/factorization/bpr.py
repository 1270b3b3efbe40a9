"""BPR: factorisation that learns to put touched items before others.

Rendle, Freudenthaler, Gantner & Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
"""

import dataclasses

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.kernels.sgd.pairwise import PairwiseStep, fold_in_users, run_epoch
from leanrec.kernels.sparse import dot_scores
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["BPR", "BPRModel"]

# Steps on the vector of a user who was not in the fit: 0.2 ms at a width of 64.
_FOLD_STEPS = 2000


@dataclasses.dataclass(frozen=True)
class BPR:
    """Vectors and item biases that minimise −log σ(score of a touched item − score of another), over drawn pairs.

    A user of the fit whose history has not changed has a learnt vector. Anybody else gets one by the same steps
    on the history, with the items as they are.

    Cost: an epoch O(E · D) time; memory 4 D (U + N) bytes and 40 bytes an event. A query O(N · D), and 2,000 · D more
    for a user who was not in the fit; the model 4 D (U + N) bytes.
    """

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, the length of a vector.")
    learning_rate: float = setting(
        0.2,
        above=0,
        search="0.02..2:log",
        doc="Length of the first step; it falls to a tenth over the epochs.",
    )
    l2: float = setting(0.01, at_least=0, search="0.0001..1:log", doc="Ridge strength.")
    sampler: str = setting(
        "uniform",
        one_of=("uniform", "popularity"),
        doc='How the other item is drawn: "uniform", or "popularity" (in proportion to how often items occur).',
    )
    epochs: int = setting(60, at_least=1, doc="Passes over the interactions.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The vectors with the draft of their random start, and the interactions in several orders."""
        return 12 * (self.embedding_dim + 1) * (shape.users + shape.items) + 64 * shape.events + 2**20

    def fit(self, data: Dataset, run: Run = Run()) -> "BPRModel":
        """Step through the interactions; stops after an epoch when the time of ``run`` is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"BPR of width {self.embedding_dim}",
            "Choose a smaller width or raise the limit.",
        )
        rng = run.rng()
        X = data.interactions.sorted_indices()
        with run.limit_threads():
            users, items = _draw(rng, X.shape[0], self.embedding_dim), _draw(rng, X.shape[1], self.embedding_dim + 1)
            items[:, -1] = 0
            for epoch in run.track(range(self.epochs), "BPR"):
                run_epoch(X, users, items, self._step(1 - 0.9 * epoch / self.epochs), rng)
                if run.out_of_time():
                    break
        # Who or what was never in a pair has no direction.
        users[np.diff(X.indptr) == 0] = 0
        counts = np.bincount(X.indices, minlength=X.shape[1])
        frequency = np.cumsum(counts) if self.sampler == "popularity" else np.zeros(0, np.int64)
        return BPRModel(settings=self, users=users, items=items, frequency=frequency.astype(np.int64))

    def _step(self, share: float = 1.0) -> PairwiseStep:
        return PairwiseStep(self.learning_rate * share, self.l2, by_popularity=self.sampler == "popularity")


@dataclasses.dataclass(frozen=True, eq=False)
class BPRModel:
    """A fitted BPR.

    Attributes:
        settings: what it was fitted with.
        users: (U, D) float32 user vectors; zeros for a user without interactions.
        items: (N, D + 1) float32 item vectors, their bias last.
        frequency: (N,) int64 running sum of the items' interactions, empty where others are drawn uniformly.
    """

    settings: BPR
    users: Float32Array
    items: Float32Array
    frequency: Int64Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1): learnt vectors of known users, steps on the history for others; zeros for an empty history."""
        out = np.zeros((len(queries), self.items.shape[1]), np.float32)
        empty = np.diff(queries.history.indptr) == 0
        new = queries.users < 0
        known = np.flatnonzero(~new)
        out[known, :-1] = self.users[queries.users[known]]
        if new.any():
            out[new, :-1] = self._fold_in(queries.history if new.all() else queries.history[np.flatnonzero(new)])
        out[:, -1] = 1
        out[empty] = 0
        return out

    def _fold_in(self, history: CSR) -> Float32Array:
        return fold_in_users(history, self.items, self.frequency, self.settings._step(), _FOLD_STEPS)  # noqa: SLF001 - its own settings

    def embed_items(self) -> Float32Array:
        """(N, D + 1), the bias last."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors + biases."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far a step of learning on each would raise the score of ``item``.

        A vector learnt by steps is a sum of such pushes: the step on item i moves the user by (v_i − the mean of the
        vectors that it is drawn against), as far as i is not yet in front of them. The weights are those pushes along the
        vector of ``item``, scaled so that together they make the part of the score that is the asker's own.
        """
        history = queries.history[[0]].indices
        user = self.embed_queries(queries.block(0, 1))[0, :-1]
        vectors, bias = self.items[:, :-1], self.items[:, -1]
        against = self._drawn_against()
        ahead = (vectors[history] - against[:-1]) @ user + bias[history] - against[-1]
        push = ((vectors[history] - against[:-1]) @ vectors[item]) / (1 + np.exp(ahead))
        total, own = float(push.sum()), float(user @ vectors[item])
        # Pushes that cancel out, or point away from the score, have no scale: they are shown as they are.
        added = push * (own / total) if total * own > 0 and abs(total) > 1e-6 * abs(push).sum() else push
        return rank_contributions(history, added)

    def _drawn_against(self) -> Float32Array:
        """(D + 1,) the mean of the items as they are drawn."""
        if not len(self.frequency):
            return np.asarray(self.items.mean(axis=0))
        share = np.diff(self.frequency, prepend=0) / max(1, int(self.frequency[-1]))
        return np.asarray(share @ self.items, dtype=np.float32)


def _draw(rng: np.random.Generator, rows: int, width: int) -> Float32Array:
    return (rng.standard_normal((rows, width), dtype=np.float32) * np.float32(0.1 / np.sqrt(width))).astype(np.float32)

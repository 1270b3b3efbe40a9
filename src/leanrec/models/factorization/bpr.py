"""BPR: matrix factorization with a pairwise ranking loss.

Rendle, Freudenthaler, Gantner & Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
"""

import dataclasses
import functools
from typing import Annotated

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape, check_array_shapes, check_bounds
from leanrec.finiteness import require_finite
from leanrec.kernels.sgd.pairwise import PairwiseStep, draw_negatives, fold_in_users, run_epoch
from leanrec.kernels.sparse import dot_scores
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["BPR", "BPRModel"]

# Gradient steps that embed a user who was not in the fit: 0.2 ms at 64 dimensions.
_FOLD_STEPS = 2000
# For each epoch of an update there are so many of a fit.
_FIT_EPOCHS = 12


@dataclasses.dataclass(frozen=True)
class BPR:
    """Embeddings and item biases that minimize −log σ(score of a positive − score of a negative) over sampled pairs.

    Users of the fit have a trained embedding, which stands for the history of the fit. Any other history gets one by the same
    gradient steps with fixed items, also that of such a user if it is given without the user: on the bundled sample
    83 % of the ten best items are then the same, with NDCG@10 .032 instead of .030.

    When to use: implicit feedback where the order of the items counts, not the values of the scores.

    Cost: an epoch O(E · D) time; memory 12 D (U + N) bytes and 64 bytes an event. A query O(N · D), and 2,000 · D more
    for a user who was not in the fit; the model 4 D (U + N) bytes.
    """

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    learning_rate: float = setting(
        0.2,
        above=0,
        search="0.02..2:log",
        doc="Initial learning rate; it falls linearly to a tenth over the epochs.",
    )
    l2: float = setting(0.01, at_least=0, search="0.0001..1:log", doc="L2 penalty.")
    sampler: str = setting(
        "uniform",
        one_of=("uniform", "popularity"),
        doc='Distribution of the negatives: "uniform", or "popularity" (proportional to the number of interactions).',
    )
    epochs: int = setting(60, at_least=1, doc="Number of passes over the interactions.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The embeddings with a copy for their initialization, and the interactions in several orders."""
        return 12 * (self.embedding_dim + 1) * (shape.users + shape.items) + 64 * shape.events + 2**20

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "BPRModel":
        """Train with stochastic gradient descent; stops after an epoch when the time of ``run`` is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"BPR with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        rng, (n_users, n_items) = run.rng(), data.interactions.shape
        with run.limit_threads():
            users = _init_embeddings(rng, n_users, self.embedding_dim)
            items = _init_embeddings(rng, n_items, self.embedding_dim + 1)
            items[:, -1] = 0
            return self.train(data, users, items, 0, rng, run)

    def train(
        self,
        data: Dataset,
        users: Float32Array,
        items: Float32Array,
        first: int,
        rng: np.random.Generator,
        run: Run,
    ) -> "BPRModel":
        """The model after the epochs from ``first`` on. Changes the embeddings (U, D) and (N, D + 1) that it starts from."""
        X = data.interactions.sorted_indices()
        for epoch in run.track(range(first, self.epochs), "BPR"):
            run_epoch(X, users, items, self._step(1 - 0.9 * epoch / self.epochs), rng)
            if run.out_of_time():
                break
        # Users without interactions were in no pair: their random embedding is removed.
        users[np.diff(X.indptr) == 0] = 0
        counts = np.bincount(X.indices, minlength=X.shape[1])
        # An item without interactions was only ever a negative: its bias ranks it low, its vector has no information.
        items[counts == 0, :-1] = 0
        frequency = np.cumsum(counts) if self.sampler == "popularity" else np.zeros(0, np.int64)
        return BPRModel(settings=self, users=users, items=items, frequency=frequency.astype(np.int64))

    def _step(self, share: float = 1.0) -> PairwiseStep:
        return PairwiseStep(self.learning_rate * share, self.l2, by_popularity=self.sampler == "popularity")


@dataclasses.dataclass(frozen=True, eq=False)
class BPRModel:
    """A fitted `BPR`.

    Attributes:
        settings: settings of the fit.
        users: (U, D) float32 user embeddings; zeros for a user without interactions.
        items: (N, D + 1) float32 item embeddings, the bias last.
        frequency: (N,) int64 cumulative sum of item counts; empty with uniform negatives.
        negatives: (S,) int32 rows of the negatives that new users meet, for a model that holds only some of the items;
            None = drawn from all.
        mean_negative: (D + 1,) float32 mean of the items under the distribution of the negatives, for such a model; None =
            of ``items``.
    """

    settings: BPR
    users: Annotated[Float32Array, ArrayShape("U", "D")]
    items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
    frequency: Annotated[Int64Array, ArrayShape("F")]
    negatives: Annotated[Int32Array | None, ArrayShape("S")] = None
    mean_negative: Annotated[Float32Array | None, ArrayShape("D + 1")] = None

    def check_state(self) -> None:
        """Raise DataError unless the frequency is of the items."""
        if len(self.frequency):
            check_bounds("BPRModel.frequency", np.append(0, self.frequency), int(self.frequency[-1]))
            check_array_shapes("BPRModel", {"frequency": self.frequency}, {"frequency": (self.n_items,)})

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1): trained embeddings of users with the history of the fit, folded-in ones for others.

        Zeros for an empty history, and for one of items without interactions in the fit only.
        """
        out = np.zeros((len(queries), self.items.shape[1]), np.float32)
        empty = np.asarray(queries.history @ self._is_trained) <= 0
        rows = queries.trained_users
        new = rows < 0
        known = np.flatnonzero(~new)
        out[known, :-1] = self.users[rows[known]]
        if new.any():
            history = queries.history if new.all() else queries.history[np.flatnonzero(new)]
            out[new, :-1] = self._fold_in(history)
        out[:, -1] = 1
        out[empty] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D + 1) item vectors, the bias last."""
        return self.items

    def similarity_vectors(self) -> Float32Array:
        """(N, D) item embeddings without the bias."""
        return self.items[:, :-1]

    @property
    def offset_columns(self) -> tuple[int, ...]:
        """The bias is the last column of the item vectors."""
        return (self.items.shape[1] - 1,)

    def replace_items(self, vectors: Float32Array) -> "BPRModel":
        """The model with other item vectors (N, D + 1); that of some items has no frequency, which is of all."""
        frequency = self.frequency if len(vectors) == self.n_items else self.frequency[:0]
        return dataclasses.replace(self, items=vectors, frequency=frequency)

    def summarize(self) -> "BPRModel":
        """The model with its mean negative, and with the negatives themselves where they depend on the frequency."""
        negatives = self._negatives if len(self.frequency) else self.negatives
        return dataclasses.replace(self, negatives=negatives, mean_negative=self._mean_negative)

    def find_shared_items(self, queries: Queries, n_items: int) -> Int32Array:
        """The negatives that new users meet, among all N items of the fit; none if there is no new user."""
        if (queries.trained_users >= 0).all():
            return np.zeros(0, np.int32)
        return self._draw_negatives(n_items) if self.negatives is None else self.negatives

    def with_shared_items(self, rows: Int32Array) -> "BPRModel":
        """The model whose negatives are in these rows of its items."""
        return dataclasses.replace(self, negatives=rows)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User embeddings · item embeddings + biases: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "BPRModel":  # noqa: ARG002 - a pair trains both items
        """The model after more epochs on ``data``, a twelfth of those of a fit, from the embeddings of this one.

        New users begin with what their history says: from random numbers a twelfth of the epochs would not be enough.
        """
        settings, rng = self.settings, run.rng()
        n_users, n_items = data.interactions.shape
        with run.limit_threads():
            users = _init_embeddings(rng, n_users, settings.embedding_dim)
            items = _init_embeddings(rng, n_items, settings.embedding_dim + 1)
            items[:, -1] = self.items[:, -1].min(initial=0)  # few have used a new item
            for ours, known in ((users, self.users), (items, self.items)):
                # Those without interactions were left without a vector.
                is_trained = known[:, : settings.embedding_dim].any(axis=1)
                ours[: len(known)][is_trained] = known[is_trained]
            is_new = np.ones(n_users, np.bool_)
            is_new[: len(self.users)] = ~self.users.any(axis=1)
            new = np.flatnonzero(is_new)
            history = data.interactions[new][:, : self.n_items]
            folded = self._fold_in(history)
            has_vector = folded.any(axis=1)
            users[new[has_vector]] = folded[has_vector]
            n_epochs = max(1, settings.epochs // _FIT_EPOCHS)
            return settings.train(data, users, items, settings.epochs - n_epochs, rng, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history, by the effect of a gradient step on each on the scores of ``items``.

        An embedding trained by gradient steps is a sum of such steps: that on item i moves the user by (v_i − the mean
        negative) · σ(− margin). The contributions are these steps along the embedding of an item, scaled so that they
        sum to the part of the score that depends on the user.
        """
        history = queries.history.indices
        user = self.embed_queries(queries)[0, :-1]
        vectors, bias = self.items[:, :-1], self.items[:, -1]
        negative = self._mean_negative
        margin = (vectors[history] - negative[:-1]) @ user + bias[history] - negative[-1]
        steps = vectors[items] @ (vectors[history] - negative[:-1]).T / (1 + np.exp(margin))
        total, own = steps.sum(axis=1), vectors[items] @ user
        # Steps that cancel out, or have the opposite sign of the score, cannot be scaled to sum to it.
        is_scaled = (total * own > 0) & (abs(total) > 1e-6 * abs(steps).sum(axis=1))
        scale = np.divide(own, total, out=np.ones_like(total), where=is_scaled)
        return rank_contributions(history, steps * scale[:, None], top_k=top_k)

    @functools.cached_property
    def _is_trained(self) -> Float32Array:
        """(N,) 1 for an item with an embedding, 0 for one without interactions in the fit."""
        return np.asarray(self.items[:, :-1].any(axis=1), dtype=np.float32)

    def _fold_in(self, history: CSR) -> Float32Array:
        """(B, D) embeddings of users who were not in the fit."""
        return fold_in_users(history, self.items, self._negatives, self.settings._step())  # noqa: SLF001 - its own settings

    @functools.cached_property
    def _negatives(self) -> Int32Array:
        """(S,) the negatives of each step of a fold-in."""
        return self._draw_negatives(self.n_items) if self.negatives is None else self.negatives

    def _draw_negatives(self, n_items: int) -> Int32Array:
        return draw_negatives(self.frequency, n_items, self.settings._step(), _FOLD_STEPS)  # noqa: SLF001 - its own settings

    @functools.cached_property
    def _mean_negative(self) -> Float32Array:
        """(D + 1,) mean of the items under the distribution of the negatives."""
        if self.mean_negative is not None:
            return self.mean_negative
        if not len(self.frequency):
            return np.asarray(self.items.mean(axis=0))
        share = np.diff(self.frequency, prepend=0) / max(1, int(self.frequency[-1]))
        return np.asarray(share @ self.items, dtype=np.float32)


def _init_embeddings(rng: np.random.Generator, rows: int, embedding_dim: int) -> Float32Array:
    scale = np.float32(0.1 / np.sqrt(embedding_dim))
    return np.asarray(rng.standard_normal((rows, embedding_dim), dtype=np.float32) * scale)

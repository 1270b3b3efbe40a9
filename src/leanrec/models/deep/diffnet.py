"""DiffNet: tastes diffuse over trust, so that somebody of whom only friends are known gets a list of their own.

Wu, Sun, Fu, Hong, Wang & Wang, "A Neural Influence Diffusion Model for Social Recommendation", SIGIR 2019; without layers
between the hops, as Liao et al., "SocialLGN: Light graph convolution network for social recommendation", Information
Sciences 2022, do. Nobody has a vector of their own: a taste is made of the history alone.
"""

import dataclasses

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import MissingExtraError
from leanrec.kernels.sparse import dot_scores
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["DiffNet", "DiffNetModel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffNet(HistorySettings):
    """Own taste ⊙ g₀ + Σ over hops k of (mean taste of those k links away) ⊙ g_k, compared with item vectors; a bias on top.

    A taste is the sum of the vectors of L items / L^damping. Every item of a history is asked for given the others and the
    friends. Without links nothing is left but one's own taste.

    Cost: an epoch O(E · (D + S)) and the histories of those who reach the users of each batch; a query O(L · D + N · D); the
    model 4 D (N + U) bytes.
    """

    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "DiffNetModel":
        """Learn from the histories and the user links of ``data``.

        With ``patience`` the score is NDCG@10 on ``valid``, or on the latest item of 5 % of the users, which is then left
        out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.social import fit_social  # noqa: PLC0415 - answers need no torch
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'diffnet'", error) or error from error
        friends = empty_csr(len(data.users), len(data.users)) if data.friends is None else data.friends
        links = 12 * _paths(friends, self.layers)
        run.require_memory(
            self.fit_bytes(data.shape) + links,
            f"DiffNet of width {self.width} over {friends.nnz:,} links",
            "Choose a smaller width, batch or number of layers, or raise the limit.",
        )
        return self._model(fit_social(self, data, friends, run, valid, self._model))

    def _model(self, learnt: dict[str, Float32Array]) -> "DiffNetModel":
        return DiffNetModel(settings=self, **learnt)


def _paths(friends: CSR, layers: int) -> int:
    """At most so many pairs are within that many hops of each other."""
    degrees = np.diff(friends.indptr).astype(np.float64)
    reached, total = degrees, degrees.sum()
    linked = type(friends)((np.ones(friends.nnz, np.float32), friends.indices, friends.indptr), shape=friends.shape)
    for _ in range(layers - 1):
        reached = np.minimum(friends.shape[0], np.asarray(linked @ reached))
        total += reached.sum()
    return int(3 * total)


@dataclasses.dataclass(frozen=True, eq=False)
class DiffNetModel:
    """A fitted DiffNet.

    Attributes:
        settings: what it was fitted with.
        items: (N, D + 1) float32 item vectors, their bias last.
        own: (D,) float32 how much of each cell of one's own taste counts.
        friends: (U, D) float32 what friends pass on to each user of the fit.
    """

    settings: DiffNet
    items: Float32Array
    own: Float32Array
    friends: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1): one's own taste and what friends pass on; the last cell is 1 for the bias. Zeros where there is neither."""
        own, friends = self._own(queries.history), self._from_friends(queries.users)
        out = np.ones((len(queries), self.items.shape[1]), np.float32)
        out[:, :-1] = own + friends
        out[~friends.any(axis=1) & (np.diff(queries.history.indptr) == 0)] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D + 1), the bias last."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Tastes · item vectors + biases."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def _own(self, history: CSR) -> Float32Array:
        """(B, D) what was touched counts, not how often."""
        ones = type(history)((np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape)
        lengths = np.maximum(np.diff(history.indptr), 1).astype(np.float32)
        sums = np.asarray(ones @ self.items[:, :-1], np.float32)
        return np.asarray(sums / lengths[:, None] ** np.float32(self.settings.length_exponent) * self.own, np.float32)

    def _from_friends(self, users: Int32Array) -> Float32Array:
        """(B, D) zeros for people who were not in the fit."""
        out = np.zeros((len(users), self.friends.shape[1]), np.float32)
        known = np.flatnonzero(users >= 0)
        out[known] = self.friends[users[known]]
        return out

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history by what each adds to the score, which is a sum over them and the friends.

        The reason is "friends" where these add more than the history does.
        """
        history = queries.history[[0]].indices.astype(np.int32)
        vector = self.items[item, :-1]
        scale = np.float32(max(1, len(history)) ** -self.settings.length_exponent)
        added = self.items[history, :-1] @ (vector * self.own) * scale
        from_friends = float(self._from_friends(queries.users[:1])[0] @ vector)
        reason = "friends" if from_friends > max(0.0, float(added.sum())) else "history"
        return rank_contributions(history, added, reason=reason)

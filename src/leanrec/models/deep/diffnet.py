"""DiffNet: user vectors diffuse over social links, so that users without history are served by their friends.

Wu, Sun, Fu, Hong, Wang & Wang, "A Neural Influence Diffusion Model for Social Recommendation", SIGIR 2019.
Without dense layers between the hops, as in Liao et al., "SocialLGN: Light graph convolution network for social
recommendation", Information Sciences 2022. Users have no id embeddings: a user vector is made of the history.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import MissingExtraError
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.sparse import dot_scores
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries, empty_csr

__all__ = ["DiffNet", "DiffNetModel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffNet(HistorySettings):
    """Score = (u ⊙ g₀ + Σ over hops k of (mean u of the users k links away) ⊙ g_k) · item vector + bias.

    A user vector u is the sum of the vectors of L items / L^pooling_exponent. Training predicts each item of a history
    from the other items and the friends. Without links only the user's own vector counts.

    When to use: trust or friendship between users, above all for users without a history.

    Cost: an epoch O(E · (D + S)) plus the histories of the users that reach each batch; a query O(L · D + N · D); the
    model 4 D (N + U) bytes.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "user_links"})

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "DiffNetModel":
        """Train on the histories and the user links of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.history_training import fit_histories  # noqa: PLC0415 - torch is optional
            from leanrec.models.deep.core.social_network import (  # noqa: PLC0415 - torch is optional
                SocialNetwork,
                influence_matrices,
            )
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'diffnet'", error) or error from error
        friends = empty_csr(len(data.users), len(data.users)) if data.friends is None else data.friends
        hops_bytes = 12 * _estimate_paths(friends, self.n_layers)
        run.require_memory(
            self.fit_bytes(data.shape) + hops_bytes,
            f"DiffNet with embedding_dim={self.embedding_dim} over {friends.nnz:,} links",
            f"Lower {'n_layers' if hops_bytes > self.fit_bytes(data.shape) else 'embedding_dim or batch_size'}, or raise the limit.",
        )

        def build_network(train_data: Dataset, counts: Int64Array) -> Any:
            return SocialNetwork(self, train_data.interactions, influence_matrices(friends, self.n_layers), counts)

        arrays = fit_histories(self, data, build_network, run, valid, self._build_model)
        return self._build_model(arrays)

    def _build_model(self, arrays: dict[str, Float32Array]) -> "DiffNetModel":
        return DiffNetModel(settings=self, **arrays)


def _estimate_paths(friends: CSR, n_layers: int) -> int:
    """Upper estimate of the number of entries of the matrices of all hops."""
    degrees = np.diff(friends.indptr).astype(np.float64)
    reached, total = degrees, degrees.sum()
    linked = type(friends)((np.ones(friends.nnz, np.float32), friends.indices, friends.indptr), shape=friends.shape)
    for _ in range(n_layers - 1):
        reached = np.minimum(friends.shape[0], np.asarray(linked @ reached))
        total += reached.sum()
    return int(3 * total)


@dataclasses.dataclass(frozen=True, eq=False)
class DiffNetModel:
    """A fitted `DiffNet`.

    Attributes:
        settings: settings of the fit.
        items: (N, D + 1) float32 item vectors, the bias last.
        own_gate: (D,) float32 weights g₀ of the user's own vector.
        social: (U, D) float32 sum over the hops for each user of the fit.
    """

    settings: DiffNet
    items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
    own_gate: Annotated[Float32Array, ArrayShape("D")]
    social: Annotated[Float32Array, ArrayShape("U", "D")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1) user vectors, the last cell 1 for the bias; zeros for users without history and friends."""
        own, social = self._pool_history(queries.history), self._lookup_social(queries.users)
        out = np.ones((len(queries), self.items.shape[1]), np.float32)
        out[:, :-1] = own + social
        out[~social.any(axis=1) & (np.diff(queries.history.indptr) == 0)] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D + 1) item vectors, the bias last."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors + biases: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def _pool_history(self, history: CSR) -> Float32Array:
        """(B, D) the user's own part; repeated interactions count once."""
        ones = type(history)((np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape)
        lengths = np.maximum(np.diff(history.indptr), 1).astype(np.float32)
        sums = np.asarray(ones @ self.items[:, :-1], np.float32)
        return np.asarray(
            sums / lengths[:, None] ** np.float32(self.settings.pooling_exponent) * self.own_gate, np.float32
        )

    def _lookup_social(self, users: Int32Array) -> Float32Array:
        """(B, D) the part of the friends; zeros for users outside the fit."""
        out = np.zeros((len(users), self.social.shape[1]), np.float32)
        known = np.flatnonzero(users >= 0)
        out[known] = self.social[users[known]]
        return out

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by their contribution to the score, which is a sum over them and the friends.

        The reason is "friends" if these contribute more than the history.
        """
        history, vectors = queries.history.indices, self.items[items, :-1]
        scale = np.float32(max(1, len(history)) ** -self.settings.pooling_exponent)
        added = (vectors * self.own_gate) @ self.items[history, :-1].T * scale
        from_friends = vectors @ self._lookup_social(queries.users)[0]
        by_friends = (from_friends > np.maximum(0, added.sum(axis=1))).tolist()
        return [
            dataclasses.replace(each, reason="friends") if is_social else each
            for each, is_social in zip(rank_contributions(history, added, top_k=top_k), by_friends, strict=True)
        ]

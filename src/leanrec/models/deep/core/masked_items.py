"""Users a part of whose items is hidden: a model sees the rest and has to find what is hidden."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from leanrec.kernels.sparse import concat_ranges
from leanrec.types import CSR, Int64Array

__all__ = ["MaskedBatch", "MaskedBatches", "InteractionIndex", "masked_item_loss", "user_balance_weights"]


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedBatch:
    """Some users with a part of their items hidden: G groups, each a user and one part.

    Attributes:
        users: (G,) rows.
        seen: items that are not hidden, group after group.
        offsets: (G,) where those of each group begin, as ``nn.EmbeddingBag`` takes them.
        lengths: (G,) how many those are.
        targets: (P,) hidden items, group after group.
        groups: (P,) to which group each belongs.
    """

    users: Tensor
    seen: Tensor
    offsets: Tensor
    lengths: Tensor
    targets: Tensor
    groups: Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        """The same on another device."""
        return MaskedBatch(**{f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedBatches(Sequence[MaskedBatch]):
    """The batches of one epoch: every item of every user is hidden once, with others of its part.

    Attributes:
        users: (G,) of each group, in the order of the batches.
        starts: (G,) where the hidden part begins in ``items``.
        stops: (G,) where it ends.
        items: (E,) the items of each user, in random order, users one after the other.
        bounds: (U + 1,) where those of each user begin.
        cuts: (batches + 1,) where the groups of each batch begin.
    """

    users: Int64Array
    starts: Int64Array
    stops: Int64Array
    items: Int64Array
    bounds: Int64Array
    cuts: Int64Array

    @classmethod
    def of(cls, X: CSR, parts: int, batch: int, rng: np.random.Generator) -> "MaskedBatches":
        """Deal the items of each user of X (U, N) into ``parts`` parts, and these into batches of about ``batch`` items.

        A user of fewer items has as many parts as items. O(E log E).
        """
        lengths = np.diff(X.indptr).astype(np.int64)
        bounds = X.indptr.astype(np.int64)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        order = np.argsort(owner + rng.random(len(owner)), kind="stable")
        place = np.arange(len(owner)) - bounds[owner]
        part = place * np.minimum(parts, lengths)[owner] // np.maximum(1, lengths)[owner]
        first = np.flatnonzero((place == 0) | (np.diff(part, prepend=-1) != 0))
        last = np.append(first[1:], len(owner))[: len(first)]
        mixed = rng.permutation(len(first))
        starts, stops = first[mixed], last[mixed]
        reached = np.cumsum(stops - starts)
        marks = np.arange(batch, int(reached[-1]) if len(reached) else 0, batch)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(reached, marks, side="left") + 1, [len(first)]]))
        return cls(owner[starts], starts, stops, X.indices[order].astype(np.int64), bounds, cuts)

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def __getitem__(self, i: int) -> MaskedBatch:  # type: ignore[override]  # the loop asks for one batch at a time
        block = slice(self.cuts[i], self.cuts[i + 1])
        users, starts, stops = self.users[block], self.starts[block], self.stops[block]
        around = np.stack([self.bounds[users], stops], 1).ravel(), np.stack([starts, self.bounds[users + 1]], 1).ravel()
        lengths = (around[1] - around[0]).reshape(-1, 2).sum(1)
        return MaskedBatch(
            users=torch.from_numpy(users),
            seen=torch.from_numpy(self.items[concat_ranges(around[0], around[1] - around[0])]),
            offsets=torch.from_numpy(np.cumsum(lengths) - lengths),
            lengths=torch.from_numpy(lengths),
            targets=torch.from_numpy(self.items[concat_ranges(starts, stops - starts)]),
            groups=torch.from_numpy(np.repeat(np.arange(len(users)), stops - starts)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class InteractionIndex:
    """Which user touched what.

    Attributes:
        X: (U, N) of training.
    """

    X: CSR

    @functools.cached_property
    def _pairs(self) -> Int64Array:
        """Every touched pair as one number, ascending."""
        rows = np.repeat(np.arange(self.X.shape[0], dtype=np.int64), np.diff(self.X.indptr))
        return np.sort(rows * self.X.shape[1] + self.X.indices)

    def among(self, users: Tensor, items: Tensor) -> Tensor:
        """(G, S) bool, whether each user (G,) touched each item (S,). O(G · S · log E)."""
        asked = users.numpy()[:, None] * self.X.shape[1] + items.numpy()
        place = np.minimum(np.searchsorted(self._pairs, asked), max(0, len(self._pairs) - 1))
        return torch.from_numpy(np.asarray(self._pairs[place] == asked))


def masked_item_loss(positive: Tensor, negative: Tensor, batch: MaskedBatch, balance: float) -> Tensor:
    """Softmax of each hidden item against the items that its user never touched: the mean over hidden items.

    Args:
        positive: (P,) scores of the hidden items.
        negative: (G, S) scores of sampled items less the logarithm of the expected number of draws of each;
            −inf where the user touched it.
        batch: whose they are.
        balance: a hidden item counts L^−balance, for the L items of its user.
    """
    log_z = negative.logsumexp(1)[batch.groups]
    weight = user_balance_weights(batch, balance)
    return ((torch.logaddexp(positive, log_z) - positive) * weight).sum() / weight.sum()


def user_balance_weights(batch: MaskedBatch, balance: float) -> Tensor:
    """(P,) L^−balance for the L items of each hidden item's user."""
    hidden = torch.bincount(batch.groups, minlength=len(batch.users))
    return ((batch.lengths + hidden).float() ** -balance)[batch.groups]

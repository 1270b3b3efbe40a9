"""Masked-item batches: predict held-out items from the remaining history."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from leanrec.kernels.csr import concat_ranges
from leanrec.types import CSR, Int64Array

__all__ = ["InteractionIndex", "MaskedBatch", "MaskedBatches", "masked_item_loss", "target_weights"]


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedBatch:
    """G histories with a part of their items masked. A user may occur several times, with different parts.

    Attributes:
        users: (G,) rows.
        history: items that are not masked, end to end.
        offsets: (G,) where each history begins, as in ``nn.EmbeddingBag``.
        lengths: (G,) of the histories.
        targets: (P,) masked items, end to end.
        groups: (P,) the history of each target.
    """

    users: Tensor
    history: Tensor
    offsets: Tensor
    lengths: Tensor
    targets: Tensor
    groups: Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        """The batch on another device."""
        return MaskedBatch(**{f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)})


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedBatches(Sequence[MaskedBatch]):
    """The batches of one epoch: every interaction is masked once, together with its fold.

    Attributes:
        users: (G,) user of each masked fold, in the order of the batches.
        starts: (G,) where the fold begins in ``items``.
        stops: (G,) where it ends.
        items: (E,) the items of each user in random order, users end to end.
        bounds: (U + 1,) where the items of each user begin.
        cuts: (batches + 1,) where the folds of each batch begin.
    """

    users: Int64Array
    starts: Int64Array
    stops: Int64Array
    items: Int64Array
    bounds: Int64Array
    cuts: Int64Array

    @classmethod
    def split(cls, X: CSR, n_folds: int, batch_size: int, rng: np.random.Generator) -> "MaskedBatches":
        """Split the items of each user of X (U, N) into folds at random, in batches of about ``batch_size`` items.

        A user with fewer than ``n_folds`` items has one fold per item. O(E log E).
        """
        lengths = np.diff(X.indptr).astype(np.int64)
        bounds = X.indptr.astype(np.int64)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        order = np.argsort(owner + rng.random(len(owner)), kind="stable")
        position = np.arange(len(owner)) - bounds[owner]
        fold = position * np.minimum(n_folds, lengths)[owner] // np.maximum(1, lengths)[owner]
        first = np.flatnonzero((position == 0) | (np.diff(fold, prepend=-1) != 0))
        last = np.append(first[1:], len(owner))[: len(first)]
        shuffled = rng.permutation(len(first))
        starts, stops = first[shuffled], last[shuffled]
        ends = np.cumsum(stops - starts)
        marks = np.arange(batch_size, int(ends[-1]) if len(ends) else 0, batch_size)
        cuts = np.unique(np.concatenate([[0], np.searchsorted(ends, marks, side="left") + 1, [len(first)]]))
        return cls(owner[starts], starts, stops, X.indices[order].astype(np.int64), bounds, cuts)

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def __getitem__(self, i: int) -> MaskedBatch:  # type: ignore[override]  # slices are not supported
        block = slice(self.cuts[i], self.cuts[i + 1])
        users, starts, stops = self.users[block], self.starts[block], self.stops[block]
        # The history of each group is what lies before and after its fold.
        begins = np.stack([self.bounds[users], stops], 1).ravel()
        ends = np.stack([starts, self.bounds[users + 1]], 1).ravel()
        lengths = (ends - begins).reshape(-1, 2).sum(1)
        return MaskedBatch(
            users=torch.from_numpy(users),
            history=torch.from_numpy(self.items[concat_ranges(begins, ends - begins)]),
            offsets=torch.from_numpy(np.cumsum(lengths) - lengths),
            lengths=torch.from_numpy(lengths),
            targets=torch.from_numpy(self.items[concat_ranges(starts, stops - starts)]),
            groups=torch.from_numpy(np.repeat(np.arange(len(users)), stops - starts)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class InteractionIndex:
    """Lookup of user-item pairs with an interaction.

    Attributes:
        X: (U, N) training interactions.
    """

    X: CSR

    @functools.cached_property
    def _keys(self) -> Int64Array:
        """Every pair as one number, ascending."""
        rows = np.repeat(np.arange(self.X.shape[0], dtype=np.int64), np.diff(self.X.indptr))
        return np.sort(rows * self.X.shape[1] + self.X.indices)

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """(G, S) bool, whether each user (G,) interacted with each item (S,). O(G · S · log E)."""
        keys = users.numpy()[:, None] * self.X.shape[1] + items.numpy()
        nearest = np.minimum(np.searchsorted(self._keys, keys), max(0, len(self._keys) - 1))
        return torch.from_numpy(np.asarray(self._keys[nearest] == keys))


def masked_item_loss(positive: Tensor, negative: Tensor, batch: MaskedBatch, length_exponent: float) -> Tensor:
    """Sampled softmax of each masked item against items without interaction of its user: weighted mean over targets.

    Args:
        positive: (P,) scores of the masked items.
        negative: (G, S) scores of sampled items, less the log of the expected number of draws of each; −inf where the
            user interacted with the item.
        batch: the masked batch.
        length_exponent: see ``target_weights``.
    """
    # index_select adds up the gradients of a repeated group in a fixed order, [batch.groups] in that of the threads.
    log_z = negative.logsumexp(1).index_select(0, batch.groups)
    weight = target_weights(batch, length_exponent)
    return ((torch.logaddexp(positive, log_z) - positive) * weight).sum() / weight.sum()


def target_weights(batch: MaskedBatch, length_exponent: float) -> Tensor:
    """(P,) L^−length_exponent for the L items of each target's user."""
    n_masked = torch.bincount(batch.groups, minlength=len(batch.users))
    return ((batch.lengths + n_masked).float() ** -length_exponent)[batch.groups]

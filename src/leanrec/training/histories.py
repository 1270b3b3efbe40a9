"""Item sequences packed end to end, and batches of similar lengths with little padding."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.types import Float32Array, Int32Array, Int64Array, Queries

__all__ = [
    "PackedHistories",
    "PaddedBatch",
    "batch_by_length",
    "leave_one_out",
    "pad_histories",
    "sum_score_drops",
]


@dataclasses.dataclass(frozen=True, eq=False)
class PackedHistories:
    """Item sequences of many users in time order, end to end.

    Attributes:
        items: (E,) int32.
        bounds: (B + 1,) int64; sequence b is ``items[bounds[b]:bounds[b + 1]]``.
    """

    items: Int32Array
    bounds: Int64Array

    @classmethod
    def from_dataset(cls, data: Dataset) -> "PackedHistories":
        """The positive events of every user."""
        return cls.from_rows(data.queries().sequences or ())

    @classmethod
    def from_rows(cls, rows: Sequence[Int32Array]) -> "PackedHistories":
        """Pack one array per sequence."""
        bounds = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32), bounds)

    @classmethod
    def from_queries(cls, queries: Queries, max_length: int) -> "PackedHistories":
        """The latest ``max_length`` items of each query; without an order, those with the largest weights, largest last."""
        if queries.sequences is not None:
            return cls.from_rows([row[-max_length:] for row in queries.sequences])
        X = queries.history
        rows = []
        for start, stop in zip(X.indptr[:-1].tolist(), X.indptr[1:].tolist(), strict=True):
            order = np.argsort(X.data[start:stop], kind="stable")[-max_length:]
            rows.append(X.indices[start:stop][order].astype(np.int32))
        return cls.from_rows(rows)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> Int64Array:
        """(B,) number of items of each sequence."""
        return np.diff(self.bounds)

    def windows(self, length: int, shift: NDArray[Any] | int = 0) -> tuple[Int64Array, Int64Array]:
        """Starts and ends in ``items`` of windows of at most ``length`` items that cover every history, latest first.

        ``shift`` (B,) moves the window boundaries of each history back by that many items (0 to length − 1).
        """
        ends = []
        starts = []
        low, high = self.bounds[:-1], self.bounds[1:].copy()
        first = np.broadcast_to(np.asarray(shift), high.shape)
        size = np.where(self.lengths > length, length - first, length)
        remaining = high > low
        while remaining.any():
            cut = np.maximum(low, high - size)
            starts.append(cut[remaining])
            ends.append(high[remaining])
            high, size = np.where(remaining, cut, high), np.full(high.shape, length)
            remaining = high > low
        empty = np.zeros(0, np.int64)
        return np.concatenate([empty, *starts]), np.concatenate([empty, *ends])


def leave_one_out(history: Int32Array) -> PackedHistories:
    """The history (L,), followed by the L histories that each lack one of its items."""
    return PackedHistories.from_rows([history, *(np.delete(history, i) for i in range(len(history)))])


def sum_score_drops(history: Int32Array, scores: Float32Array) -> tuple[Int32Array, Float32Array]:
    """How much scores drop without each item: the M different items of a history, in its order, and their drops (K, M).

    Args:
        history: (L,) items, which may repeat; the drops of the same item are added up.
        scores: (L + 1, K) scores of K items for the histories of ``leave_one_out``.
    """
    _, first, which = np.unique(history, return_index=True, return_inverse=True)
    order = np.argsort(first)
    drops = np.zeros((len(first), scores.shape[1]), np.float32)
    np.add.at(drops, np.argsort(order)[which], scores[0] - scores[1:])
    return history[first[order]], drops.T


@dataclasses.dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Windows of similar length as one matrix.

    Attributes:
        items: (B, L) int64, −1 past the end of a window.
        lengths: (B,) int64.
    """

    items: Int64Array
    lengths: Int64Array


def pad_histories(histories: PackedHistories, starts: Int64Array, ends: Int64Array) -> PaddedBatch:
    """The windows ``starts`` to ``ends`` as one matrix, padded on the right."""
    lengths = ends - starts
    longest = int(lengths.max(initial=0))
    positions = starts[:, None] + np.arange(longest)
    inside = np.arange(longest) < lengths[:, None]
    last = max(0, len(histories.items) - 1)
    items = np.where(inside, histories.items[np.minimum(positions, last)], -1) if longest else positions
    return PaddedBatch(items.astype(np.int64), lengths)


def batch_by_length(lengths: Int64Array, max_cells: int, rng: np.random.Generator) -> list[Int64Array]:
    """Group sequences of similar length into batches of at most ``max_cells`` padded cells, in random order.

    Sequences of similar length are shuffled each time, so that batches differ between epochs.
    """
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order] + rng.random(len(order)) * 0.1 * lengths[order], kind="stable")]
    batches, start = [], 0
    longest = np.maximum.accumulate(lengths[order])
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * longest[stop] <= max_cells:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return [batches[i] for i in rng.permutation(len(batches))]

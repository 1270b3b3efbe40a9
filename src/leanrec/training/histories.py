"""Histories packed end to end, and batches of like lengths cut from them, so that hardly a cell is padding."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leanrec.data.dataset import Dataset
from leanrec.types import Int32Array, Int64Array, Queries

__all__ = ["Histories", "Padded", "padded"]


@dataclasses.dataclass(frozen=True, eq=False)
class Histories:
    """Item rows of many askers in time order, end to end.

    Attributes:
        items: (E,) int32.
        bounds: (B + 1,) int64; those of asker b are ``items[bounds[b]:bounds[b + 1]]``.
    """

    items: Int32Array
    bounds: Int64Array

    @classmethod
    def of(cls, data: Dataset) -> "Histories":
        """The positive events of every user of a data set."""
        return cls.from_rows(data.queries().last or ())

    @classmethod
    def from_rows(cls, rows: Sequence[Int32Array]) -> "Histories":
        """Pack one array for each asker."""
        bounds = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32), bounds)

    @classmethod
    def from_queries(cls, queries: Queries, length: int) -> "Histories":
        """The latest ``length`` items of each asker; where their order is unknown, those of greatest weight, greatest last."""
        if queries.last is not None:
            return cls.from_rows([row[-length:] for row in queries.last])
        X = queries.history
        rows = []
        for start, stop in zip(X.indptr[:-1].tolist(), X.indptr[1:].tolist(), strict=True):
            order = np.argsort(X.data[start:stop], kind="stable")[-length:]
            rows.append(X.indices[start:stop][order].astype(np.int32))
        return cls.from_rows(rows)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> Int64Array:
        """(B,)."""
        return np.diff(self.bounds)

    def windows(self, length: int, shift: NDArray[Any] | int = 0) -> tuple[Int64Array, Int64Array]:
        """Start and end in ``items`` of stretches of at most ``length`` items that cover every history, latest first.

        ``shift`` (B,) moves the cuts of each history to earlier by so many items (0 to length − 1).
        """
        ends = []
        starts = []
        low, high = self.bounds[:-1], self.bounds[1:].copy()
        first = np.broadcast_to(np.asarray(shift), high.shape)
        reach = np.where(self.lengths > length, length - first, length)
        live = high > low
        while live.any():
            cut = np.maximum(low, high - reach)
            starts.append(cut[live])
            ends.append(high[live])
            high, reach = np.where(live, cut, high), np.full(high.shape, length)
            live = high > low
        none = np.zeros(0, np.int64)
        return np.concatenate([none, *starts]), np.concatenate([none, *ends])


@dataclasses.dataclass(frozen=True, eq=False)
class Padded:
    """Stretches of histories of like length, side by side.

    Attributes:
        items: (B, L) int64, −1 past the end of a stretch.
        lengths: (B,) int64.
    """

    items: Tensor
    lengths: Tensor


def padded(histories: Histories, starts: Int64Array, ends: Int64Array) -> Padded:
    """The stretches ``starts`` to ``ends`` as one matrix, filled up at the right."""
    lengths = ends - starts
    longest = int(lengths.max(initial=0))
    cells = starts[:, None] + np.arange(longest)
    inside = np.arange(longest) < lengths[:, None]
    items = (
        np.where(inside, histories.items[np.minimum(cells, max(0, len(histories.items) - 1))], -1) if longest else cells
    )
    return Padded(torch.from_numpy(items.astype(np.int64)), torch.from_numpy(lengths))


def by_length(lengths: Int64Array, cells: int, rng: np.random.Generator) -> list[Int64Array]:
    """Positions dealt into batches of like length with at most ``cells`` cells each, in random order.

    Stretches of like length come in a new order every time, so that batches differ from epoch to epoch.
    """
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order] + rng.random(len(order)) * 0.1 * lengths[order], kind="stable")]
    batches, start = [], 0
    longest = np.maximum.accumulate(lengths[order])
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * longest[stop] <= cells:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return [batches[i] for i in rng.permutation(len(batches))]

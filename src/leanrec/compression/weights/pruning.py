"""Pruning of item-item weights: one budget over all items, spent where weights matter most; kept ones are solved again."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.compression.weights.packed_weights import count_weight_bytes
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.importance import N_BINS, count_importances, find_important
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.types import CSR, Float32Array, Int32Array, compact_indices

__all__ = ["PatternSolver", "find_weights", "list_matrices", "prune"]

# Importance of a weight: |weight| · frequency^0.3 of the item of the history · frequency^-0.2 of the scored item. On
# ML-1M, of exponents from 0.2 to 0.7 and from -0.7 to 0.5, and of the exact rise of the squared error by one weight
# (Hassibi & Stork, "Second Order Derivatives for Network Pruning", NeurIPS 1992), none was better by more than the half
# percent or so that the set resolves; positive powers of the scored item were worse.
_HISTORY_POWER, _SCORED_POWER = 0.3, -0.2
# Weights that are looked at together.
_BLOCK_WEIGHTS = 2**18


@runtime_checkable
class PatternSolver(Protocol):
    """An estimator that computes the best weights of a given sparsity pattern."""

    def fit_pattern(self, data: Dataset, pattern: CSR, run: Run = ...) -> Any:
        """The model whose weights in the score of item j are on the items of row j of ``pattern`` (N, N)."""
        ...


def find_weights(model: Any, sizes: tuple[str, ...] = ("N", "N")) -> tuple[str, Float32Array | CSR]:
    """Name and value of the field of a model that holds its item-item weights, CSR or dense.

    Args:
        model: a fitted model.
        sizes: declared shape of the weights, as in ``ArrayShape("N", "N")``.

    Raises SettingError for a model that has none.
    """
    sparse = model.item_weights() if hasattr(model, "item_weights") else None
    for name in list_matrices(model, sizes):
        value: Any = getattr(model, name)
        is_dense = isinstance(value, np.ndarray)
        if value is sparse or (sparse is None and is_dense):
            return name, value
    raise SettingError(
        f"The model must have item-item weights, as EASE, SLIM or item-kNN have. Got {type(model).__name__}; compress its "
        "vectors instead."
    )


def list_matrices(model: Any, sizes: tuple[str, ...] = ("N", "N")) -> list[str]:
    """The fields of a model that are declared as matrices of these sizes, and are there."""
    return [
        field.name
        for field in dataclasses.fields(model)
        for rule in getattr(field.type, "__metadata__", ())
        if isinstance(rule, ArrayShape) and rule.sizes == sizes and getattr(model, field.name) is not None
    ]


def prune(
    model: Any,
    data: Dataset,
    *,
    n_weights: int | None = None,
    bytes_per_item: float | None = None,
    value_bits: int = 6,
    run: Run = Run(),
) -> Any:
    """The model with its most important weights only, as CSR, under one budget over all items.

    The importance of weight (i, j) is |weight| · frequency(i)^0.3 · frequency(j)^−0.2: an item of many histories
    matters more, and scores of frequent items are larger without ranking better. What is kept is then solved for
    again where the estimator can do that (EASE, SLIM, local regression), first at twice the budget and then within it, so
    that the last choice is among weights that have adapted. Other models, such as item-kNN and RP3, are cut only.
    Deterministic.

    Cost: O(weights), and the regressions of the kept weights. Memory: about 40 bytes for each kept weight, and what
    the regressions need; a dense or mapped matrix is read in blocks.

    Args:
        model: a fitted model with item-item weights (N, N).
        data: what it was fitted on.
        n_weights: number of weights to keep. It or ``bytes_per_item`` must be given.
        bytes_per_item: bytes of the packed weights per item, at ``value_bits`` bits a value: as many weights as fit.
        value_bits: bits of a value that ``bytes_per_item`` counts on.
        run: threads.

    Raises SettingError if the model has no such weights, or unless one of the two budgets is given.
    """
    if (n_weights is None) == (bytes_per_item is None):
        raise SettingError("One of n_weights and bytes_per_item must be given, not both. Choose one.")
    if n_weights is not None:
        check_at_least("n_weights", n_weights, 0)
    name, weights = find_weights(model)
    budget = _Budget(n_weights, bytes_per_item, value_bits, int(weights.shape[0]))
    frequency = np.maximum(np.bincount(data.interactions.indices, minlength=weights.shape[1]), 1).astype(np.float64)
    if len(frequency) != weights.shape[0]:
        raise SettingError(
            f"The weights must be item-item weights (N, N). Got {weights.shape} of {type(model).__name__}."
        )
    solver = model.settings if isinstance(model.settings, PatternSolver) else None
    kept: Any = weights
    for factor in (1,) if solver is None else (2, 1):
        n_before = np.inf if isinstance(kept, np.ndarray) else kept.nnz
        kept = _keep_important(kept, frequency, budget, factor)
        if solver is not None and kept.nnz < n_before:  # else they are solved for already
            pattern = sp.csr_array(kept.T)
            pattern.sort_indices()
            kept = find_weights(solver.fit_pattern(data, pattern, run))[1]
    return dataclasses.replace(model, **{name: compact_indices(kept)})


@dataclasses.dataclass(frozen=True)
class _Budget:
    """How many weights may be kept: a number, or as many as fit into bytes."""

    n_weights: int | None
    bytes_per_item: float | None
    value_bits: int
    n_items: int

    def at_most(self) -> int:
        """A number of weights that is never exceeded: a weight takes more than its value and two bits."""
        if self.n_weights is not None:
            return self.n_weights
        assert self.bytes_per_item is not None  # noqa: S101 - one of both is given
        return int(self.bytes_per_item * self.n_items * 8 / (self.value_bits + 2))

    def count_kept(self, rows: NDArray[np.integer]) -> int:
        """How many of the weights with these rows, the most important first, may be kept. O(weights · log weights)."""
        if self.bytes_per_item is None:
            return min(self.at_most(), len(rows))
        low, high, limit = 0, len(rows), self.bytes_per_item * self.n_items
        while low < high:
            middle = (low + high + 1) // 2
            counts = np.bincount(rows[:middle], minlength=self.n_items)
            fits = count_weight_bytes(counts, self.value_bits, self.n_items) <= limit
            low, high = (middle, high) if fits else (low, middle - 1)
        return low


def _keep_important(weights: Float32Array | CSR, frequency: NDArray[np.float64], budget: _Budget, factor: int) -> CSR:
    """The most important weights, as many as ``factor`` budgets; equal ones in the order of their rows and columns."""
    factors = frequency**_HISTORY_POWER, frequency**_SCORED_POWER
    # Importances are first counted, so that not many more of them are held than are kept.
    counts = np.zeros(N_BINS, np.int64)
    for block in _read_blocks(weights):
        count_importances(*block, *factors, counts)
    # The lowest bin that is needed for as many as may be kept.
    enough = np.flatnonzero(np.cumsum(counts[::-1]) >= factor * budget.at_most())
    lowest = N_BINS - 1 - int(enough[0]) if len(enough) else 0
    n_found, at = int(counts[lowest:].sum()), 0
    rows, columns = np.empty(n_found, np.int32), np.empty(n_found, np.int32)
    values, importance = np.empty(n_found, np.float32), np.empty(n_found, np.float32)
    for block in _read_blocks(weights):
        found, of_found = find_important(*block, *factors, lowest)
        part = slice(at, at := at + len(found))
        rows[part], columns[part], values[part] = (each[found] for each in block)
        importance[part] = of_found
    order = np.argsort(-importance, kind="stable")
    order = order[: min(len(order), factor * budget.count_kept(rows[order]))]
    return sp.csr_array((values[order], (rows[order], columns[order])), shape=weights.shape)


def _read_blocks(weights: Float32Array | CSR) -> Iterator[tuple[Int32Array, Int32Array, Float32Array]]:
    """Rows, columns and values, in order, of blocks of the weights."""
    n = weights.shape[1]
    if not isinstance(weights, np.ndarray):
        for first in range(0, weights.nnz, _BLOCK_WEIGHTS):
            part = slice(first, min(first + _BLOCK_WEIGHTS, weights.nnz))
            starts: Any = weights.indptr
            rows = np.searchsorted(starts, np.arange(part.start, part.stop), side="right") - 1
            indices = np.asarray(weights.indices[part], np.int32)
            yield np.asarray(rows, np.int32), indices, np.asarray(weights.data[part], np.float32)
        return
    step = max(1, _BLOCK_WEIGHTS // max(1, n))
    columns = np.tile(np.arange(n, dtype=np.int32), step)
    for first in range(0, len(weights), step):
        block = np.array(weights[first : first + step], np.float32)
        yield np.repeat(np.arange(first, first + len(block), dtype=np.int32), n), columns[: block.size], block.ravel()

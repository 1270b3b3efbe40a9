"""Rows of fields as vectors, and the ways to cross them: factorisation machine, cross layers, dot products.

Shapes: R rows, F fields, D width, M numbers.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CrossLayers",
    "FieldBatch",
    "FieldEmbedding",
    "FieldNetwork",
    "FieldVectors",
    "Fields",
    "Perceptron",
    "WideAndDeep",
    "dot_interactions",
    "factorisation",
    "pair_products",
    "side_by_side",
]

# Below this many rows a step over the whole table costs less than to find the rows of a batch.
_SPARSE_FROM = 200_000
# Small: what a value means is learnt, and one that hardly occurs means little. On Frappe 0.01 costs .002 of AUC.
_FIRST = 1e-4


@dataclasses.dataclass(frozen=True)
class Fields:
    """What a row is made of.

    Attributes:
        sizes: number of codes of each field with one value; code 0 = unknown.
        bags: number of values of each field with several, weighted values.
        numbers: M.
    """

    sizes: tuple[int, ...] = ()
    bags: tuple[int, ...] = ()
    numbers: int = 0

    @property
    def count(self) -> int:
        """F: fields that have a vector."""
        return len(self.sizes) + len(self.bags)

    @property
    def values(self) -> int:
        """Rows of all embedding tables together."""
        return sum(self.sizes) + sum(max(1, size) for size in self.bags)


class Bag(NamedTuple):
    """One field with several values: ``values[bounds[r]:bounds[r + 1]]`` and their weights are those of row r."""

    values: Tensor
    bounds: Tensor
    weights: Tensor


class FieldBatch(NamedTuple):
    """R rows as tensors: codes (R, number of sizes) int64, one Bag for each field of several values, numbers (R, M)."""

    codes: Tensor
    bags: tuple[Bag, ...]
    numbers: Tensor

    def to(self, device: torch.device) -> "FieldBatch":
        """The same on a device."""
        bags = tuple(Bag(*(each.to(device) for each in bag)) for bag in self.bags)
        return FieldBatch(self.codes.to(device), bags, self.numbers.to(device))


class FieldVectors(NamedTuple):
    """R rows of F field vectors (R, F, D), and their numbers (R, M)."""

    vectors: Tensor
    numbers: Tensor

    def take(self, rows: Tensor) -> "FieldVectors":
        """The given rows."""
        return FieldVectors(self.vectors[rows], self.numbers[rows])


def side_by_side(parts: Sequence[FieldVectors]) -> FieldVectors:
    """The fields of all parts, row by row."""
    if len(parts) == 1:
        return parts[0]
    return FieldVectors(torch.cat([each.vectors for each in parts], 1), torch.cat([each.numbers for each in parts], 1))


class FieldEmbedding(nn.Module):
    """A vector of ``width`` for each field of a row; that of several values is their weighted sum.

    Tables of 200,000 rows and more have sparse gradients.
    """

    offsets: Tensor

    def __init__(self, fields: Fields, width: int) -> None:
        super().__init__()
        starts = [sum(fields.sizes[:place]) for place in range(len(fields.sizes))]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64), persistent=False)
        total = max(1, sum(fields.sizes))
        self.codes = nn.Embedding(total, width, sparse=total >= _SPARSE_FROM)
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(max(1, size), width, mode="sum", sparse=size >= _SPARSE_FROM, include_last_offset=True)
            for size in fields.bags
        )
        for table in (self.codes, *self.bags):
            nn.init.normal_(cast(nn.Embedding, table).weight, std=_FIRST)

    def forward(self, batch: FieldBatch) -> FieldVectors:
        """R rows to (R, F, width); numbers pass through."""
        single = self.codes(batch.codes + self.offsets)
        several = [
            table(bag.values, bag.bounds, per_sample_weights=bag.weights)[:, None]
            for table, bag in zip(self.bags, batch.bags, strict=True)
        ]
        return FieldVectors(torch.cat([single, *several], 1), batch.numbers)


class FieldNetwork(nn.Module):
    """What a model that ranks by features is made of: vectors for the fields of each side, and a judgement of both.

    ``sides`` are the fields of what is known apart, such as askers and items, so that each is embedded once and not
    for every pair. ``columns`` is the width of the vectors; a model brings ``judge``.
    """

    def __init__(self, sides: Sequence[Fields], columns: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(FieldEmbedding(side, columns) for side in sides)
        self.fields = sum(side.count for side in sides)
        self.numbers = sum(side.numbers for side in sides)

    def embed(self, side: int, batch: FieldBatch) -> FieldVectors:
        """The vectors of rows of one side."""
        vectors: FieldVectors = self.sides[side](batch)
        return vectors

    def squares(self) -> Tensor:
        """The sum of the squares of all tables that have dense gradients."""
        total = next(self.parameters()).new_zeros(())
        for table in self.sides.modules():
            if isinstance(table, nn.Embedding | nn.EmbeddingBag) and not table.sparse:
                total = total + table.weight.square().sum()
        return total

    def judge(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits of whole rows."""
        raise NotImplementedError


class _BatchNorm(nn.BatchNorm1d):
    """A single row has no deviation: it is scaled by what was seen before."""

    def forward(self, x: Tensor) -> Tensor:
        fresh = self.training and len(x) > 1
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, fresh, self.momentum or 0.0, self.eps
        )


class Perceptron(nn.Sequential):
    """Layers of ``hidden`` widths with ReLU, and a linear one of ``out`` where that is not 0."""

    def __init__(
        self, width: int, hidden: Sequence[int], out: int = 0, *, dropout: float = 0.0, batch_norm: bool = False
    ) -> None:
        layers: list[nn.Module] = []
        for wide in hidden:
            layers.append(nn.Linear(width, wide))
            layers += [_BatchNorm(wide)] if batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout)] if dropout else []
            width = wide
        self.width = out or width
        super().__init__(*layers, *([nn.Linear(width, out)] if out else []))


def factorisation(vectors: Tensor) -> Tensor:
    """(R, F, D) to (R,): the sum of the dot products of all pairs of fields in O(F · D) (Rendle, ICDM 2010)."""
    return pair_products(vectors).sum(1)


def pair_products(vectors: Tensor) -> Tensor:
    """(R, F, D) to (R, D): the sum of the products of all pairs of fields, each column by itself."""
    return 0.5 * (vectors.sum(1).square() - vectors.square().sum(1))


def dot_interactions(vectors: Tensor) -> Tensor:
    """(R, F, D) to (R, F (F − 1) / 2): the dot products of all pairs of fields, each by itself."""
    one, other = torch.triu_indices(vectors.shape[1], vectors.shape[1], 1, device=vectors.device)
    return (vectors @ vectors.transpose(1, 2))[:, one, other]


class CrossLayers(nn.Module):
    """x ← x₀ ⊙ (W x + b) + x, ``layers`` times: each adds one degree of crossed features (DCN-V2).

    With ``rank`` the product with W is Σₖ gₖ(x) Uₖ tanh(Cₖ tanh(Vₖᵀ x)) over ``experts`` of that rank, weighed by a
    softmax gate. Cost of a row: layers · width², or layers · experts · 2 · width · rank.
    """

    def __init__(self, width: int, layers: int, rank: int = 0, experts: int = 1) -> None:
        super().__init__()
        make = (lambda: _LowRank(width, rank, experts)) if rank else (lambda: nn.Linear(width, width))
        self.layers = nn.ModuleList(make() for _ in range(layers))

    def forward(self, first: Tensor) -> Tensor:
        """(R, width) to (R, width)."""
        x = first
        for layer in self.layers:
            x = first * layer(x) + x
        return x


class _LowRank(nn.Module):
    def __init__(self, width: int, rank: int, experts: int) -> None:
        super().__init__()
        self.down, self.up = (
            nn.Parameter(torch.empty(experts, width, rank)),
            nn.Parameter(torch.empty(experts, rank, width)),
        )
        self.middle = nn.Parameter(torch.empty(experts, rank, rank))
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(width, experts)
        for each in (self.down, self.up, self.middle):
            nn.init.normal_(each, std=each.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.tanh(torch.einsum("rw,ewk->rek", x, self.down))
        inner = torch.tanh(torch.einsum("rek,ekj->rej", inner, self.middle))
        gates = self.gate(x).softmax(1)
        return torch.einsum("rek,ekw,re->rw", inner, self.up, gates) + self.bias


class WideAndDeep(FieldNetwork):
    """A linear part over all values, a perceptron over the field vectors, and with ``fm`` all pairs of fields; added up.

    The last column of each vector is its linear weight. Several tasks share all but the last layer and a bias.
    """

    def __init__(
        self,
        sides: Sequence[Fields],
        width: int,
        hidden: Sequence[int],
        tasks: int,
        *,
        fm: bool,
        dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__(sides, width + 1)
        self.fm = fm
        self.linear = nn.Linear(self.numbers, 1, bias=False) if self.numbers else None
        deep = self.fields * width + self.numbers
        self.deep = Perceptron(deep, hidden, tasks, dropout=dropout, batch_norm=batch_norm)

    def judge(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors, weights = rows.vectors[..., :-1], rows.vectors[..., -1]
        out: Tensor = self.deep(torch.cat([vectors.flatten(1), rows.numbers], 1)) + weights.sum(1, keepdim=True)
        if self.linear is not None:
            out = out + self.linear(rows.numbers)
        return out + factorisation(vectors)[:, None] if self.fm else out

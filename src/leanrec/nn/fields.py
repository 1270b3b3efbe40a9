"""Field embeddings and their interactions: factorization machine, cross layers, dot products.

Shapes: R rows, F fields, D embedding width, M numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.kernels.layers.field_layers import FieldSizes

__all__ = [
    "MLP",
    "CrossLayers",
    "FieldBag",
    "FieldBatch",
    "FieldEmbedding",
    "FieldNetwork",
    "FieldVectors",
    "WideAndDeepNetwork",
    "concat_fields",
    "dot_interactions",
    "factorization_machine",
    "pairwise_products",
]

# Below this many rows a dense step over the whole table is faster than a sparse one.
_SPARSE_FROM = 200_000
# Small initial vectors: those of rare values stay small. On Frappe a standard deviation of 0.01 costs .002 of AUC.
_INIT_STD = 1e-4


class FieldBag(NamedTuple):
    """One multi-valued field: row r has ``values[bounds[r]:bounds[r + 1]]`` and their weights."""

    values: Tensor
    bounds: Tensor
    weights: Tensor


class FieldBatch(NamedTuple):
    """R rows as tensors: codes (R, number of sizes) int64, one FieldBag per multi-valued field, numbers (R, M)."""

    codes: Tensor
    bags: tuple[FieldBag, ...]
    numbers: Tensor

    def to(self, device: torch.device) -> "FieldBatch":
        """The batch on another device."""
        bags = tuple(FieldBag(*(each.to(device) for each in bag)) for bag in self.bags)
        return FieldBatch(self.codes.to(device), bags, self.numbers.to(device))


class FieldVectors(NamedTuple):
    """R rows of F field vectors (R, F, D), and their numbers (R, M)."""

    vectors: Tensor
    numbers: Tensor

    def take(self, rows: Tensor) -> "FieldVectors":
        """The given rows, which may repeat. The gradient of a row is summed in their order, whatever the number of threads."""
        # vectors[rows] would add up the gradients of a repeated row in any order.
        vectors = F.embedding(rows, self.vectors.flatten(1)).unflatten(1, self.vectors.shape[1:])
        return FieldVectors(vectors, self.numbers.index_select(0, rows))


def concat_fields(parts: Sequence[FieldVectors]) -> FieldVectors:
    """The fields of all parts, row by row."""
    if len(parts) == 1:
        return parts[0]
    return FieldVectors(torch.cat([each.vectors for each in parts], 1), torch.cat([each.numbers for each in parts], 1))


class FieldEmbedding(nn.Module):
    """One vector per field of a row; a multi-valued field gets the weighted sum of the vectors of its values.

    Tables of 200,000 rows and more have sparse gradients.
    """

    offsets: Tensor

    def __init__(self, fields: FieldSizes, embedding_dim: int) -> None:
        super().__init__()
        starts = [sum(fields.sizes[:i]) for i in range(len(fields.sizes))]
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64), persistent=False)
        total = max(1, sum(fields.sizes))
        self.codes = nn.Embedding(total, embedding_dim, sparse=total >= _SPARSE_FROM)
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(
                max(1, size), embedding_dim, mode="sum", sparse=size >= _SPARSE_FROM, include_last_offset=True
            )
            for size in fields.bags
        )
        for table in (self.codes, *self.bags):
            nn.init.normal_(cast(nn.Embedding, table).weight, std=_INIT_STD)

    def forward(self, batch: FieldBatch) -> FieldVectors:
        """R rows to vectors (R, F, D); numbers are passed on."""
        single = self.codes(batch.codes + self.offsets)
        multiple = [
            table(bag.values, bag.bounds, per_sample_weights=bag.weights)[:, None]
            for table, bag in zip(self.bags, batch.bags, strict=True)
        ]
        return FieldVectors(torch.cat([single, *multiple], 1), batch.numbers)


class FieldNetwork(nn.Module):
    """Base class of CTR networks: embeddings of the fields of each side, and logits from the fields of all sides.

    ``sides`` are groups of fields, such as those of queries and of items. Each is embedded separately, so that it is
    computed once and not once per pair. A model implements ``predict_logits``.
    """

    def __init__(self, sides: Sequence[FieldSizes], embedding_dim: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(FieldEmbedding(side, embedding_dim) for side in sides)
        self.n_fields = sum(side.n_fields for side in sides)
        self.n_numbers = sum(side.numbers for side in sides)

    def embed(self, side: int, batch: FieldBatch) -> FieldVectors:
        """The vectors of rows of one side."""
        vectors: FieldVectors = self.sides[side](batch)
        return vectors

    def squared_norm(self) -> Tensor:
        """Sum of squares of all embedding tables with dense gradients."""
        total = next(self.parameters()).new_zeros(())
        for table in self.sides.modules():
            if isinstance(table, nn.Embedding | nn.EmbeddingBag) and not table.sparse:
                total = total + table.weight.square().sum()
        return total

    def predict_logits(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits of rows with the fields of all sides."""
        raise NotImplementedError


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalization that uses the running statistics for a single row, which has no variance."""

    def forward(self, x: Tensor) -> Tensor:
        use_batch = self.training and len(x) > 1
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, self.momentum or 0.0, self.eps
        )


class MLP(nn.Sequential):
    """Hidden layers with ReLU, and a linear output layer unless ``n_outputs`` is 0.

    Attributes:
        out_features: size of the output.
    """

    def __init__(
        self,
        n_inputs: int,
        hidden_sizes: Sequence[int],
        n_outputs: int = 0,
        *,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        width = n_inputs
        for size in hidden_sizes:
            layers.append(nn.Linear(width, size))
            layers += [_BatchNorm(size)] if batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropout)] if dropout else []
            width = size
        self.out_features = n_outputs or width
        super().__init__(*layers, *([nn.Linear(width, n_outputs)] if n_outputs else []))


def factorization_machine(vectors: Tensor) -> Tensor:
    """(R, F, D) to (R,): sum of the dot products of all pairs of fields in O(F · D) (Rendle, ICDM 2010)."""
    return pairwise_products(vectors).sum(1)


def pairwise_products(vectors: Tensor) -> Tensor:
    """(R, F, D) to (R, D): sum of the element-wise products of all pairs of fields in O(F · D) each."""
    return 0.5 * (vectors.sum(1).square() - vectors.square().sum(1))


def dot_interactions(vectors: Tensor) -> Tensor:
    """(R, F, D) to (R, F (F − 1) / 2): the dot product of each pair of fields."""
    one, other = torch.triu_indices(vectors.shape[1], vectors.shape[1], 1, device=vectors.device)
    return (vectors @ vectors.transpose(1, 2))[:, one, other]


class CrossLayers(nn.Module):
    """Cross network of DCN-V2: x ← x₀ ⊙ (W x + b) + x in each layer, which adds one degree of interactions.

    With ``rank`` the product with W is Σₖ gₖ(x) Uₖ tanh(Cₖ tanh(Vₖᵀ x)) over ``n_experts`` of that rank, mixed by a
    softmax gate. Cost per row: n_layers · width², or n_layers · n_experts · (2 · width · rank + rank²).
    """

    def __init__(self, width: int, n_layers: int, rank: int = 0, n_experts: int = 1) -> None:
        super().__init__()
        make = (lambda: _LowRankLayer(width, rank, n_experts)) if rank else (lambda: nn.Linear(width, width))
        self.layers = nn.ModuleList(make() for _ in range(n_layers))

    def forward(self, first: Tensor) -> Tensor:
        """(R, width) to (R, width)."""
        x = first
        for layer in self.layers:
            x = first * layer(x) + x
        return x


class _LowRankLayer(nn.Module):
    def __init__(self, width: int, rank: int, n_experts: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(n_experts, width, rank))
        self.up = nn.Parameter(torch.empty(n_experts, rank, width))
        self.middle = nn.Parameter(torch.empty(n_experts, rank, rank))
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(width, n_experts)
        for each in (self.down, self.up, self.middle):
            nn.init.normal_(each, std=each.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.tanh(torch.einsum("rw,ewk->rek", x, self.down))
        inner = torch.tanh(torch.einsum("rek,ekj->rej", inner, self.middle))
        gates = self.gate(x).softmax(1)
        return torch.einsum("rek,ekw,re->rw", inner, self.up, gates) + self.bias


class WideAndDeepNetwork(FieldNetwork):
    """Sum of a linear part over all values, an MLP over the field vectors, and with ``fm`` all pairs of fields.

    The last cell of each vector is its linear weight. Several tasks share all but the last layer and a bias.
    """

    def __init__(
        self,
        sides: Sequence[FieldSizes],
        embedding_dim: int,
        hidden_sizes: Sequence[int],
        n_tasks: int,
        *,
        fm: bool,
        dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__(sides, embedding_dim + 1)
        self.fm = fm
        self.linear = nn.Linear(self.n_numbers, 1, bias=False) if self.n_numbers else None
        width = self.n_fields * embedding_dim + self.n_numbers
        self.deep = MLP(width, hidden_sizes, n_tasks, dropout=dropout, batch_norm=batch_norm)

    def predict_logits(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors, weights = rows.vectors[..., :-1], rows.vectors[..., -1]
        out: Tensor = self.deep(torch.cat([vectors.flatten(1), rows.numbers], 1)) + weights.sum(1, keepdim=True)
        if self.linear is not None:
            out = out + self.linear(rows.numbers)
        return out + factorization_machine(vectors)[:, None] if self.fm else out

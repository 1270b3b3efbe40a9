"""Item tables of codes that are trained: what takes the place of the item table of a network, in torch."""

import dataclasses
import itertools

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.compression.vectors.product import ProductCodes, round_books
from leanrec.compression.vectors.scalar import ScalarCodes
from leanrec.types import Float32Array

__all__ = ["ProductItems", "ScalarItems", "make_items"]

# A step of 0, of a row of zeros, divides nothing.
_LEAST_STEP = 1e-30


class ProductItems(nn.Module):
    """Product codes whose codebooks are trained, while the codes stay. A replacement for ``nn.Embedding``.

    Petrov & Macdonald, "RecJPQ: Training Large-Catalogue Sequential Recommenders", WSDM 2024. Memory: the codes, and the
    codebooks with their gradients and moments; ``weight`` decodes all rows for as long as a step needs them.
    """

    def __init__(self, codes: ProductCodes) -> None:
        super().__init__()
        self.source = codes
        self.books = nn.Parameter(torch.from_numpy(codes.centroids.copy()))
        self.register_buffer("codes", torch.from_numpy(codes.unpack()))
        self.register_buffer("scales", torch.from_numpy(codes.scales.copy()))
        self.register_buffer("places", torch.from_numpy(np.argsort(codes.axes)))
        self.codes: Tensor
        self.scales: Tensor
        self.places: Tensor

    def forward(self, rows: Tensor) -> Tensor:
        """(…, D) vectors of ``rows`` (…)."""
        return self._decode(self.codes[rows], self.scales[rows])

    @property
    def weight(self) -> Tensor:
        """(N, D) all vectors."""
        return self._decode(self.codes, self.scales)

    def _decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        bounds = itertools.pairwise(self.source.groups.tolist())
        parts = [F.embedding(codes[..., m].int(), self.books[:, first:last]) for m, (first, last) in enumerate(bounds)]
        return torch.cat(parts, -1)[..., self.places] * scales[..., None]

    def take_codes(self) -> ProductCodes:
        """The codes with the trained codebooks, in 8 bits a number."""
        books, steps = round_books(self.books.detach().cpu().numpy())
        return dataclasses.replace(self.source, books=books, steps=steps)


class ScalarItems(nn.Module):
    """Scalar codes that are trained: full vectors are rounded in each step, and gradients pass as if they were not.

    Bengio, Léonard & Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation",
    arXiv 2013. The steps of the rows stay, and so does the rotation. Memory: as an ``nn.Embedding`` of all rows, and
    ``weight`` for as long as a step needs it.
    """

    def __init__(self, codes: ScalarCodes, vectors: Float32Array) -> None:
        super().__init__()
        self.source = codes
        # Numbers in the space of the codes have the size of those of the vectors, so that the learning rate of the fit suits them.
        basis = np.ldexp(codes.restore(np.eye(codes.n_dims, dtype=np.float32)), -codes.exponent)
        steps = np.ldexp(codes.read_levels()[1], codes.exponent)[:, None]
        self.numbers = nn.Parameter(torch.from_numpy((vectors @ np.linalg.inv(basis)).astype(np.float32)))
        self.register_buffer("steps", torch.from_numpy(np.maximum(steps, _LEAST_STEP)))
        self.register_buffer("basis", torch.from_numpy(basis))
        self.steps: Tensor
        self.basis: Tensor

    def forward(self, rows: Tensor) -> Tensor:
        """(…, D) vectors of ``rows`` (…)."""
        return self._decode(self.numbers[rows], self.steps[rows])

    @property
    def weight(self) -> Tensor:
        """(N, D) all vectors."""
        return self._decode(self.numbers, self.steps)

    def _decode(self, numbers: Tensor, steps: Tensor) -> Tensor:
        reach = 2 ** (self.source.bits - 1)
        inside = (numbers / steps).clamp(-reach, reach)
        rounded = self._round(inside.detach()) - self._middle
        return ((inside + (rounded - inside).detach()) * steps) @ self.basis

    def take_codes(self) -> ScalarCodes:
        """The codes of the trained vectors."""
        codes = self._round(self.numbers.detach() / self.steps).cpu().numpy().astype(np.uint8)
        return self.source.with_levels(codes, self.source.read_levels()[1])

    @property
    def _middle(self) -> float:
        return float((2**self.source.bits - 1) / 2)

    def _round(self, divided: Tensor) -> Tensor:
        """The codes of numbers in steps."""
        return (divided + self._middle).round_().clamp_(0, 2 * self._middle)


def make_items(codes: ProductCodes | ScalarCodes, vectors: Float32Array) -> ProductItems | ScalarItems:
    """The trainable table of the codes of ``vectors`` (N, D)."""
    return ProductItems(codes) if isinstance(codes, ProductCodes) else ScalarItems(codes, vectors)

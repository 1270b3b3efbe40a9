"""Compression of networks, Mult-VAE, two-tower and NeuMF: tables and layers in codes, and fewer axes."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.coded_scorer import sample_queries
from leanrec.compression.compressed_factors import CompressedFactors, choose_codecs, compress_factors
from leanrec.compression.compressed_neumf import CompressedNeuMF, compress_neumf
from leanrec.compression.methods import count_parts
from leanrec.compression.vectors.half import HalfCodec
from leanrec.compression.vectors.offsets import OffsetCodec
from leanrec.compression.vectors.scalar import ScalarCodec
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.deep.mult_vae import MultVAEModel
from leanrec.models.deep.neumf import NeuMFModel
from leanrec.models.deep.two_tower import TwoTowerModel
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import Float32Array, Queries

__all__ = ["NETWORKS", "NetworkCompression", "cut_axes", "propose_networks"]

# The models that are compressed here.
NETWORKS = (MultVAEModel, NeuMFModel, TwoTowerModel)
_HALF = 16
# Matrices of fewer numbers, as all of NeuMF are, stay as they are.
_LEAST_NUMBERS = 5_000
# Bits of layers: 6 changes a third of the lists of Mult-VAE on ML-1M, and 4 loses half a percent of its NDCG.
_LAYER_BITS = 8
# Axes in which query vectors are shorter than this share of the mean count as this long.
_LEAST_SHARE = 1e-6


# Bits of items and inputs that are proposed, with the shares of the axes of Mult-VAE that are kept, most bytes first.
_BITS = ((_HALF, _HALF), (8, 8), (8, 4), (6, 4), (4, 4), (4, 3), (3, 3), (3, 2), (2, 2), (1, 1))
_CUT_BITS = ((8, 6), (8, 4), (6, 4), (6, 3), (4, 3), (3, 3), (3, 2), (2, 2))
_SHARES = ((1 / 2, 1 / 3), (1 / 3, 1 / 6), (1 / 3, 1 / 9), (1 / 4, 1 / 12), (1 / 6, 1 / 18), (1 / 8, 1 / 24))
_EVEN_BITS = (8, 6, 5, 4, 3, 2)


def propose_networks(model: Scorer, max_bytes: float) -> "tuple[NetworkCompression, ...]":
    """Of each kind the method with the most bytes that fit; the first is expected to keep most."""
    kinds = [[NetworkCompression(*bits) for bits in _BITS], [NetworkCompression(bits, bits) for bits in _EVEN_BITS]]
    if isinstance(model, MultVAEModel) and not model.settings.decoder_dim:
        width, hidden = model.items.shape[1] - 1, model.first.shape[1]
        for of_items, of_inputs in _SHARES:
            axes = max(1, round(of_items * width)), max(1, round(of_inputs * hidden))
            kinds.append([NetworkCompression(*bits, *axes) for bits in _CUT_BITS])
    found = [next((each for each in kind if each.estimate_bytes(model) <= max_bytes), None) for kind in kinds]
    # Of few bits and few axes the bits cost more.
    ranked = sorted({each: None for each in found if each is not None}, key=lambda each: -min(each.item_bits, 6))
    return tuple(ranked)


@dataclasses.dataclass(frozen=True)
class NetworkCompression:
    """Codes for the tables and layers of Mult-VAE, two-tower or NeuMF, with fewer bits for what a history is made of.

    A query sums many rows of the tables of histories, and their errors cancel: two bits a number suffice there, where the
    items that are scored need four. Tables of Mult-VAE may be cut to fewer axes before that (`cut_axes`).

    Attributes:
        item_bits: bits of the item vectors that are scored; 16 = half precision.
        input_bits: bits of the vectors that queries are made of.
        item_axes: axes of the item vectors of Mult-VAE that are kept; 0 = all.
        input_axes: axes of the first layer of Mult-VAE that are kept; 0 = all.
    """

    item_bits: int = setting(8, between=(1, 16), doc="Bits of the item vectors that are scored; 16 = half precision.")
    input_bits: int = setting(8, between=(1, 16), doc="Bits of the vectors that queries are made of.")
    item_axes: int = setting(0, at_least=0, doc="Axes of the item vectors of Mult-VAE that are kept; 0 = all.")
    input_axes: int = setting(0, at_least=0, doc="Axes of the first layer of Mult-VAE that are kept; 0 = all.")

    def __post_init__(self) -> None:
        check_settings(self)
        for name in ("item_bits", "input_bits"):
            if _HALF > getattr(self, name) > 8:
                raise SettingError(f"{name} must be 1 to 8, or 16. Got {getattr(self, name)}.")

    def __str__(self) -> str:
        axes = "".join(f" {name}={getattr(self, name)}" for name in ("item_axes", "input_axes") if getattr(self, name))
        return f"network item_bits={self.item_bits} input_bits={self.input_bits}{axes}"

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the codes, of the layers and of what else the model needs."""
        network = _check_model(model)
        shapes = {name: tuple(np.shape(array)) for name, array in network.weights.items()}
        if isinstance(network, MultVAEModel):
            network, more = _shape_cut(network, self.item_axes, self.input_axes)
            shapes |= more
        size: float = sum(
            float(codec.count_bytes(*shape)) if (codec := self._choose_layer(name, shape)) else 4.0 * math.prod(shape)
            for name, shape in shapes.items()
        )
        if isinstance(network, NeuMFModel):
            (n, D), hidden = network.fold_in.items.shape, network.hidden.shape
            size += self._inputs.count_bytes(n, D) + OffsetCodec(self._items, (D,)).count_bytes(n, D + 1) + 4 * D
            return size + (float(self._items.count_bytes(*hidden)) if hidden[1] else 0.0)
        if isinstance(network, MultVAEModel):
            offsets = OffsetCodec(self._items, (-1,))
            return (
                size + float(self._inputs.count_bytes(*network.first.shape)) + offsets.count_bytes(*network.items.shape)
            )
        for name, codec in choose_codecs(network, self._items, self._inputs).items():
            size += codec.count_bytes(*getattr(network, name).shape)
        return size + sum(count_parts(network.features).values())

    def refine(self, model: Scorer) -> tuple["NetworkCompression", ...]:  # noqa: ARG002 - of the protocol
        """No slower method of the same size is known."""
        return ()

    def compress(self, model: Scorer, data: Dataset, run: Run = Run()) -> CompressedFactors | CompressedNeuMF:
        """The model in codes. Raises SettingError for a model of another kind, or without the axes to cut."""
        network = _check_model(model)
        if self.item_axes or self.input_axes:
            if not isinstance(network, MultVAEModel):
                raise SettingError(
                    f"Axes are cut for mult_vae alone. Got {type(model).__name__}: set item_axes and input_axes to 0."
                )
            queries = sample_queries(data, run.seed)
            network = cut_axes(network, queries, item_axes=self.item_axes, input_axes=self.input_axes)
        if isinstance(network, NeuMFModel):
            return compress_neumf(network, self._items, self._inputs, seed=run.seed)
        weights = {
            name: codec.encode(array) if (codec := self._choose_layer(name, np.shape(array))) else array
            for name, array in network.weights.items()
        }
        coded = dataclasses.replace(network, weights=weights)
        compressed: CompressedFactors = compress_factors(coded, self._items, inputs=self._inputs, seed=run.seed)
        return compressed

    @property
    def _items(self) -> Any:
        return _make_codec(self.item_bits)

    @property
    def _inputs(self) -> Any:
        return _make_codec(self.input_bits)

    def _choose_layer(self, name: str, shape: tuple[int, ...]) -> Any:
        """The codec of a weight: that of the items for features, which are tables of vectors; None = it stays as it is."""
        if len(shape) != 2 or math.prod(shape) < _LEAST_NUMBERS:
            return None
        if name.endswith("_features.weight"):
            return self._items
        return HalfCodec() if self.item_bits == _HALF else ScalarCodec(_LAYER_BITS, rotated=False)


def _check_model(model: Scorer) -> Any:
    if not isinstance(model, NETWORKS):
        raise SettingError(f"The model must be mult_vae, two_tower or neumf. Got {type(model).__name__}.")
    return model


def _make_codec(bits: int) -> Any:
    return HalfCodec() if bits == _HALF else ScalarCodec(bits, balanced=True)


def _shape_cut(model: MultVAEModel, item_axes: int, input_axes: int) -> tuple[MultVAEModel, dict[str, tuple[int, ...]]]:
    """A model with tables of the shapes that are left of the axes, and the shapes of the weights that change."""
    hidden, shapes = model.first.shape[1], dict[str, tuple[int, ...]]()
    first, items = model.first, model.items
    if item_axes:
        items = np.broadcast_to(np.float32(0), (model.n_items, item_axes + 1))
        shapes |= {"mean.weight": (item_axes, hidden), "mean.bias": (item_axes,)}
    if input_axes:
        first = np.broadcast_to(np.float32(0), (model.n_items, input_axes))
        shapes["expand.weight"] = (hidden, input_axes)
    return dataclasses.replace(model, first=first, items=items), shapes


def cut_axes(model: MultVAEModel, queries: Queries, *, item_axes: int = 0, input_axes: int = 0) -> MultVAEModel:
    """A Mult-VAE of smaller tables: the axes that say most about these queries are kept, and the others left out.

    The first layer is cut to the principal axes of the sums over the histories, and expanded again for each query. The item
    vectors are cut where their products with the query vectors are smallest, and the layer before them is cut with them, so a
    query takes less time too. Without a layer between latent vector and items only.

    Cost: O(B · H² + N · H · input_axes + N · D²) for B queries.

    Args:
        model: a fitted Mult-VAE.
        queries: whose sums and vectors the axes are chosen by.
        item_axes: number of axes of the item vectors; 0 = all.
        input_axes: number of axes of the first layer; 0 = all.

    Raises:
        SettingError: for more axes than there are, a decoder with a hidden layer, or no query with a history.
    """
    hidden, width = model.first.shape[1], model.items.shape[1] - 1
    if model.settings.decoder_dim and item_axes:
        raise SettingError(f"item_axes must be 0 with a hidden layer in the decoder. Got {item_axes}.")
    if item_axes > width or input_axes > hidden or not queries.history.nnz:
        raise SettingError(
            f"Axes are chosen among {width} of the items and {hidden} of the inputs, by queries with a history. "
            f"Got item_axes={item_axes}, input_axes={input_axes} and {queries.history.nnz} items in histories."
        )
    first, items, weights = model.first, model.items, dict(model.weights)
    if item_axes:
        items, forward = _cut_items(items, model.embed_queries(queries)[:, :-1], item_axes)
        weights["mean.weight"] = np.asarray(forward @ weights["mean.weight"], np.float32)
        weights["mean.bias"] = np.asarray(forward @ weights["mean.bias"], np.float32)
    if input_axes:
        sums = model.sum_history(queries).astype(np.float64)
        axes = _largest_axes(sums.T @ sums, input_axes)
        first, weights["expand.weight"] = np.asarray(first @ axes, np.float32), axes.astype(np.float32)
    return dataclasses.replace(model, first=first, items=items, weights=weights)


def _cut_items(items: Float32Array, Q: Float32Array, n_axes: int) -> tuple[Float32Array, NDArray[np.float64]]:
    """Item vectors (N, n_axes + 1), the bias last, and the matrix (n_axes, D) that brings queries to them.

    With the second moment C of the queries, the products are those of V C^½ with queries of second moment 1: the error of a
    cut is least in the principal axes of these vectors.
    """
    second = Q.astype(np.float64).T @ Q / len(Q)
    values, axes = np.linalg.eigh(second)
    roots = np.sqrt(np.maximum(values, _LEAST_SHARE * max(float(values.mean()), 1e-30)))
    stretched = items[:, :-1] @ ((axes * roots) @ axes.T)
    kept = _largest_axes(stretched.T @ stretched, n_axes)
    cut = np.column_stack([stretched @ kept, items[:, -1]]).astype(np.float32)
    return cut, kept.T @ ((axes / roots) @ axes.T)


def _largest_axes(moments: NDArray[np.float64], n_axes: int) -> NDArray[np.float64]:
    """(D, n_axes) eigenvectors of the largest eigenvalues of a symmetric matrix, largest first."""
    return np.ascontiguousarray(np.linalg.eigh(moments)[1][:, : -n_axes - 1 : -1])

"""Codecs of other libraries as codecs of leanrec: item vectors are coded and decoded by FAISS and usearch, and their bytes counted.

RaBitQ is that of FAISS: the wheel of its authors, rabitqlib, has indexes alone and gives no decoded vectors.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.compression import FactorCompression
from leanrec.compression.vectors.codec import TiledCodes
from leanrec.types import Float32Array

__all__ = ["DecodedCodes", "FaissCodec", "UsearchCodec", "list_peers"]


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedCodes(TiledCodes):
    """Vectors that another library has coded and decoded.

    Attributes:
        vectors: (N, D) decoded.
        n_bytes: of the codes, and of what decodes them.
    """

    vectors: Float32Array
    n_bytes: int

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.vectors)

    @property
    def n_dims(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    def decode_tile(self, rows: NDArray[Any] | slice) -> Float32Array:
        """(K, D) vectors of some rows."""
        return self.vectors[rows]

    def encode_alike(self, V: Float32Array) -> "DecodedCodes":
        """Other vectors as they are."""
        return DecodedCodes(V, V.nbytes)


@dataclasses.dataclass(frozen=True)
class FaissCodec:
    """A codec of FAISS by the text of its index factory.

    Training is that of FAISS by default: with a quarter of the vectors, PQ8 keeps 1.4 points less of NDCG on Gowalla.
    """

    factory: str

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> DecodedCodes:  # noqa: ARG002
        """Train, code all vectors and decode them. What was trained is counted as FAISS stores it."""
        import faiss

        # The time of training is not compared.
        faiss.omp_set_num_threads(1)
        index = faiss.index_factory(V.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        index.train(V)
        trained = faiss.serialize_index(index).nbytes
        codes = index.sa_encode(V)
        # Decoding by FAISS leaves out all bits of RaBitQ but the first.
        has_more_bits = "RaBitQ" in self.factory and not self.factory.endswith("RaBitQ")
        decoded = _decode_by_search(index, V) if has_more_bits else index.sa_decode(codes)
        return DecodedCodes(decoded, codes.nbytes + trained)

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """Not known before."""
        return 4 * n_items * n_dims


def _decode_by_search(index: Any, V: Float32Array) -> Float32Array:
    """(N, D) the vectors whose products with a query are the scores of an index: those of the unit vectors, less those of zero."""
    index.add(V)
    n_items, n_dims = V.shape
    products = np.zeros((n_dims + 1, n_items), np.float32)
    scores, rows = index.search(np.eye(n_dims + 1, n_dims, dtype=np.float32), n_items)
    np.put_along_axis(products, rows, scores, axis=1)
    return np.ascontiguousarray((products[:n_dims] - products[n_dims]).T)


@dataclasses.dataclass(frozen=True)
class UsearchCodec:
    """Vectors as an index of usearch keeps them in 8 bits: scaled to length 1. The lengths are kept beside, in float16."""

    def encode(self, V: Float32Array, *, queries: Float32Array | None = None, seed: int = 0) -> DecodedCodes:  # noqa: ARG002
        """Add all vectors and read them back. The links of the graph are not counted."""
        from usearch.index import Index

        index = Index(ndim=V.shape[1], metric="cos", dtype="i8", connectivity=2, expansion_add=1)
        keys = np.arange(len(V))
        index.add(keys, V, threads=1)
        codes = np.asarray(index.get(keys, "i8"), np.float32)
        lengths = np.linalg.norm(V, axis=1).astype(np.float16).astype(np.float32)
        scale = lengths / np.maximum(np.linalg.norm(codes, axis=1), 1e-12)
        return DecodedCodes(codes * scale[:, None], V.size + 2 * len(V))

    def count_bytes(self, n_items: int, n_dims: int) -> int:
        """One byte a number, and two a row."""
        return n_items * (n_dims + 2)


def list_peers(dims: int) -> Iterator[tuple[str, str, FactorCompression]]:
    """Family, name and method of each codec of another library. A product code needs groups of equal size."""
    peers = [("FAISS scalar", name) for name in ("SQ8", "SQ6", "SQ4")]
    for codes in (8, 16, 32, 64):
        if dims % codes == 0:
            peers.append(("FAISS PQ", f"PQ{codes}"))
            if codes >= 16:
                peers.append(("FAISS OPQ", f"OPQ{codes},PQ{codes}"))
    if dims % 8 == 0:
        peers.append(("FAISS PQ", "PQ8x6"))
    if dims >= 128:
        # Few codes pay for a rotation and codebooks of fewer dimensions alone.
        peers += [("FAISS OPQ", f"OPQ{codes}_{8 * codes},PQ{codes}") for codes in (4, 8)]
    peers += [("FAISS RaBitQ", f"RR{dims},RaBitQ{bits}") for bits in ("", 2, 4)]
    for family, factory in peers:
        yield family, f"FAISS {factory}", FactorCompression(FaissCodec(factory))
    yield "usearch", "usearch i8", FactorCompression(UsearchCodec())

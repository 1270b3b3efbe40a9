"""What all scorers over coded item vectors share: scores and searches of the codes, and the queries that a codec sees."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.protocols import Embedder
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["CodedScorer", "sample_queries", "sample_query_vectors"]

_N_QUERIES = 2000


class CodedScorer:
    """Base of a model whose items are scored by codes: ``items``, while ``embed_queries`` gives the query vectors."""

    if TYPE_CHECKING:

        @property
        def model(self) -> Any:
            """The model without its rows."""

        @property
        def items(self) -> Any:
            """Codes of the items that are scored."""

        def embed_queries(self, queries: Queries) -> Float32Array:
            """(B, D) query vectors."""
            ...

    @property
    def settings(self) -> Any:
        """Settings of the fit of the model."""
        return self.model.settings

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.items.n_items)

    def embed_items(self) -> Float32Array:
        """(N, D) all items, decoded: this takes the memory that the codes save."""
        return np.asarray(self.items.decode())

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Query vectors · decoded item vectors: (B, N), or (B, K) for ``items``."""
        return np.asarray(self.items.score(self.embed_queries(queries), items))

    def search(
        self, queries: Queries, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        """The k best items of each query, and whether there is no evidence for it. See `leanrec.protocols.Searcher`."""
        Q = self.embed_queries(queries)
        items, scores = self.items.search(Q, k, seen=seen, allowed=allowed)
        return items, scores, np.asarray(~Q.any(axis=1))


def sample_queries(data: Dataset, seed: int) -> Queries:
    """Queries of at most 2,000 users of the data, drawn by the seed."""
    chosen = np.random.default_rng(seed).permutation(len(data.users))[:_N_QUERIES]
    return data.queries(np.sort(chosen).astype(np.int32))


def sample_query_vectors(model: Embedder, data: Dataset | None, seed: int) -> Float32Array | None:
    """(Q, D) query vectors of at most 2,000 users of the data, drawn by the seed; None without data."""
    return None if data is None or not len(data.users) else model.embed_queries(sample_queries(data, seed))

"""A process that serves a compressed model holds no float32 array of all items."""

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec import artifacts
from leanrec.compression import ScalarCodec, compress_factors
from leanrec.compression.methods import count_mapped, count_parts
from leanrec.compression.vectors.mapped import MappedCodec
from leanrec.models.factorization.ials import IALS, IALSModel
from leanrec.protocols import Explainable
from leanrec.retrieval.exact import ExactRetriever
from leanrec.types import Queries

N, D = 40_000, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    V = np.random.default_rng(0).standard_normal((N, D), dtype=np.float32)
    model = IALSModel(IALS(embedding_dim=D), V)
    return artifacts.save(compress_factors(model, ScalarCodec(bits=4)), tmp_path_factory.mktemp("saved") / "model")


def make_queries(n: int) -> Queries:
    history = sp.random_array((n, N), density=20 / N, rng=1, format="csr", dtype=np.float32)
    return Queries(np.full(n, -1, np.int32), history)


def serve(model: Any, n_queries: int) -> None:
    """Lists, explanations and similar items, as a server makes them."""
    queries = make_queries(n_queries)
    items = ExactRetriever(model).retrieve(queries, 20).items
    assert (items >= 0).all()
    assert isinstance(model, Explainable)
    model.explain(queries.block(0, 1), items[0])
    model.compare_items(5)


@pytest.mark.parametrize("n_queries", [1, 20])
def test_loading_and_serving_take_less_than_the_vectors(folder: Path, n_queries: int) -> None:
    serve(artifacts.load(folder), n_queries)  # compiles
    tracemalloc.start()
    try:
        model = artifacts.load(folder)
        serve(model, n_queries)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    n_bytes = sum(file.stat().st_size for file in folder.glob("*.npy"))
    assert n_bytes < 4 * N * D / 6
    assert held < n_bytes + 2**20
    # Lists of all scores of a block of queries are not made either.
    assert peak < 4 * N * D / 2


def test_vectors_that_stay_on_disk_are_not_loaded(tmp_path: Path) -> None:
    V = np.random.default_rng(0).standard_normal((N, D), dtype=np.float32)
    V[: N // 20] *= 3  # some are longer, as popular items are
    exact = artifacts.save(
        compress_factors(IALSModel(IALS(embedding_dim=D), V), MappedCodec(bits=4)), tmp_path / "model"
    )
    serve(artifacts.load(exact), 1)  # compiles
    tracemalloc.start()
    try:
        model = artifacts.load(exact)
        read = count_mapped_pages("vectors.npy")
        serve(model, 1)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(model.items.file.vectors, np.memmap)
    assert count_mapped(model) == 4 * N * D
    assert read <= 2**18
    assert held < sum(count_parts(model).values()) + 2**20 < 4 * N * D / 3
    assert peak < 4 * N * D / 2


def count_mapped_pages(name: str) -> int:
    """Bytes of a mapped file that this process has read."""
    found, is_ours = 0, False
    with Path("/proc/self/smaps").open() as lines:  # line by line: all of them are as large as the vectors
        for line in lines:
            head = line.split()
            if not head[0].endswith(":"):
                is_ours = head[-1].endswith(name)
            elif is_ours and head[0] == "Rss:":
                found += 1024 * int(head[1])
    return found


def test_no_attribute_holds_all_vectors(folder: Path) -> None:
    model = artifacts.load(folder)
    serve(model, 3)
    assert largest_float_array(model) < N * D // 4


def largest_float_array(value: Any) -> int:
    """Numbers of the largest array of floats in an object, its parts and its caches."""
    if isinstance(value, np.ndarray):
        return value.size if value.dtype.kind == "f" else 0
    if isinstance(value, dict):
        return max(map(largest_float_array, value.values()), default=0)
    return largest_float_array(vars(value)) if dataclasses.is_dataclass(value) and hasattr(value, "__dict__") else 0

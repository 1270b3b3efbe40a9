"""Vectors in a file with codes in memory: the laws of codecs, exact lists, and what is read."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.codec import CodecContract, make_queries, make_vectors
from leanrec import artifacts
from leanrec.compression.methods import count_mapped
from leanrec.compression.vectors.mapped import MappedCodec, MappedCodes, VectorFile
from leanrec.errors import DataError
from leanrec.kernels.topk.selection import top_k


class ExactContract(CodecContract):
    """What is lost is nothing; what is in a file is not counted as memory."""

    max_error = 0.0

    def test_bytes_are_known_before_and_are_those_of_the_files(self, tmp_path: Path) -> None:
        codes = self.encode(make_vectors())
        counted = self.codec.count_bytes(codes.n_items, codes.n_dims)
        assert codes.nbytes <= counted <= 1.01 * codes.nbytes + 8
        assert count_mapped(codes) == 4 * 300 * 37
        files = list(artifacts.save(codes, tmp_path / "codes").glob("*.npy"))
        assert codes.nbytes + count_mapped(codes) == sum(file.stat().st_size - 128 for file in files)


class TestMapped4(ExactContract):
    codec = MappedCodec(4)


class TestMappedWithoutCodes(ExactContract):
    codec = MappedCodec(0)


def test_a_loaded_model_maps_its_vectors_and_gives_the_same_lists(tmp_path: Path) -> None:
    V, Q = make_vectors(2500), make_queries()
    codes = MappedCodec(5).encode(V, seed=3)
    loaded = artifacts.load(artifacts.save(codes, tmp_path / "codes"), MappedCodes)
    assert isinstance(loaded.file.vectors, np.memmap)
    assert not isinstance(loaded.order, np.memmap)
    expected = top_k(Q @ V.T, 20)
    for each in (codes, loaded):
        np.testing.assert_array_equal(each.search(Q, 20)[0], expected[0])
    np.testing.assert_array_equal(loaded.decode(np.array([7, 7, 0])), V[[7, 7, 0]])
    again = artifacts.load(artifacts.save(loaded, tmp_path / "again"), MappedCodes)
    np.testing.assert_array_equal(again.decode(), V)


@pytest.mark.parametrize("damage", [{"order": np.zeros(10, np.int32)}, {"file": VectorFile(make_vectors(301))}])
def test_parts_of_other_vectors_are_refused(damage: dict[str, Any], tmp_path: Path) -> None:
    codes = dataclasses.replace(MappedCodec(4).encode(make_vectors()), **damage)
    with pytest.raises(DataError, match="MappedCodes must have"):
        artifacts.save(codes, tmp_path / "codes")

"""Field embeddings and interactions against slow references."""

import numpy as np
import pytest
import torch
from torch import nn

from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.nn import fields as of_fields
from leanrec.nn.fields import (
    MLP,
    CrossLayers,
    FieldBag,
    FieldBatch,
    FieldEmbedding,
    dot_interactions,
    factorization_machine,
)


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(1))


def test_factorization_machine_sums_all_pairs(vectors: torch.Tensor) -> None:
    slow = [sum((v[i] @ v[j]).item() for i in range(5) for j in range(i)) for v in vectors]
    np.testing.assert_allclose(factorization_machine(vectors), slow, rtol=1e-4, atol=1e-5)


def test_dot_interactions_contain_each_pair(vectors: torch.Tensor) -> None:
    found = dot_interactions(vectors)
    assert found.shape == (6, 10)
    slow = [(vectors[2, i] @ vectors[2, j]).item() for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_allclose(found[2], slow, rtol=1e-4, atol=1e-5)


def test_cross_layers_follow_the_formula() -> None:
    torch.manual_seed(0)
    cross, x = CrossLayers(6, n_layers=2), torch.randn(3, 6)
    expected = x
    for layer in cross.layers:
        expected = x * (expected @ layer.weight.T + layer.bias) + expected
    torch.testing.assert_close(cross(x), expected)


def test_one_expert_of_low_rank_follows_the_formula() -> None:
    torch.manual_seed(0)
    cross, x = CrossLayers(6, n_layers=1, rank=2), torch.randn(3, 6)
    part = cross.layers[0]
    inner = torch.tanh(torch.tanh(x @ part.down[0]) @ part.middle[0]) @ part.up[0] + part.bias
    torch.testing.assert_close(cross(x), x * inner + x)


def test_experts_are_mixed_by_a_softmax_gate() -> None:
    torch.manual_seed(0)
    cross, x = CrossLayers(6, n_layers=1, rank=2, n_experts=3), torch.randn(3, 6)
    part = cross.layers[0]
    with torch.no_grad():
        for each in (part.down, part.middle, part.up):
            each[1:] = each[0]
    one = torch.tanh(torch.tanh(x @ part.down[0]) @ part.middle[0]) @ part.up[0]
    torch.testing.assert_close(cross(x), x * one + x)


def test_multi_valued_field_is_the_weighted_sum_of_its_values() -> None:
    embedding = FieldEmbedding(FieldSizes(sizes=(3, 2), bags=(4,), numbers=1), 5)
    bag = FieldBag(torch.tensor([3, 0, 1]), torch.tensor([0, 2, 2, 3]), torch.tensor([0.5, 2.0, 1.0]))
    batch = FieldBatch(torch.tensor([[0, 1], [2, 0], [1, 1]]), (bag,), torch.ones(3, 1))
    found = embedding(batch)
    codes, values = embedding.codes.weight, embedding.bags[0].weight
    assert found.vectors.shape == (3, 3, 5)
    torch.testing.assert_close(found.vectors[0, 1], codes[3 + 1])
    torch.testing.assert_close(found.vectors[0, 2], 0.5 * values[3] + 2 * values[0])
    assert not found.vectors[1, 2].any()


def test_large_tables_have_sparse_gradients_and_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = FieldSizes(sizes=(50,), bags=(50,))
    bag = FieldBag(torch.tensor([3, 0, 1]), torch.tensor([0, 2, 3]), torch.tensor([0.5, 2.0, 1.0]))
    batch = FieldBatch(torch.tensor([[1], [7]]), (bag,), torch.zeros(2, 0))
    found = []
    for start in (10**9, 1):
        monkeypatch.setattr(of_fields, "_SPARSE_FROM", start)
        torch.manual_seed(3)
        embedding = FieldEmbedding(fields, 4)
        embedding(batch).vectors.square().sum().backward()
        found.append([table.weight.grad for table in (embedding.codes, *embedding.bags)])
    for dense, sparse in zip(*found, strict=True):
        assert sparse.is_sparse
        torch.testing.assert_close(sparse.to_dense(), dense)


def test_batch_norm_accepts_a_single_row_in_training() -> None:
    perceptron = MLP(3, (4,), 1, batch_norm=True).train()
    assert torch.isfinite(perceptron(torch.randn(1, 3))).all()
    assert any(isinstance(layer, nn.BatchNorm1d) for layer in perceptron)

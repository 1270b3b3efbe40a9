"""DLRM: the contract."""

import pytest
import torch

from contracts.ctr import CTRContract, check_network
from leanrec.errors import SettingError
from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.models.ctr.dlrm import DLRM
from leanrec.nn.fields import FieldBatch


class TestDLRM(CTRContract):
    estimator = DLRM(embedding_dim=8, hidden_sizes=(32,), epochs=8, batch_size=512, learning_rate=0.02)


def test_top_mlp_takes_numbers_and_products() -> None:
    sides = (FieldSizes(sizes=(5, 7), numbers=2),)
    network = DLRM(embedding_dim=3, hidden_sizes=(4,), bottom_sizes=(), batch_norm=False).build_network(sides, 1).eval()
    rows = network.embed(0, FieldBatch(torch.tensor([[1, 6]]), (), torch.tensor([[0.5, -1.0]])))
    a, b = rows.vectors[0]
    number = network.bottom(rows.numbers)[0]
    read = torch.cat([number, torch.stack([number @ a, number @ b, a @ b])])
    torch.testing.assert_close(network.predict_logits(rows)[0], network.top(read[None])[0])
    assert DLRM(embedding_dim=3, hidden_sizes=(4,), concat_embeddings=True).build_network(sides, 1).predict_logits(
        rows
    ).shape == (1, 1)


def test_single_field_is_refused() -> None:
    with pytest.raises(SettingError, match="two fields"):
        DLRM().build_network((FieldSizes(sizes=(5,)),), 1)


def test_the_model_reads_vectors_as_its_network_does() -> None:
    check_network(DLRM(embedding_dim=3, hidden_sizes=(4,), bottom_sizes=(), concat_embeddings=True))

"""DLRM: the contract."""

import pytest
import torch

from contracts.by_fields import CTRContract
from leanrec.errors import SettingError
from leanrec.models.ctr.dlrm import DLRM
from leanrec.nn.fields import FieldBatch, FieldSizes


class TestDLRM(CTRContract):
    estimator = DLRM(width=8, hidden=(32,), epochs=8, batch=512, learning_rate=0.02)


def test_the_top_reads_numbers_and_products() -> None:
    sides = (FieldSizes(sizes=(5, 7), numbers=2),)
    network = DLRM(width=3, hidden=(4,), bottom=(), batch_norm=False).network(sides, 1).eval()
    rows = network.embed(0, FieldBatch(torch.tensor([[1, 6]]), (), torch.tensor([[0.5, -1.0]])))
    a, b = rows.vectors[0]
    number = network.bottom(rows.numbers)[0]
    read = torch.cat([number, torch.stack([number @ a, number @ b, a @ b])])
    torch.testing.assert_close(network.judge(rows)[0], network.top(read[None])[0])
    assert DLRM(width=3, hidden=(4,), vectors=True).network(sides, 1).judge(rows).shape == (1, 1)


def test_one_field_cannot_be_multiplied() -> None:
    with pytest.raises(SettingError, match="two fields"):
        DLRM().network((FieldSizes(sizes=(5,)),), 1)

"""Networks of causal blocks: positions from the end, and no look at later items."""

import pytest
import torch
from torch import nn

from leanrec.models.sequential.core.networks.causal_blocks import CausalBlocks
from leanrec.models.sequential.hstu import HSTU
from leanrec.models.sequential.sasrec import SASRec


def build(settings: SASRec | HSTU, n_items: int = 7) -> nn.Module:
    torch.manual_seed(0)
    network = settings.build_network(n_items).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("kind", [SASRec, HSTU])
def test_a_state_depends_on_earlier_items_only(kind: type) -> None:
    network = build(kind(embedding_dim=8, max_length=5))
    lengths = torch.tensor([4])
    before = network(torch.tensor([[1, 2, 3, 4]]), lengths)
    after = network(torch.tensor([[1, 2, 3, 6]]), lengths)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@pytest.mark.parametrize("kind", [SASRec, HSTU])
def test_the_latest_item_has_position_0_and_padding_has_no_effect(kind: type) -> None:
    network = build(kind(embedding_dim=8, max_length=5))
    alone = network(torch.tensor([[5, 2]]), torch.tensor([2]))
    padded = network(torch.tensor([[5, 2, -1, -1], [1, 2, 3, 4]]), torch.tensor([2, 4]))
    torch.testing.assert_close(alone[0], padded[0, :2])


def test_without_blocks_it_is_the_normalized_sum_of_item_and_position() -> None:
    network = build_plain()
    out = network(torch.tensor([[3, 1]]), torch.tensor([2]))
    expected = network.norm(network.items.weight[[3, 1]] + network.positions.weight[[1, 0]])
    torch.testing.assert_close(out[0], expected)


def build_plain() -> CausalBlocks:
    torch.manual_seed(1)
    return CausalBlocks(SASRec(embedding_dim=4, max_length=3), 5, 2, nn.Identity).eval()

"""Network of BERT4Rec: masking in training and at inference."""

import numpy as np
import torch

from contracts.sequential import states
from leanrec.models.sequential.bert4rec import BERT4Rec


def make_inputs(**settings: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    lengths = torch.arange(200) % 9 + 2
    items = torch.where(torch.arange(10) < lengths[:, None], torch.arange(10) + 5, -1)
    return items, *BERT4Rec(**settings).build_network(20).training_inputs(items, lengths, np.random.default_rng(4))


def test_targets_are_exactly_the_masked_items() -> None:
    items, inputs, lengths, targets = make_inputs(mask_prob=0.3)
    is_masked = targets >= 0
    assert (inputs[is_masked] == -2).all()
    torch.testing.assert_close(targets[is_masked], items[is_masked])
    torch.testing.assert_close(inputs[~is_masked], items[~is_masked])
    assert is_masked.any(1).all()
    assert (lengths == (items >= 0).sum(1)).all()
    assert 0.25 < is_masked.sum() / (items >= 0).sum() < 0.5


def test_last_item_prob_masks_only_the_last_item() -> None:
    items, _, lengths, targets = make_inputs(last_item_prob=1.0)
    assert ((targets >= 0).sum(1) == 1).all()
    rows = torch.arange(len(items))
    torch.testing.assert_close(targets[rows, lengths - 1], items[rows, lengths - 1])


def test_inference_appends_a_mask_token() -> None:
    items, lengths = (
        BERT4Rec().build_network(9).inference_inputs(torch.tensor([[4, 5, 6], [7, -1, -1]]), torch.tensor([3, 1]))
    )
    assert items.tolist() == [[4, 5, 6, -2], [7, -2, -1, -1]]
    assert lengths.tolist() == [4, 2]


def test_earlier_states_depend_on_later_items() -> None:
    network = BERT4Rec(embedding_dim=8, max_length=12).build_network(30).eval()
    for block in network.blocks:
        torch.nn.init.normal_(block.out.weight)
    one, two = (states(network, [np.array(row)])[0] for row in ([1, 2, 3, 4], [1, 2, 3, 9]))
    assert not np.allclose(one[0], two[0], atol=1e-4)

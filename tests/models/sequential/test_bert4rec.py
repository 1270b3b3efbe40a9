"""BERT4Rec: the contract, and what makes it a model of order."""

import numpy as np
import torch

from contracts.sequence import SequenceContract, states
from leanrec.models.sequential.bert4rec import BERT4Rec


class TestBERT4Rec(SequenceContract):
    estimator = BERT4Rec(width=16, length=12, epochs=12, batch=256, learning_rate=2e-2, dropout=0.1)
    learner = BERT4Rec(width=16, length=24, epochs=40, batch=512, learning_rate=1e-2, dropout=0.0, mask=0.3, latest=0.5)
    causal = False


def lesson(**settings: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    lengths = torch.arange(200) % 9 + 2
    items = torch.where(torch.arange(10) < lengths[:, None], torch.arange(10) + 5, -1)
    return items, *BERT4Rec(**settings).lesson(items, lengths, np.random.default_rng(4))


def test_what_is_to_be_told_is_hidden_and_nothing_else() -> None:
    items, seen, lengths, targets = lesson(mask=0.3)
    hidden = targets >= 0
    assert (seen[hidden] == -2).all()
    torch.testing.assert_close(targets[hidden], items[hidden])
    torch.testing.assert_close(seen[~hidden], items[~hidden])
    assert hidden.any(1).all()
    assert (lengths == (items >= 0).sum(1)).all()
    assert 0.25 < hidden.sum() / (items >= 0).sum() < 0.5


def test_the_latest_item_alone_is_hidden_where_asked_for() -> None:
    items, _, lengths, targets = lesson(latest=1.0)
    assert ((targets >= 0).sum(1) == 1).all()
    rows = torch.arange(len(items))
    torch.testing.assert_close(targets[rows, lengths - 1], items[rows, lengths - 1])


def test_it_answers_for_a_hidden_item_after_the_last() -> None:
    items, lengths = BERT4Rec().question(torch.tensor([[4, 5, 6], [7, -1, -1]]), torch.tensor([3, 1]))
    assert items.tolist() == [[4, 5, 6, -2], [7, -2, -1, -1]]
    assert lengths.tolist() == [4, 2]


def test_an_earlier_state_knows_later_items() -> None:
    network = BERT4Rec(width=8, length=12).network(30).eval()
    for block in network.blocks:
        torch.nn.init.normal_(block.out.weight)
    one, two = (states(network, [np.array(row)])[0] for row in ([1, 2, 3, 4], [1, 2, 3, 9]))
    assert not np.allclose(one[0], two[0], atol=1e-4)

"""Caser: the contract, and what makes it a model of order."""

import torch
from torch import nn

from contracts.sequence import SequenceContract
from leanrec.models.sequential.caser import Caser


class TestCaser(SequenceContract):
    estimator = Caser(width=16, length=12, epochs=12, batch=256, learning_rate=2e-2, dropout=0.1)
    learner = Caser(width=16, length=24, epochs=20, batch=256, learning_rate=1e-2, dropout=0.0)


def test_the_state_is_that_of_each_window_alone() -> None:
    """The paper's network, applied to the window that ends at each item, with zeros before the first."""
    torch.manual_seed(2)
    settings = Caser(width=6, window=4, horizontal=3, vertical=2)
    network = settings.network(9).eval()
    with torch.inference_mode():
        nn.init.normal_(network.out.weight)
        items = torch.tensor([[3, 1, 4, 1, 5, 8, 2]])
        states = network(items, torch.tensor([7]))[0]
        vectors = network.items.weight[items[0]]
        for t in range(7):
            window = torch.cat([torch.zeros(3, 6), vectors])[t : t + 4]
            across = []
            for filters in network.across:
                height = filters.weight.shape[2]
                cuts = torch.stack([window[i : i + height].T for i in range(5 - height)])
                matches = torch.einsum("cdh,fdh->cf", cuts, filters.weight) + filters.bias
                across.append(matches.relu().amax(0))
            down = (window.T @ network.down.weight.T).flatten()
            pattern = network.mix(torch.cat([*across, down])).relu()
            taste = vectors[: t + 1].mean(0)
            expected = network.norm(network.out(torch.cat([pattern, taste])))
            torch.testing.assert_close(states[t], expected, rtol=1e-4, atol=1e-5)

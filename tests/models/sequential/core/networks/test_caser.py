"""Network of Caser: states against the network of the paper."""

import torch
from torch import nn

from leanrec.models.sequential.caser import Caser


def test_state_depends_on_the_window_only() -> None:
    """The paper's network, applied to the window that ends at each item, with zeros before the first."""
    torch.manual_seed(2)
    settings = Caser(embedding_dim=6, window=4, n_horizontal=3, n_vertical=2)
    network = settings.build_network(9).eval()
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
            mean = vectors[: t + 1].mean(0)
            expected = network.norm(network.out(torch.cat([pattern, mean])))
            torch.testing.assert_close(states[t], expected, rtol=1e-4, atol=1e-5)

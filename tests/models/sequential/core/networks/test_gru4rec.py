"""Network of GRU4Rec: fresh, it gives the vector of the latest item."""

import torch

from leanrec.models.sequential.gru4rec import GRU4Rec


def test_a_fresh_state_is_the_normalized_vector_of_the_latest_item() -> None:
    network = GRU4Rec(embedding_dim=6, n_layers=2).build_network(9).eval()
    with torch.inference_mode():
        state = network(torch.tensor([[4, 2, 7]]), torch.tensor([3]))
        torch.testing.assert_close(state, network.norm(network.items.weight[[4, 2, 7]])[None])

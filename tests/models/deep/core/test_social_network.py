"""Influence over the links between users."""

import numpy as np
import scipy.sparse as sp
import torch

from leanrec.models.deep.core.history_training import HistoryQueries
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.models.deep.core.social_network import SocialNetwork, influence_matrices


def test_influence_equals_a_random_walk_over_the_links() -> None:
    trust = sp.csr_array(np.array([[0, 1, 3, 0], [1, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]], np.float32))
    first, second = influence_matrices(trust, 2)
    np.testing.assert_allclose(first.toarray(), [[0, 0.25, 0.75, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    # From 0 over 1 back to 0: users do not reach themselves.
    np.testing.assert_allclose(second.toarray(), [[0, 0, 0, 0.75], [0, 0, 0.75, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert influence_matrices(trust, 0) == []


def test_queries_are_the_own_vector_plus_those_of_the_friends() -> None:
    torch.manual_seed(0)
    histories = sp.csr_array(np.array([[1, 1, 0], [0, 0, 1]], np.float32))
    links = sp.csr_array(np.array([[0, 1], [0, 0]], np.float32))
    settings = HistorySettings(embedding_dim=4, n_layers=1, pooling_exponent=1.0)
    network = SocialNetwork(settings, histories, influence_matrices(links, 1), np.array([1, 1, 1])).eval()
    items = network.item_tables()
    queries = HistoryQueries(
        torch.tensor([0, 1]), torch.stack([items.inputs[0], items.inputs[2]]), torch.tensor([1, 1])
    )
    found = network.encode_queries(queries, items)
    torch.testing.assert_close(found[0], items.inputs[0] + items.inputs[2])
    torch.testing.assert_close(found[1], items.inputs[2])

"""Relational message passing against a loop over the links."""

import numpy as np
import torch

from leanrec.nn.relation_layers import RelationLayers

# Links of nodes 0, 1 and 2: (relation, node).
LINKS = [[(0, 1), (1, 2)], [(1, 0)], []]


def make_layers(n_layers: int) -> RelationLayers:
    indptr = np.cumsum([0, *map(len, LINKS)])
    relation, node = (np.array([link[i] for links in LINKS for link in links], np.int32) for i in (0, 1))
    return RelationLayers(indptr, relation, node, n_layers)


def test_states_are_means_over_the_links() -> None:
    torch.manual_seed(0)
    nodes, relations = torch.randn(3, 4), torch.randn(2, 4)
    first = torch.stack(
        [sum((relations[r] * nodes[w] for r, w in links), torch.zeros(4)) / max(1, len(links)) for links in LINKS]
    )
    total, previous = make_layers(1)(nodes, relations)
    torch.testing.assert_close(total, nodes + first)
    torch.testing.assert_close(previous, nodes)
    total, previous = make_layers(2)(nodes, relations)
    torch.testing.assert_close(previous, nodes + first)
    assert not torch.allclose(total, previous)


def test_without_links_nodes_are_returned() -> None:
    layers = RelationLayers(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32), 2)
    nodes = torch.randn(3, 4)
    total, previous = layers(nodes, torch.randn(2, 4))
    assert torch.equal(total, nodes)
    assert torch.equal(previous, nodes)

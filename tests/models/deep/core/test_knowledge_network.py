"""Vectors of items and entities over a knowledge graph."""

import numpy as np
import torch

from leanrec.data.dataset import Dataset
from leanrec.features.knowledge import build_knowledge_graph
from leanrec.models.deep.core.history_training import HistoryQueries
from leanrec.models.deep.core.knowledge_network import KnowledgeNetwork
from leanrec.models.deep.core.settings import HistorySettings


def make_network(dataset: Dataset, n_intents: int) -> KnowledgeNetwork:
    torch.manual_seed(0)
    counts = np.ones(len(dataset.items), np.int64)
    counts[3] = 0
    graph = build_knowledge_graph(dataset)
    return KnowledgeNetwork(HistorySettings(embedding_dim=6, n_layers=1), n_intents, graph, counts).eval()


def test_items_without_interactions_have_messages_and_the_shared_bias_only(dataset: Dataset) -> None:
    network = make_network(dataset, 2)
    arrays = network.export_arrays()
    n = len(dataset.items)
    assert arrays["items"].shape == (n, 7)
    assert arrays["intents"].shape == (2, 6)
    assert arrays["items"][3, -1] == arrays["unknown_bias"][0]
    # A message of an item is its own vector with one layer, and this item has none.
    assert not arrays["item_messages"][3].any()
    assert arrays["items"][3, :-1].any()


def test_without_intents_there_is_no_gate(dataset: Dataset) -> None:
    network = make_network(dataset, 0)
    items = network.item_tables()
    queries = HistoryQueries(torch.tensor([0]), items.inputs[[1]], torch.tensor([1]))
    torch.testing.assert_close(network.encode_queries(queries, items), items.inputs[[1]])
    assert not torch.allclose(make_network(dataset, 2).encode_queries(queries, items), items.inputs[[1]])

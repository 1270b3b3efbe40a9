"""Network of SASRec: as many blocks as layers, causal ones."""

from leanrec.models.sequential.sasrec import SASRec


def test_each_layer_is_a_causal_block_of_the_chosen_size() -> None:
    network = SASRec(embedding_dim=12, n_layers=3, n_heads=2, dropout=0.1).build_network(9)
    assert [(block.causal, block.n_heads, block.dropout) for block in network.blocks] == [(True, 2, 0.1)] * 3
    assert network.blocks[0].up.weight.shape == (48, 12)

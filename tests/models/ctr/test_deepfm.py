"""DeepFM: the contract, and its logits beside the formula of the paper."""

import numpy as np
import torch

from contracts.ctr import CTRContract
from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.models.ctr.deepfm import DeepFM
from leanrec.nn.fields import FieldBatch


class TestDeepFM(CTRContract):
    estimator = DeepFM(
        embedding_dim=8, hidden_sizes=(32,), epochs=8, batch_size=512, learning_rate=0.02, columns=("genres",)
    )


def test_logit_is_linear_part_plus_pairs_plus_mlp() -> None:
    network = (
        DeepFM(embedding_dim=3, hidden_sizes=(4,), batch_norm=False)
        .build_network((FieldSizes(sizes=(5, 7, 2)),), 1)
        .eval()
    )
    codes = torch.tensor([[1, 6, 0], [4, 2, 1]])
    rows = network.embed(0, FieldBatch(codes, (), torch.zeros(2, 0)))
    table = network.sides[0].codes.weight.detach().numpy()
    for row, logit in zip(
        np.add(codes.numpy(), [0, 5, 12]), network.predict_logits(rows).detach().numpy()[:, 0], strict=True
    ):
        v, w = table[row, :3], table[row, 3]
        pairs = sum(v[i] @ v[j] for i in range(3) for j in range(i))
        deep = network.deep(torch.from_numpy(v.reshape(1, -1))).item()
        np.testing.assert_allclose(logit, w.sum() + pairs + deep, rtol=1e-4)

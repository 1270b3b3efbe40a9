"""Blocks of HSTU: attention in blocks against a full matrix."""

import torch
from torch import nn
from torch.nn import functional as F

from leanrec.models.sequential.hstu import HSTU


def test_blocks_equal_the_full_attention_matrix() -> None:
    torch.manual_seed(3)
    block = HSTU(embedding_dim=8, n_heads=2, max_length=200).build_network(5).blocks[0]
    with torch.inference_mode():
        nn.init.normal_(block.distance)
        v, q, k = torch.randn(3, 2, 150, 8)
        found = block._attend(v, q, k)
        distance = torch.arange(150)[:, None] - torch.arange(150)
        whole = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            match = q[:, :, part] @ k[:, :, part].transpose(1, 2) + block.distance[head][distance.clamp(min=0)]
            whole.append((F.silu(match) * (distance >= 0) / 200) @ v[:, :, part])
        torch.testing.assert_close(found, torch.cat(whole, 2), rtol=1e-4, atol=1e-6)


def test_repeated_item_has_twice_the_weight() -> None:
    block = HSTU(embedding_dim=8, n_heads=1, max_length=20).build_network(5).blocks[0]
    with torch.inference_mode():
        one = torch.ones(1, 1, 8)
        twice = torch.ones(1, 2, 8)
        torch.testing.assert_close(block._attend(twice, twice, twice)[:, 1], 2 * block._attend(one, one, one)[:, 0])

"""A Transformer block in NumPy against the one that is trained."""

import itertools

import numpy as np
import pytest
import torch

from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.kernels.layers.transformer import apply_block, apply_block_to_last, block_shapes
from leanrec.nn.arrays import to_arrays
from leanrec.nn.transformer import TransformerBlock

BOUNDS = np.array([0, 1, 71, 75])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("n_heads", [1, 3])
def test_block_equals_the_trained_one(causal: bool, n_heads: int) -> None:
    torch.manual_seed(5)
    block = TransformerBlock(12, n_heads, 20, 0.3, causal=causal).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    arrays = {f"blocks.1.{name}": array for name, array in to_arrays(block).items()}
    assert {name: array.shape for name, array in arrays.items()} == block_shapes("blocks.1", 12, 20)
    x = np.random.default_rng(5).normal(size=(75, 12)).astype(np.float32)
    layers = NamedLayers(arrays).within("blocks.1")
    found = apply_block(layers, x, BOUNDS, n_heads, causal=causal)
    with torch.inference_mode():
        parts = [block(torch.from_numpy(x[start:stop][None]))[0] for start, stop in itertools.pairwise(BOUNDS)]
    np.testing.assert_allclose(found, np.concatenate(parts), rtol=1e-4, atol=1e-5)
    last = apply_block_to_last(layers, x, BOUNDS, n_heads)
    np.testing.assert_allclose(last, found[BOUNDS[1:] - 1], rtol=1e-4, atol=1e-5)

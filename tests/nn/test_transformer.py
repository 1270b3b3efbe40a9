"""Transformer blocks: identity at first, causal attention, and masked padding."""

import torch
from torch import nn

from leanrec.nn.transformer import TransformerBlock


def trained_block(*, causal: bool) -> TransformerBlock:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, 16, 0.0, causal=causal).eval()
    for last in (block.out, block.down):
        nn.init.normal_(last.weight)
    return block


def test_fresh_block_is_the_identity() -> None:
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(TransformerBlock(8, 2, 16, 0.5)(x), x)


def test_causal_block_ignores_later_positions() -> None:
    block, x = trained_block(causal=True), torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 4:] = 0
    torch.testing.assert_close(block(x)[:, :4], block(changed)[:, :4])
    assert not torch.allclose(block(x)[:, 4:], block(changed)[:, 4:])


def test_masked_positions_have_no_effect() -> None:
    block, x = trained_block(causal=False), torch.randn(1, 6, 8)
    mask = torch.arange(6)[None] < 4
    torch.testing.assert_close(block(x, mask)[:, :4], block(x[:, :4]))

"""Transformer block with pre-layer normalization.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017; the order of normalization: Xiong et al., "On Layer
Normalization in the Transformer Architecture", ICML 2020.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.nn.dropout import dropout

__all__ = ["TransformerBlock"]


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer MLP of ``hidden_dim`` units, each with pre-layer normalization and a residual.

    With ``causal`` a position attends to itself and earlier ones, so padding on the right has no effect; otherwise
    ``mask`` (B, L) marks the positions that are not padding.
    """

    def __init__(
        self, embedding_dim: int, n_heads: int, hidden_dim: int, dropout: float, *, causal: bool = True
    ) -> None:
        super().__init__()
        self.n_heads, self.dropout, self.causal = n_heads, dropout, causal
        self.norm1, self.norm2 = nn.LayerNorm(embedding_dim), nn.LayerNorm(embedding_dim)
        self.qkv = nn.Linear(embedding_dim, 3 * embedding_dim)
        self.out = nn.Linear(embedding_dim, embedding_dim)
        self.up, self.down = nn.Linear(embedding_dim, hidden_dim), nn.Linear(hidden_dim, embedding_dim)
        # A fresh block is the identity, so that informative initial item vectors reach the output.
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, L, D); O(B · L · D · (12 D + L)) for ``hidden_dim`` = 4 D."""
        x = x + self._drop(self.out(self._attend(self.norm1(x), mask)))
        return x + self._drop(self.down(self._drop(F.gelu(self.up(self.norm2(x))))))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        B, L, D = x.shape
        q, k, v = self.qkv(x).view(B, L, 3, self.n_heads, D // self.n_heads).permute(2, 0, 3, 1, 4)
        attendable = None if mask is None else mask[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attendable, is_causal=self.causal and mask is None)
        return out.transpose(1, 2).reshape(B, L, D)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)

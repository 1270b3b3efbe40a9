"""Self-attention over histories."""

from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.nn.dropout import dropout

__all__ = ["TransformerBlock"]


class TransformerBlock(nn.Module):
    """Attention and a two-layer network, each normalised before and added to what came in.

    ``hidden`` is the width of the two-layer network. With ``causal`` a place sees itself and those before, so padding
    at the right changes nothing; without, ``mask`` (B, L) says which places are there.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        # A fresh block hands on what comes in: what the item vectors know at the start is not drowned in noise.
        for last in (self.out, self.down):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x = x + self._drop(self.out(self._attend(self.norm1(x), mask)))
        return x + self._drop(self.down(self._drop(F.gelu(self.up(self.norm2(x))))))

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        B, L, D = x.shape
        q, k, v = self.qkv(x).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=self.causal and mask is None)
        return out.transpose(1, 2).reshape(B, L, D)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)

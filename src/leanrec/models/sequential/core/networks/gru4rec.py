"""Network of GRU4Rec: stacked gated recurrent units beside the vector of the latest item."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from leanrec.models.sequential.core.networks.base import SequentialNetwork
from leanrec.nn.dropout import dropout

if TYPE_CHECKING:
    from leanrec.models.sequential.gru4rec import GRU4Rec

__all__ = ["GRU4RecNetwork"]


class GRU4RecNetwork(SequentialNetwork):
    """Gated recurrent units whose output is added to the vector of the latest item."""

    def __init__(self, settings: "GRU4Rec", n_items: int) -> None:
        super().__init__()
        width = settings.embedding_dim
        self.dropout = settings.dropout
        self.items = nn.Embedding(n_items, width)
        nn.init.normal_(self.items.weight, std=width**-0.5)
        self.units = nn.ModuleList([nn.GRU(width, width, batch_first=True) for _ in range(settings.n_layers)])
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        # The initial state is the vector of the latest item, which may be informative from the start; the GRUs add to it.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002 - causal, so padding on the right has no effect
        """(B, L) to (B, L, D)."""
        latest = dropout(self.items(items.clamp(min=0)), self.dropout, self.training)
        x = latest
        for unit in self.units:
            x = dropout(unit(x)[0], self.dropout, self.training)
        out: Tensor = self.norm(latest + self.out(x))
        return out

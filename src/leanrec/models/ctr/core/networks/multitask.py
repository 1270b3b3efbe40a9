"""Network of the multi-task model: shared experts, gates and towers."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.nn.fields import MLP, FieldNetwork, FieldVectors, pairwise_products

if TYPE_CHECKING:
    from leanrec.models.ctr.multitask import MultiTask

__all__ = ["MultiTaskNetwork"]


class MultiTaskNetwork(FieldNetwork):
    """Experts that each task mixes by its own gate, and a tower for each task."""

    def __init__(self, settings: "MultiTask", sides: tuple[FieldSizes, ...], n_tasks: int) -> None:
        # The linear weights of each task are the last cells of every vector.
        self.n_linear = n_tasks if settings.pairwise_terms else 0
        super().__init__(sides, settings.embedding_dim + self.n_linear)
        width = self.n_fields * settings.embedding_dim + self.n_numbers
        is_mixture = settings.sharing == "experts"
        self.experts = nn.ModuleList(
            MLP(width, settings.hidden_sizes, dropout=settings.dropout, batch_norm=settings.batch_norm)
            for _ in range(settings.n_experts if is_mixture else 1)
        )
        self.gates = nn.ModuleList(nn.Linear(width, settings.n_experts) for _ in range(n_tasks if is_mixture else 0))
        self.towers = nn.ModuleList(MLP(settings.hidden_sizes[-1], (settings.tower_size,), 1) for _ in range(n_tasks))
        self.pairs = nn.Linear(settings.embedding_dim, n_tasks, bias=False) if settings.pairwise_terms else None
        if self.pairs is not None:
            nn.init.ones_(self.pairs.weight)

    def predict_logits(self, rows: FieldVectors) -> Tensor:
        """(R, T) logits."""
        vectors = rows.vectors[..., : rows.vectors.shape[-1] - self.n_linear]
        x = torch.cat([vectors.flatten(1), rows.numbers], 1)
        shared = torch.stack([expert(x) for expert in self.experts], 1)
        mixed = [torch.einsum("re,rew->rw", gate(x).softmax(1), shared) for gate in self.gates]
        inputs = mixed or [shared[:, 0]] * len(self.towers)
        logits = torch.cat([tower(each) for tower, each in zip(self.towers, inputs, strict=True)], 1)
        if self.pairs is not None:
            logits = logits + self.pairs(pairwise_products(vectors)) + rows.vectors[..., -self.n_linear :].sum(1)
        return logits

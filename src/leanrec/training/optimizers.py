"""Steps: AdamW for dense weights, and an Adam by rows for embedding tables whose gradients are sparse."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from leanrec.training.config import Training

__all__ = ["RowAdam", "Steps", "make_optimiser"]


class RowAdam(torch.optim.Optimizer):
    """Adam with one second moment for each row, for sparse gradients: rows without a gradient cost nothing.

    The second moment of a row is the mean square of its gradient, as in row-wise Adagrad (Mudigere et al.,
    "Software-Hardware Co-design for Fast and Scalable Training of Deep Learning Recommendation Models", ISCA 2022),
    with decay instead of a sum. A table (N, D) carries N D + 2 N numbers of state, all in float32.
    """

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step over the rows that have a gradient."""
        if closure is not None:
            raise ValueError("RowAdam.step must be called without a closure.")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._rows(table, table.grad, group)

    def _rows(self, table: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        grad = grad.coalesce() if grad.is_sparse else grad.to_sparse(1)
        rows, values = grad.indices()[0], grad.values()
        some = values.any(1)  # nothing is learnt from zeros, whichever way they came
        rows, values = rows[some], values[some]
        state = self.state[table]
        if not state:
            state["first"] = torch.zeros_like(table)
            state["second"] = table.new_zeros(len(table))
            state["count"] = table.new_zeros(len(table))
        beta1, beta2 = group["betas"]
        state["count"][rows] += 1
        count = state["count"][rows, None]
        first = state["first"][rows].lerp_(values, 1 - beta1)
        second = state["second"][rows].lerp_(values.square().mean(1), 1 - beta2)
        state["first"][rows], state["second"][rows] = first, second
        scale = (second[:, None] / (1 - beta2**count)).sqrt_().add_(group["eps"])
        step = first / (1 - beta1**count) / scale
        if group["weight_decay"]:
            step += group["weight_decay"] * table[rows]
        table.index_add_(0, rows, step, alpha=-group["lr"])


class Steps:
    """Several optimisers that step as one."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One step of each."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients of each."""
        for part in self.parts:
            part.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """The states, in order."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """The reverse of ``state_dict``."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def make_optimiser(network: nn.Module, settings: Training) -> Steps:
    """AdamW for the weights of ``network``, RowAdam for the tables of its ``nn.Embedding(sparse=True)``.

    Biases, norms and other vectors do not decay. Every group keeps its highest learning rate under "base".
    """
    tables = {m.weight for m in network.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse}
    dense = [p for p in network.parameters() if p.requires_grad and p not in tables]
    groups = [
        {"params": [p for p in dense if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in dense if p.ndim <= 1], "weight_decay": 0.0},
    ]
    parts: list[torch.optim.Optimizer] = []
    if dense:
        parts.append(torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, fused=True))
    if tables:
        ordered = [p for p in network.parameters() if p in tables]
        rows = RowAdam([{"params": ordered, "weight_decay": settings.weight_decay}], lr=settings.learning_rate)
        parts.append(rows)
    steps = Steps(parts)
    for group in steps.param_groups:
        group["base"] = group["lr"]
    return steps

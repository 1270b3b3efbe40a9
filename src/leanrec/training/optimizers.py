"""Optimizers: AdamW for dense weights, row-wise Adam for embedding tables with sparse gradients."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from leanrec.training.config import TrainingSettings

__all__ = ["OptimizerGroup", "RowAdam", "make_optimizer", "sparse_tables"]


class RowAdam(torch.optim.Optimizer):
    """Adam with one second moment per row, for sparse gradients: rows without a gradient cost nothing.

    The second moment of a row is the mean square of its gradient, as in row-wise Adagrad (Mudigere et al.,
    "Software-Hardware Co-design for Fast and Scalable Training of Deep Learning Recommendation Models", ISCA 2022),
    with decay instead of a sum. A table (N, D) has N D + 2 N floats of state, all float32.
    """

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        if closure is not None:
            raise ValueError("RowAdam.step must be called without a closure.")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update_rows(table, table.grad, group)

    def _update_rows(self, table: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        grad = grad.coalesce() if grad.is_sparse else grad.to_sparse(1)
        rows, values = grad.indices()[0], grad.values()
        nonzero = values.any(1)  # rows of zeros take no step, whether the gradient is dense or sparse
        rows, values = rows[nonzero], values[nonzero]
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


class OptimizerGroup:
    """Several optimizers that step together.

    Attributes:
        parts: the optimizers, each with its own parameters.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One step of each optimizer."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Reset the gradients of each optimizer."""
        for part in self.parts:
            part.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of each optimizer, in order."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """The reverse of ``state_dict``."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def sparse_tables(network: nn.Module) -> set[Tensor]:
    """The weights of embedding tables with sparse gradients."""
    return {m.weight for m in network.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse}


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> OptimizerGroup:
    """AdamW for the dense weights of ``network``, RowAdam for its ``nn.Embedding(sparse=True)`` tables.

    Biases, norms and other vectors have no weight decay. Every parameter group keeps its peak learning rate as "base".
    """
    tables = sparse_tables(network)
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
    optimizer = OptimizerGroup(parts)
    for group in optimizer.param_groups:
        group["base"] = group["lr"]
    return optimizer

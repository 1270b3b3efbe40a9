"""Optimizer steps against slow references."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leanrec.training.config import TrainingSettings
from leanrec.training.optimizers import RowAdam, make_optimizer


def slow_rows(table: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float = 0.0) -> np.ndarray:
    """Row-wise Adam in NumPy: rows without a gradient keep their weights and state."""
    table = table.copy()
    first, second, count = np.zeros_like(table), np.zeros(len(table)), np.zeros(len(table))
    for gradient in gradients:
        for row in np.flatnonzero(gradient.any(1)):
            count[row] += 1
            first[row] = 0.9 * first[row] + 0.1 * gradient[row]
            second[row] = 0.999 * second[row] + 0.001 * (gradient[row] ** 2).mean()
            step = (first[row] / (1 - 0.9 ** count[row])) / (np.sqrt(second[row] / (1 - 0.999 ** count[row])) + 1e-8)
            table[row] -= rate * (step + decay * table[row])
    return table


def some_gradients(rows: int, width: int, steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.where(rng.random((rows, 1)) < 0.4, rng.normal(size=(rows, width)), 0) for _ in range(steps)]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_by_rows(sparse: bool, decay: float) -> None:
    start = np.random.default_rng(1).normal(size=(7, 3))
    gradients = some_gradients(7, 3, 12)
    table = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = RowAdam([{"params": [table], "weight_decay": decay}], lr=0.05)
    for gradient in gradients:
        grad = torch.from_numpy(gradient)
        table.grad = grad.to_sparse(1) if sparse else grad
        optimizer.step()
    np.testing.assert_allclose(table.detach(), slow_rows(start, gradients, 0.05, decay), rtol=1e-9)


def test_row_adam_with_one_column_equals_adam() -> None:
    torch.manual_seed(0)
    table, reference = (nn.Parameter(torch.linspace(-1, 1, 5)[:, None].clone()) for _ in range(2))
    by_rows, plain = RowAdam([table], lr=0.02), torch.optim.Adam([reference], lr=0.02)
    for _ in range(20):
        table.grad = torch.randn(5, 1)
        reference.grad = table.grad.clone()
        by_rows.step()
        plain.step()
    torch.testing.assert_close(table, reference)


def test_duplicate_gradient_rows_are_summed() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    nn.init.ones_(table.weight)
    optimizer = RowAdam([table.weight], lr=0.1)
    (table(torch.tensor([1, 1, 3])) * torch.tensor([[1.0, 2], [3, 4], [5, 6]])).sum().backward()
    optimizer.step()
    expected = slow_rows(np.ones((4, 2)), [np.array([[0, 0], [4, 6], [0, 0], [5.0, 6]])], 0.1)
    np.testing.assert_allclose(table.weight.detach(), expected, rtol=1e-6)


def test_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="closure"):
        RowAdam([nn.Parameter(torch.ones(2, 2))], lr=0.1).step(lambda: 0.0)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4, sparse=True)
        self.layer = nn.Linear(4, 1)
        self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.layer(self.table(rows)).sum()
        return out


def test_every_weight_has_one_optimizer_and_vectors_do_not_decay() -> None:
    net = _Net()
    steps = make_optimizer(net, TrainingSettings(learning_rate=0.1, weight_decay=0.5))
    kinds = {
        id(p): (type(part), group["weight_decay"])
        for part in steps.parts
        for group in part.param_groups
        for p in group["params"]
    }
    assert kinds == {
        id(net.layer.weight): (torch.optim.AdamW, 0.5),
        id(net.layer.bias): (torch.optim.AdamW, 0.0),
        id(net.table.weight): (RowAdam, 0.5),
    }
    assert {group["base"] for group in steps.param_groups} == {0.1}


def test_restored_state_continues_identically() -> None:
    def steps(net: _Net, optimizer: object, rows: list[list[int]]) -> None:
        for each in rows:
            net(torch.tensor(each)).backward()
            optimizer.step()  # type: ignore[attr-defined]
            optimizer.zero_grad()  # type: ignore[attr-defined]

    torch.manual_seed(0)
    settings = TrainingSettings(learning_rate=0.1)
    first, second = _Net(), _Net()
    one, two = make_optimizer(first, settings), make_optimizer(second, settings)
    steps(first, one, [[0, 1], [1, 2]])
    second.load_state_dict(first.state_dict())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for net, optimizer in ((first, one), (second, two)):
        steps(net, optimizer, [[2, 5], [0, 1]])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))

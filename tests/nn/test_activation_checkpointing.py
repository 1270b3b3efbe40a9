"""Activation checkpointing saves memory and changes nothing else."""

import pytest
import torch
from torch import Tensor, nn

from leanrec.errors import SettingError
from leanrec.nn.activation_checkpointing import checkpoint_blocks
from leanrec.nn.transformer import TransformerBlock


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(8, 2, 16, 0.3) for _ in range(3))
        self.passes = 0
        for block in self.blocks:
            block.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.passes += 1

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def gradients(net: _Net) -> list[Tensor]:
    torch.manual_seed(3)
    x = torch.randn(4, 6, 8, requires_grad=True)
    net(x).square().sum().backward()
    return [x.grad, *(p.grad for p in net.parameters())]


def nets() -> tuple[_Net, _Net]:
    torch.manual_seed(0)
    plain = _Net()
    for p in plain.parameters():
        nn.init.normal_(p, std=0.3)
    again = _Net()
    again.load_state_dict(plain.state_dict())
    return plain, again


def test_gradients_are_the_same_with_dropout_too() -> None:
    plain, again = nets()
    checkpoint_blocks(again)
    assert list(again.state_dict()) == list(plain.state_dict())
    for mine, slow in zip(gradients(again), gradients(plain), strict=True):
        assert torch.equal(mine, slow)


def test_fewer_activations_are_kept_for_the_backward_pass() -> None:
    kept = []
    for net, forget in zip(nets(), (False, True), strict=True):
        if forget:
            checkpoint_blocks(net)
        total = 0

        def keep(value: Tensor) -> Tensor:
            nonlocal total
            total += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            net(torch.randn(4, 6, 8, requires_grad=True))
        kept.append(total)
    assert kept[1] < kept[0] / 3


def test_outputs_are_the_same() -> None:
    plain, again = nets()
    checkpoint_blocks(again)
    x = torch.randn(2, 5, 8)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), again.eval()(x))


def test_network_without_blocks_is_refused() -> None:
    with pytest.raises(SettingError, match="activation_checkpointing must be False"):
        checkpoint_blocks(nn.Linear(2, 2))

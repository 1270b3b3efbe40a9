"""LRURec: the contract, and what makes it a model of order."""

import torch

from contracts.sequence import SequenceContract
from leanrec.models.sequential.lrurec import LRURec


class TestLRURec(SequenceContract):
    estimator = LRURec(width=16, length=12, epochs=12, batch=256, learning_rate=2e-2, dropout=0.1)
    learner = LRURec(width=16, length=24, epochs=20, batch=256, learning_rate=1e-2, dropout=0.0)


def test_the_states_carry_on_item_by_item() -> None:
    """The recurrent form that a stream would use gives what the parallel one gives."""
    torch.manual_seed(1)
    unit = LRURec(width=6).network(5).blocks[0].unit
    with torch.inference_mode():
        torch.nn.init.normal_(unit.write.weight)
        x = torch.randn(2, 11, 6)
        decay = torch.polar((-unit.nu.exp()).exp(), unit.theta.exp())
        state = torch.zeros(2, 12, dtype=torch.complex64)
        parallel = unit(x)
        for t in range(11):
            state = decay * state + torch.view_as_complex(unit.read(x[:, t]).unflatten(1, (-1, 2))) * unit.gamma.exp()
            torch.testing.assert_close(parallel[:, t], unit.write(torch.view_as_real(state).flatten(1)))


def test_every_state_fades() -> None:
    unit = LRURec(width=64).network(5).blocks[0].unit
    sizes = (-unit.nu.detach().exp()).exp()
    assert float(sizes.min()) >= 0.8 - 1e-4
    assert float(sizes.max()) < 1

"""Network of LRURec: parallel against recurrent computation."""

import torch

from leanrec.models.sequential.lrurec import LRURec


def test_parallel_states_equal_item_by_item_updates() -> None:
    """The recurrent form, for streams, equals the parallel one."""
    torch.manual_seed(1)
    unit = LRURec(embedding_dim=6).build_network(5).blocks[0].unit
    with torch.inference_mode():
        torch.nn.init.normal_(unit.write.weight)
        x = torch.randn(2, 11, 6)
        decay = torch.polar((-unit.nu.exp()).exp(), unit.theta.exp())
        state = torch.zeros(2, 12, dtype=torch.complex64)
        parallel = unit(x)
        for t in range(11):
            state = decay * state + torch.view_as_complex(unit.read(x[:, t]).unflatten(1, (-1, 2))) * unit.gamma.exp()
            torch.testing.assert_close(parallel[:, t], unit.write(torch.view_as_real(state).flatten(1)))


def test_every_eigenvalue_is_inside_the_unit_circle() -> None:
    unit = LRURec(embedding_dim=64).build_network(5).blocks[0].unit
    sizes = (-unit.nu.detach().exp()).exp()
    assert float(sizes.min()) >= 0.8 - 1e-4
    assert float(sizes.max()) < 1

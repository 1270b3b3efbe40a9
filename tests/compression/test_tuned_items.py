"""Trainable item tables: they begin and end as the codes say, and gradients reach what is trained."""

import numpy as np
import pytest
import torch

from leanrec.compression import ProductCodec, ScalarCodec
from leanrec.compression.tuned_items import ProductItems, ScalarItems, make_items
from leanrec.types import Float32Array


@pytest.fixture
def vectors() -> Float32Array:
    rows = np.random.default_rng(3).standard_normal((300, 20), np.float32) * np.linspace(2, 0.2, 20, dtype=np.float32)
    rows[7] = 0
    return rows


@pytest.mark.parametrize(
    "codec", [ProductCodec(6), ProductCodec(20), ScalarCodec(4), ScalarCodec(3, balanced=True), ScalarCodec(1)], ids=str
)
def test_vectors_are_those_of_the_codes_before_and_after(
    codec: ProductCodec | ScalarCodec, vectors: Float32Array
) -> None:
    codes = codec.encode(vectors, seed=1)
    items = make_items(codes, vectors)
    expected, rows = codes.decode(), torch.tensor([[3, 7], [299, 3]])
    np.testing.assert_allclose(items.weight.detach().numpy(), expected, rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(items(rows).detach().numpy(), expected[rows.numpy()], rtol=1e-4, atol=2e-3)
    again = items.take_codes()
    np.testing.assert_allclose(again.decode(), expected, rtol=1e-3, atol=0.02)
    assert again.nbytes == codes.nbytes


def test_codebooks_are_trained_and_codes_stay(vectors: Float32Array) -> None:
    codes = ProductCodec(6).encode(vectors)
    items = ProductItems(codes)
    assert [name for name, _ in items.named_parameters()] == ["books"]
    wanted = torch.from_numpy(vectors * np.linspace(1.5, 0.5, 20, dtype=np.float32))  # what the codebooks have to learn
    before = float((items.weight.detach() - wanted).square().mean())
    optimizer = torch.optim.Adam(items.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        (items.weight - wanted).square().mean().backward()
        optimizer.step()
    tuned = items.take_codes()
    assert np.square(tuned.decode() - wanted.numpy()).mean() < 0.8 * before
    np.testing.assert_array_equal(tuned.packed, codes.packed)
    np.testing.assert_array_equal(tuned.levels, codes.levels)


def test_gradients_pass_the_rounding_as_if_there_were_none(vectors: Float32Array) -> None:
    items = ScalarItems(ScalarCodec(3, rotated=False).encode(vectors), vectors)
    slopes = torch.randn(items.weight.shape, generator=torch.Generator().manual_seed(2))
    (items.weight * slopes).sum().backward()
    inside = (items.numbers.detach() / items.steps).abs() <= 4
    expected = slopes @ items.basis.T * inside
    assert items.numbers.grad is not None
    torch.testing.assert_close(items.numbers.grad, expected, rtol=1e-4, atol=1e-6)

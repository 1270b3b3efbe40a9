"""Layers found by name: against NumPy, and their shapes."""

import numpy as np

from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes

RNG = np.random.default_rng(6)


def make(shapes: dict[str, tuple[int, ...]]) -> NamedLayers:
    return NamedLayers({name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


def test_layers_are_found_below_a_name() -> None:
    layers = make(linear_shapes("blocks.0.up", 3, 5) | norm_shapes("blocks.0.norm", 3))
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    block = layers.within("blocks.0")
    weight, bias = layers["blocks.0.up.weight"], layers["blocks.0.up.bias"]
    assert block["up.weight"] is weight
    linear = x @ weight.T + bias
    np.testing.assert_allclose(block.apply_linear("up", x), linear, rtol=1e-5)
    gelu = 0.5 * linear * (1 + np.tanh((2 / np.pi) ** 0.5 * (linear + 0.044715 * linear**3)))
    np.testing.assert_allclose(block.apply_linear_gelu("up", x), gelu, atol=2e-3)
    centered = x - x.mean(axis=1, keepdims=True)
    normed = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
    expected = normed * block["norm.weight"] + block["norm.bias"]
    np.testing.assert_allclose(block.apply_norm("norm", x), expected, rtol=1e-4, atol=1e-5)


def test_a_linear_layer_may_have_no_bias() -> None:
    shapes = linear_shapes("down", 3, 2, bias=False)
    assert shapes == {"down.weight": (2, 3)}
    x = np.eye(3, dtype=np.float32)
    layers = make(shapes)
    np.testing.assert_allclose(layers.apply_linear("down", x), layers["down.weight"].T)


def test_what_is_derived_is_computed_once_below_each_name() -> None:
    layers = make(linear_shapes("a.up", 3, 5) | linear_shapes("b.up", 3, 5))
    one, other = layers.within("a"), layers.within("b")
    np.testing.assert_array_equal(one.transpose("up.weight"), layers["a.up.weight"].T)
    assert one.transpose("up.weight") is layers.within("a").transpose("up.weight")
    np.testing.assert_array_equal(other.transpose("up.weight"), layers["b.up.weight"].T)

"""Graphs in the ONNX format, written operator by operator from NumPy arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["OPSET", "GraphBuilder", "Operand"]

# The first set of operators with Gelu. ONNX Runtime reads it since 1.17, of February 2024.
OPSET = 20
_IR_VERSION = 9

# The name of a value in the graph, or numbers to be stored in it.
Operand = str | NDArray[Any] | np.generic

_KINDS = {
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.bool_): TensorProto.BOOL,
}


class GraphBuilder:
    """Collects the operators and arrays of one graph; values are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._stored: dict[str, NDArray[Any]] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def store(self, name: str, array: NDArray[Any]) -> str:
        """The value of an array, which is stored once under its name, however often it is used."""
        self._stored.setdefault(name, array)
        return name

    def apply(self, operator: str, *operands: Operand, **attributes: Any) -> str:
        """The first output of an operator; see https://onnx.ai/onnx/operators."""
        return self.apply_all(operator, 1, *operands, **attributes)[0]

    def apply_all(self, operator: str, n_outputs: int, *operands: Operand, **attributes: Any) -> list[str]:
        """All outputs of an operator. An operand "" is left out."""
        inputs = [each if isinstance(each, str) else self._add_constant(np.asarray(each)) for each in operands]
        outputs = [f"{operator}_{len(self._nodes)}_{i}" for i in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0][:-2], **attributes))
        return outputs

    def cast(self, value: Operand, dtype: type[np.generic]) -> str:
        """The value as int64, int32, float32 or bool."""
        return self.apply("Cast", value, to=_KINDS[np.dtype(dtype)])

    def slice(self, value: str, start: int, stop: Operand | int, axis: int) -> str:
        """The part of a value from ``start`` to ``stop`` of one axis; ``stop`` may be a value of shape (1,)."""
        end = np.array([stop]) if isinstance(stop, int) else stop
        return self.apply("Slice", value, np.array([start]), end, np.array([axis]))

    def reshape(self, value: str, *shape: int) -> str:
        """The value in another shape: 0 keeps a size, −1 is what remains."""
        return self.apply("Reshape", value, np.array(shape))

    def transpose(self, value: str, *axes: int) -> str:
        """The value with its axes in another order."""
        return self.apply("Transpose", value, perm=axes)

    def size(self, value: str, axis: int) -> str:
        """(1,) the size of an axis."""
        return self.apply("Shape", value, start=axis, end=axis + 1)

    def count_up(self, size: str) -> str:
        """(n,) the numbers 0 to n − 1, for a value (1,) of n."""
        n = self.apply("Squeeze", size, np.array([0]))
        return self.apply("Range", np.int64(0), n, np.int64(1))

    def score_items(self, queries: str, table: str) -> str:
        """(B, N) products of query vectors (B, D) and item vectors (N, D).

        With Gemm, which needs no transposed table, a quantized file would have the table twice.
        """
        return self.apply("MatMul", queries, self.transpose(table, 1, 0))

    def name_output(self, value: str, name: str) -> None:
        """Give a value the name of an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"name_{name}"))

    def build(
        self,
        inputs: Mapping[str, tuple[type[np.generic], Sequence[int | str]]],
        outputs: Mapping[str, tuple[type[np.generic], Sequence[int | str]]],
        *,
        name: str,
        about: str,
        facts: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The checked model.

        Args:
            inputs: name → type and shape; a size with a name may vary.
            outputs: likewise.
            name: of the graph.
            about: what the model is, for its reader.
            facts: metadata.
        """
        graph = helper.make_graph(
            self._nodes,
            name,
            [_describe(each, *of) for each, of in inputs.items()],
            [_describe(each, *of) for each, of in outputs.items()],
            [numpy_helper.from_array(np.asarray(array, order="C"), each) for each, array in self._stored.items()],
            doc_string=about,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="leanrec"
        )
        helper.set_model_props(model, dict(facts))
        onnx.checker.check_model(model, full_check=True)
        return model

    @property
    def stored_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._stored.values())

    def _add_constant(self, array: NDArray[Any]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.store(f"constant_{len(self._constants)}", array)
        return self._constants[key]


def _describe(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, _KINDS[np.dtype(dtype)], shape)

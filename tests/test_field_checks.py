"""What a class declares of its fields is checked: types, shapes, ranges of codes, sizes of inner objects."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.field_checks import (
    ArrayShape,
    CodeRange,
    SharedSizes,
    check_array_shapes,
    check_bounds,
    check_codes,
    check_fields,
    find_sizes,
    fits_type,
)
from leanrec.types import CSR, Float32Array, Int32Array


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    edges: Annotated[CSR, ArrayShape("M", "M")]


@dataclasses.dataclass(frozen=True, eq=False)
class PairModel:
    users: Annotated[Float32Array, ArrayShape("U", "D")]
    items: Annotated[Float32Array, ArrayShape("2 N", "D + 1")]
    pairs: Annotated[Int32Array, ArrayShape("P"), CodeRange("N", lowest=-1)]
    graphs: Annotated[tuple[Graph, ...], SharedSizes(N="M")] = ()
    bias: Annotated[Float32Array | None, ArrayShape("1")] = None

    def check_state(self) -> None:
        if len(self.users) == 13:
            raise DataError("13 users")


def make_pairs(**changes: Any) -> PairModel:
    graph = Graph(sp.csr_array(np.eye(3, dtype=np.float32)))
    plain = PairModel(
        np.zeros((4, 2), np.float32), np.zeros((6, 3), np.float32), np.array([-1, 0, 2], np.int32), (graph, graph)
    )
    return dataclasses.replace(plain, **changes)


def test_a_letter_is_one_size() -> None:
    check_fields(make_pairs())
    check_fields(make_pairs(bias=np.ones(1, np.float32)))
    assert find_sizes(make_pairs()) == {"U": 4, "D": 2, "N": 3, "P": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": np.zeros(4, np.float32)}, r"PairModel.users must have the shape \(U, D\). Got \(4,\)"),
        ({"users": np.zeros((4, 5), np.float32)}, r"items must have the shape \(2 N, D \+ 1\) with U = 4, D = 5"),
        ({"items": np.zeros((7, 3), np.float32)}, r"items must have the shape .* Got \(7, 3\)"),
        ({"items": np.zeros((8, 3), np.float32)}, "graphs must have N = 4 as its size M. Got 3"),
        ({"pairs": np.array([3], np.int32)}, "pairs must hold codes from -1 to 2. Got 3 to 3"),
        ({"pairs": np.array([-2], np.int32)}, "Got -2 to -2"),
        ({"pairs": np.array([1.0])}, "pairs must be of the type .*int32.*Got an array of float64"),
        ({"graphs": ("a",)}, "graphs must be of the type"),
        ({"bias": np.zeros(2, np.float32)}, r"bias must have the shape \(1\)"),
        ({"users": np.zeros((13, 2), np.float32)}, "13 users"),
    ],
)
def test_what_differs_is_named(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_fields(make_pairs(**changes))


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (1, float, True),
        (True, float, False),
        (float("nan"), float, False),
        (1.0, int, False),
        (None, int | None, True),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ((1, 2, 3), tuple[int, ...], True),
        ((1, 2, 3), tuple[int, int], False),
        ((1, "x"), tuple[int, str], True),
        ({"a": 1.5}, Mapping[str, float], True),
        ({"a": "x"}, Mapping[str, float], False),
        (np.zeros(2), Float32Array, True),  # the kind of number, not its width
        (np.zeros(2, np.int64), Float32Array, False),
        (np.array(["a"]), NDArray[Any], True),
        ([1.0], Float32Array, False),
        (sp.csr_array((2, 2)), CSR, True),
        (np.zeros((2, 2)), CSR, False),
        (np.zeros(2), Float32Array | CSR, True),
        (object(), Any, True),
    ],
)
def test_a_value_fits_its_annotation(value: object, hint: Any, fits: bool) -> None:
    assert fits_type(value, hint) is fits


def test_bounds_rise_to_the_number_of_entries() -> None:
    check_bounds("b", np.array([0, 2, 2, 5]), 5)
    for wrong in ([0, 2, 1, 5], [1, 5], [0, 4], [], [0, 7, 5]):
        with pytest.raises(DataError, match="b must rise from 0 to 5"):
            check_bounds("b", np.array(wrong, np.int64), 5)


def test_codes_are_whole_numbers() -> None:
    check_codes("c", np.zeros(0, np.int32), 0)
    with pytest.raises(DataError, match="must hold whole numbers"):
        check_codes("c", np.zeros(2), 5)


def test_arrays_by_name_have_their_shapes() -> None:
    arrays = {"a": np.zeros((2, 3)), "b": np.zeros(())}
    check_array_shapes("The weights", arrays, {"a": (2, 3), "b": ()})
    with pytest.raises(DataError, match=r"The weights must have the array 'a' of the shape \(3, 2\). Got \(2, 3\)"):
        check_array_shapes("The weights", arrays, {"a": (3, 2)})
    with pytest.raises(DataError, match="'c' of the shape .* Got none"):
        check_array_shapes("The weights", arrays, {"c": ()})

"""Routines of BLAS and LAPACK that let other threads work meanwhile.

SciPy's functions hold the lock of the interpreter until they end, so that a factorization of 10,000 items in one thread stops
all others for seconds. The same routines called as C functions release it. Matrices are column-major, as LAPACK has them.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg.cython_blas
import scipy.linalg.cython_lapack
from numpy.typing import NDArray

__all__ = ["call_blas", "call_lapack"]

_Argument = bytes | int | np.float32 | np.float64 | NDArray[np.float32] | NDArray[np.float64]


def call_lapack(name: str, *arguments: _Argument) -> int:
    """Call a routine of LAPACK, and return its ``info``, which is the last argument and 0 for success.

    Args:
        name: name of the routine, such as "spotrf".
        arguments: all but ``info``: bytes for a character, whole numbers, scalars of the type of the routine, and arrays, of
            which the routine gets the address.
    """
    info = ctypes.c_int(0)
    _load_routine(name)(*map(_convert, arguments), ctypes.byref(info))
    return info.value


def call_blas(name: str, *arguments: _Argument) -> None:
    """Call a routine of BLAS, with arguments as ``call_lapack`` takes them."""
    _load_routine(name)(*map(_convert, arguments))


def _convert(argument: _Argument) -> object:
    """The address of an argument, as Fortran takes it."""
    if isinstance(argument, bytes):
        return argument
    if isinstance(argument, np.ndarray):
        return argument.ctypes.data
    kinds = {np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    return ctypes.byref(kinds.get(type(argument), ctypes.c_int)(argument))  # type: ignore[arg-type]


@functools.cache
def _load_routine(name: str) -> Callable[..., None]:
    """SciPy's routine as a C function. All its arguments are pointers."""
    routines: dict[str, Any] = {**scipy.linalg.cython_blas.__pyx_capi__, **scipy.linalg.cython_lapack.__pyx_capi__}
    capsule = routines[name]
    signature = ctypes.pythonapi.PyCapsule_GetName
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    declared = signature(capsule)
    n_arguments = declared.count(b",") + 1
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)(address(capsule, declared))

"""Elementwise kernels: one launch on a GPU instead of one per operation of an array expression.

A kernel is C++ text for cupy.ElementwiseKernel, next to equivalent array code for any library. That array code is the
reference: it runs if the arrays are not CuPy's, and the tests compare each kernel with it, compiled by an ordinary C++
compiler if there is no GPU. Launches do not synchronise with the device.

References
----------
J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from numrnn.backend import Array, array_namespace
from numrnn.checks import dtype_name

REAL = ("float32", "float64")

PHILOX = """
    // Philox-4x32-10 of the counter (place, 0) under a key, of which two of the four words are used.
    __device__ void numrnn_philox(unsigned long long place, unsigned long long key, unsigned* first, unsigned* second) {
        unsigned c0 = (unsigned)place, c1 = (unsigned)(place >> 32), c2 = 0, c3 = 0;
        unsigned k0 = (unsigned)key, k1 = (unsigned)(key >> 32);
        for (int round = 0; round < 10; ++round) {
            const unsigned long long a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
            c0 = (unsigned)(b >> 32) ^ c1 ^ k0;
            c2 = (unsigned)(a >> 32) ^ c3 ^ k1;
            c1 = (unsigned)b;
            c3 = (unsigned)a;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        *first = c0;
        *second = c1;
    }
"""


def has_kernel(*arrays: Array) -> bool:
    """Tell whether kernels support these arrays: CuPy arrays of float32 or float64."""
    return array_namespace(*arrays).__name__ == "cupy" and all(dtype_name(array) in REAL for array in arrays)


@dataclass(frozen=True)
class Kernel:
    """An elementwise kernel; the fields are the arguments of cupy.ElementwiseKernel.

    Attributes
    ----------
    name : str
        Name shown in profilers.
    inputs, outputs : str
        Parameters, such as "T p, raw float64 rate": the code indexes `raw` ones itself, the others broadcast.
    operation : str
        Code for element number `i`.
    preamble : str
        Functions that the operation calls.
    """

    name: str
    inputs: str
    outputs: str
    operation: str
    preamble: str = ""

    def __call__(self, *arguments: Any, like: Array) -> Any:
        """Launch on the device of `like`; without output arguments, return new arrays."""
        with like.device:
            return _elementwise(self, array_namespace(like))(*arguments)


@dataclass(frozen=True)
class Reduction:
    """A sum over all elements; the fields are arguments of cupy.ReductionKernel.

    Attributes
    ----------
    name, inputs, outputs : str
        As for `Kernel`.
    term : str
        Code of one term of the sum.
    """

    name: str
    inputs: str
    outputs: str
    term: str

    def __call__(self, *arguments: Any, like: Array) -> Any:
        """Launch on the device of `like`; return the sum, of shape ()."""
        with like.device:
            return _reduction(self, array_namespace(like))(*arguments)


@functools.cache
def _elementwise(kernel: Kernel, cupy: Any) -> Any:
    return cupy.ElementwiseKernel(
        kernel.inputs, kernel.outputs, kernel.operation, f"numrnn_{kernel.name}", preamble=kernel.preamble
    )


@functools.cache
def _reduction(kernel: Reduction, cupy: Any) -> Any:
    output = kernel.outputs.split()[-1]
    return cupy.ReductionKernel(
        kernel.inputs, kernel.outputs, kernel.term, "a + b", f"{output} = a", "0", f"numrnn_{kernel.name}"
    )

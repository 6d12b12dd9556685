"""The products of a step, by a kernel of our own: product.cu, its tiles and how CuPy launches it.

CuPy refuses cuBLAS while a stream is captured. The kernel is used without a capture too, so that a captured loop has
the bits of one that is run step by step.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.backend import Array
from numrnn.checks import dtype_name
from numrnn.engines.cuda.kernels import OPTIONS, SCALARS

THREADS, SIDE = 256, 4  # as in product.cu
MOST_PARTS = SIDE  # a thread has at least one of its four columns of each part


@dataclass(frozen=True)
class Tile:
    """What a block computes: `rows` by `columns` elements, `depth` terms of their sums at a time."""

    rows: int
    columns: int
    depth: int

    def blocks(self, rows: int, columns: int, parts: int = 1) -> int:
        """Return the number of blocks for a result of this shape, or so many, of which each block has the same part."""
        return -(-rows // self.rows) * -(-columns // (self.columns // SIDE * (SIDE // parts)))

    def name(self, dtype: str) -> str:
        """Return the C++ name of the instantiation."""
        return f"product<{SCALARS[dtype]}, {self.rows}, {self.columns}, {self.depth}>"


# From the most uses of a number in shared memory, 64 of each element, to the most blocks. Each has 256 threads with 16
# sums: a tile with a quarter of the elements divides the sums over k into four times as many slices. The depth gives a
# thread 4 to 8 elements of B to load at once. The last one is for few rows, where reading B decides: 16 columns are two
# sectors of 32 bytes in float32.
TILES = (Tile(64, 64, 16), Tile(32, 32, 32), Tile(16, 16, 64), Tile(4, 16, 128))


def choose_tile(rows: int, columns: int, processors: int) -> Tile:
    """Return the largest tile that has work for the device, or else the smallest.

    A tile with more than twice the rows of the result would compute mostly nothing. Work for the device is a block for
    every third processor: with smaller tiles more processors would each do less, and read more in all. The third is a
    guess that awaits a card.
    """
    fit = [tile for tile in TILES if tile.rows <= 2 * rows or tile is TILES[-1]]
    return next((tile for tile in fit if 3 * tile.blocks(rows, columns) >= processors), fit[-1])


Choice = Callable[[int, int, int], Tile]  # as `choose_tile`


@functools.cache
def product_source(*, device: bool = True) -> str:
    """Return the text of the kernel; without `device`, device.cuh is left out: the tests replace it."""
    folder = pathlib.Path(__file__).parent
    files = [folder.parent / "device.cuh", folder / "product.cu"]
    return "\n".join(file.read_text(encoding="utf-8") for file in (files if device else files[1:]))


def shared_bytes(itemsize: int) -> int:
    """Return the shared memory of a block: that of all partial sums."""
    return THREADS * SIDE * SIDE * itemsize


def product_arguments(a: Array, b: Array, out: Array) -> tuple[Any, ...]:
    """Return the arguments of the kernel for out = a b."""
    (rows, inner), columns = a.shape, b.shape[1]
    return np.int32(rows), np.int32(columns), np.int32(inner), *with_strides([a, b, out])


def with_strides(arrays: list[Array]) -> list[Any]:
    """Return matrices, each with its two strides in elements, as arguments of a kernel."""
    values: list[Any] = []
    for array in arrays:
        values += [array, *(np.int64(stride // array.itemsize) for stride in array.strides)]
    return values


class CupyProducts:
    """Launches the kernel on the current stream; CuPy compiles it at first use and caches it on disk."""

    def __init__(self, cupy: Any, choose: Choice = choose_tile) -> None:
        self._cupy, self._choose = cupy, choose

    def tile(self, rows: int, columns: int, device: Any) -> Tile:
        """Return the tile for a product of this shape."""
        return self._choose(rows, columns, _processors(self._cupy, device))

    def __call__(self, a: Array, b: Array, out: Array) -> None:
        """Fill out with a b."""
        rows, columns = out.shape
        tile = self.tile(rows, columns, out.device)
        function = _compiled(self._cupy, tile.name(dtype_name(out)))
        arguments = product_arguments(a, b, out)
        function((tile.blocks(rows, columns),), (THREADS,), arguments, shared_mem=shared_bytes(out.itemsize))


def _processors(cupy: Any, device: Any) -> int:
    return _processors_of(cupy, device.id)


@functools.cache
def _processors_of(cupy: Any, index: int) -> int:
    return cupy.cuda.runtime.getDeviceProperties(index)["multiProcessorCount"]


@functools.cache
def _compiled(cupy: Any, name: str) -> Any:
    module = cupy.RawModule(code=product_source(), options=OPTIONS, name_expressions=[name])
    return module.get_function(name)

"""The matrix products of a slice, in the blocks in which the BLAS is fastest.

A BLAS copies ("packs") both factors of a product before it multiplies them, so that its inner loops read them in order.
OpenBLAS's kernels for AVX-512 leave this out up to a certain size: their factors must be in the cache, and for the
small matrices of a recurrent network they are. `python -m benchmarks.parts` measures what the products take.
"""

from __future__ import annotations

import math

import numpy as np

from numrnn.blas import unpacked_kernels

ALIGNMENT = 64  # bytes: a cache line, and a register of AVX-512
UNPACKED_SIZE = 10**6  # OpenBLAS's AVX-512 kernels do not pack products of up to this many multiplications
UNPACKED_ROWS = 4  # with fewer rows they are slower than the kernels that pack
TILES = ((32, 32), (32, 16))  # rows and columns of a tile of delta^T h, the faster first
TILED_SIZE = 64  # smaller matrices and shorter sums gain nothing from tiles


def rows_per_product(rows: int, n: int) -> int:
    """Return how many rows of a slice to multiply by an (n, n) matrix at once: a divisor of `rows`, or all of them.

    Packing takes a sixth of the time of the products of one step.
    """
    if not unpacked_kernels():
        return rows
    most = min(rows, UNPACKED_SIZE // n**2)
    return next((r for r in range(most, UNPACKED_ROWS - 1, -1) if rows % r == 0), rows)


def multiply_transposed(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` (n, m) with left^T right, the sum over the rows of (rows, n) and (rows, m).

    In tiles of `out` that the BLAS multiplies without packing, where it has such kernels and they are faster. Every
    element is the sum over all rows either way, in an order that depends on the sizes only.
    """
    (rows, n), m = left.shape, right.shape[1]
    fitting = ((i, j) for i, j in TILES if n % i == 0 and m % j == 0 and rows * i * j <= UNPACKED_SIZE)
    tile = next(fitting, None) if min(n, m, rows) >= TILED_SIZE and unpacked_kernels() else None
    if tile is None:
        np.dot(left.T, right, out=out)
        return
    height, width = tile
    of_left = left.T.reshape(n // height, 1, height, rows)
    of_right = right.reshape(rows, m // width, width).swapaxes(0, 1)
    np.matmul(of_left, of_right, out=out.reshape(n // height, height, m // width, width).swapaxes(1, 2))


def aligned(matrices: np.ndarray) -> np.ndarray:
    """Return a copy of (n, n) or (k, n, n) matrices, each aligned to the start of a cache line.

    The kernels that do not pack load whole registers from the matrix. On Intel processors they take 1.5 times as long
    if each such load crosses a cache-line boundary; NumPy aligns to 16 bytes only.
    """
    *outer, n, m = matrices.shape
    size = -(-n * m * matrices.itemsize // ALIGNMENT) * ALIGNMENT  # bytes per matrix
    memory = np.empty(math.prod(outer) * size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    rows = (
        memory[start : start + math.prod(outer) * size].view(matrices.dtype).reshape(*outer, size // matrices.itemsize)
    )
    copy = rows[..., : n * m].reshape(*outer, n, m)
    copy[...] = matrices
    return copy

"""The product kernel of traced cells: its numbers on the CPU stand-in, and its compilation."""

import ctypes
import functools

import numpy as np
import nvrtc
import pytest
from standin import FAILURES, Guarded, compiled, missing
from test_cuda_compile import NEEDS_NVRTC, assert_all_in_registers

from numrnn.engines.cuda.kernels import OPTIONS, SCALARS
from numrnn.engines.cuda.trace.product import (
    SIDE,
    THREADS,
    TILES,
    Tile,
    choose_tile,
    product_arguments,
    product_source,
    shared_bytes,
)

NAMES = tuple(tile.name(dtype) for dtype in SCALARS for tile in TILES)
TEXT = product_source(device=False)
NEEDS_COMPILER = pytest.mark.skipif(missing() is not None, reason=str(missing()))


def run_tiles(entry, blocks, arguments, written, seed=1):
    """Run a kernel of product.cu on the stand-in: on copies of the whole arrays, with guard bytes beside them."""
    arrays = [value for value in arguments if isinstance(value, np.ndarray)]
    wholes = {id(array): array if array.base is None else array.base for array in (*arrays, written)}
    guarded = {id(whole): Guarded(whole, None) for whole in wholes.values()}
    held = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            whole = wholes[id(value)]
            offset = value.ctypes.data - whole.ctypes.data
            held.append(ctypes.c_void_p(guarded[id(whole)].address.value + offset))
        else:
            held.append(np.ctypeslib.as_ctypes_type(value.dtype)(value.item()))
    addresses = (ctypes.c_void_p * len(held))(*[ctypes.addressof(value) for value in held])
    size = ctypes.c_size_t(shared_bytes(written.itemsize))
    failure = entry(blocks, THREADS, 1, size, seed, addresses)
    assert not failure, FAILURES[failure]
    for number, one in enumerate(guarded.values()):
        assert not one.overrun(), f"it writes beside array {number}"
        assert one.array is wholes[id(written)] or not one.changed(), f"it writes into array {number}"
    guarded[id(wholes[id(written)])].give_back()


def multiply(a, b, out, tile, text=TEXT, names=NAMES, prefix="", seed=1):
    """Fill out with a b by the kernel on the stand-in."""
    entry = compiled(names, text)[prefix + tile.name(out.dtype.name)]
    run_tiles(entry, tile.blocks(*out.shape), product_arguments(a, b, out), out, seed)


def strided(rng, rows, columns, dtype, way):
    """Return a matrix of a larger array, whose other elements are NaN: plain, transposed, or some of its columns."""
    whole = np.full((columns, rows) if way == "transposed" else (rows, columns + 5), np.nan, dtype)
    view = whole.T if way == "transposed" else whole[:, 2 : 2 + columns]
    view = whole[:, 2::1][:, :columns] if way == "plain" else view
    view[...] = rng.standard_normal((rows, columns))
    return view


def assert_multiplies(rng, rows, inner, columns, dtype, tile, ways, **options):
    """Assert that the kernel gives the product to the rounding of its sums, and leaves all other numbers."""
    a, b = strided(rng, rows, inner, dtype, ways[0]), strided(rng, inner, columns, dtype, ways[1])
    out = strided(rng, rows, columns, dtype, ways[2])
    out[...] = np.nan
    multiply(a, b, out, tile, **options)
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    slices = THREADS * SIDE * SIDE // (tile.rows * tile.columns)
    terms = -(-inner // slices) + slices  # what one sum adds up, in a slice and over the slices
    bound = terms * np.finfo(dtype).eps * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64))
    worst = np.max(np.abs(out - wanted) / np.maximum(bound, np.finfo(dtype).tiny))
    assert worst <= 1, f"{rows} x {inner} x {columns}, {tile}, {ways}: {worst:.3g} of the rounding allowed"
    assert np.isnan(out.base).sum() == out.base.size - out.size, "it writes beside the columns of C"


@NEEDS_COMPILER
@pytest.mark.parametrize("dtype", SCALARS)
def test_it_multiplies_matrices_of_any_size_and_strides(dtype, rng):
    ways = ("plain", "transposed", "columns")
    for tile in TILES:
        sides = [1, tile.rows, tile.rows + 1, 2 * tile.rows - 1]
        for _ in range(6):
            rows, columns = rng.choice(sides), rng.choice([1, tile.columns, tile.columns + 1, 2 * tile.columns + 3])
            inner = rng.choice([1, 3, tile.depth - 1, tile.depth, tile.depth + 1, 2 * tile.depth + 5])
            assert_multiplies(rng, int(rows), int(inner), int(columns), np.dtype(dtype), tile, rng.choice(ways, 3))


@NEEDS_COMPILER
def test_a_sum_is_a_product_with_a_one_of_strides_zero(rng):
    a = rng.standard_normal((5, 300))
    one = np.ones((1, 1))
    for left, right, wanted in (
        (a, np.broadcast_to(one, (300, 1)), a.sum(1, keepdims=True)),
        (np.broadcast_to(one, (1, 5)), a, a.sum(0, keepdims=True)),
    ):
        out = np.full(wanted.shape, np.nan)
        multiply(left, right, out, choose_tile(*out.shape, 132))
        assert np.max(np.abs(out - wanted)) <= 300 * np.finfo(float).eps * np.max(np.abs(a).sum(1))


@NEEDS_COMPILER
def test_two_runs_give_the_same_bits_in_any_order_of_threads(rng):
    a, b = rng.standard_normal((7, 200)).astype(np.float32), rng.standard_normal((200, 33)).astype(np.float32)
    for tile in TILES:
        results = []
        for seed in (1, 2):
            out = np.empty((7, 33), np.float32)
            multiply(a, b, out, tile, seed=seed)
            results.append(out)
        assert np.array_equal(*results)


@NEEDS_COMPILER
def test_rows_beyond_the_matrix_make_no_nan_of_an_infinite_one(rng):
    a, b = rng.standard_normal((3, 5)), rng.standard_normal((5, 2))
    a[1, 4], out = np.inf, np.empty((3, 2))
    multiply(a, b, out, TILES[2])
    assert np.array_equal(np.isfinite(out), [[True] * 2, [False] * 2, [True] * 2])
    assert not np.isnan(out).any()


STORE = "b_part[p].store(b_tile + p * UNITS);"
SLIPS = {
    "no barrier before the tile is filled again": (
        "        __syncthreads();  // all have read",
        "        // all have read",
    ),
    "no barrier before the tile is read": (f"{STORE}\n        __syncthreads();", STORE),
    "no barrier before the slices are added": ("    __syncthreads();\n    for (int e", "    for (int e"),
    "A's strides change places": ("{a, a_row, a_inner}", "{a, a_inner, a_row}"),
    "B's strides change places": ("{b, b_column, b_inner}", "{b, b_inner, b_column}"),
    "C's strides change places": ("c[i * c_row + j * c_column]", "c[i * c_column + j * c_row]"),
    "k beyond the end": ("k < depth - k0 && ", ""),
    "rows beyond the end": ("if (i >= rows || j >= units) continue;", "if (j >= units) continue;"),
    "columns beyond the end": ("if (i >= rows || j >= units) continue;", "if (i >= rows) continue;"),
    "the first slice is left out": ("total[p] = partial[0];", "total[p] = 0;"),
    "the next tile is the same one": ("load(k + DEPTH);", "load(k);"),
    "the last tile is left out": ("if (k + DEPTH < inner)", "if (k + 2 * DEPTH < inner)"),
    "tiles side by side": ("blockIdx.x % tiles * UNITS", "blockIdx.x % tiles * ROWS"),
}


SLIP_TILE = Tile(16, 32, 32)  # with other rows than columns, and eight slices
SLIP_SIZE = 2 * SLIP_TILE.depth + 5  # of all sides: wrong strides, and a row too many, stay within the guard bytes


@functools.cache
def text_of_all_slips():
    """Return the kernel without a slip and with each, in a namespace of its own: one run of the compiler."""
    texts = [TEXT, *(TEXT.replace(*slip) for slip in SLIPS.values())]
    return "\n".join(f"namespace slip{i} {{\n{text}\n}}" for i, text in enumerate(texts))


def multiply_with_slip(number):
    names = tuple(f"slip{i}::{SLIP_TILE.name('float32')}" for i in range(len(SLIPS) + 1))
    case = (*[SLIP_SIZE] * 3, np.dtype("float32"), SLIP_TILE, ("plain", "transposed", "columns"))
    prefix = f"slip{number}::"
    assert_multiplies(np.random.default_rng(1), *case, text=text_of_all_slips(), names=names, prefix=prefix)


@NEEDS_COMPILER
def test_the_kernel_as_it_is_passes_where_the_slips_fail():
    multiply_with_slip(0)


@NEEDS_COMPILER
@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_the_kernel_is_found(name):
    old, _ = SLIPS[name]
    assert TEXT.count(old) == 1, f"{old!r} stands {TEXT.count(old)} times"
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        multiply_with_slip(1 + list(SLIPS).index(name))


def test_the_tile_has_work_for_the_device():
    """Few rows have the tile for few rows; a large product the largest; no tile is mostly outside the result."""
    for rows, columns, wanted in ((1, 2048, 3), (128, 128, 2), (512, 128, 1), (512, 2048, 0), (8, 2048, 2), (1, 1, 3)):
        assert choose_tile(rows, columns, 132) == TILES[wanted], (rows, columns)


@NEEDS_NVRTC
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_nvrtc_compiles_it_without_spills(arch):
    _, log = nvrtc.compile_kernels(product_source(), NAMES, arch, (*OPTIONS, "--ptxas-options=-v"))
    assert_all_in_registers(log, len(NAMES), THREADS, f"{arch}, product")

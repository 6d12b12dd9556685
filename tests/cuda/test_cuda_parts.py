"""Parts of a product tile and what reads them, as text of product.cu and of kernels.py: numbers, slips, compilation."""

import functools

import numpy as np
import nvrtc
import pytest
from standin import compiled
from test_cuda_compile import NEEDS_NVRTC, assert_all_in_registers
from test_cuda_product import NEEDS_COMPILER, TEXT, run_tiles, strided
from test_cuda_trace import CELLS, Noted, draw, traced

from numrnn.engines.cuda.kernels import OPTIONS
from numrnn.engines.cuda.trace.epilogue import Epilogue, Part
from numrnn.engines.cuda.trace.graph import Graph
from numrnn.engines.cuda.trace.kernels import arguments, epilogue_source
from numrnn.engines.cuda.trace.plan import Group
from numrnn.engines.cuda.trace.product import SIDE, THREADS, TILES, Tile, product_source, with_strides

FORMS = ((1, 1), (1, 2), (1, 3), (1, 4), (2, 2))  # left operands and parts
OF_TILES = ((TILES[0], "float32"), (TILES[1], "float64"), (TILES[2], "float64"), (TILES[3], "float32"))
SLIP_TILE = Tile(16, 32, 32)  # with other rows than columns, and eight slices


def sums(lefts, parts, dtype, tile):
    """Return the kernel, with its name and text, that fills output p with sum p and a row x for all rows."""
    graph, shape = Graph(), (6, 5)
    of = [graph.leaf(f"A{p % lefts}", (6, 4)) for p in range(parts)]
    made = [graph.node("matmul", (left, graph.leaf(f"B{p}", (4, 5))), None, shape) for p, left in enumerate(of)]
    x = graph.leaf("x", shape)
    outputs = tuple((graph.elementwise("add", node, x), node, 0) for node in made)
    group = Group(shape, (*made, x), outputs)
    epilogue = Epilogue(group, tuple(Part(node, node, 0) for node in made))
    return epilogue_source(epilogue, (False,), dtype, tile)


@functools.cache
def all_sums():
    """Return the entries of these kernels, in all forms and tiles, and of one form with each slip."""
    made = {(form, tile): sums(*form, dtype, tile) for tile, dtype in OF_TILES for form in FORMS}
    name, text = sums(2, 2, "float32", SLIP_TILE)
    slips = [TEXT + text, *((TEXT + text).replace(*slip) for slip in SLIPS.values())]
    texts = [f"namespace slip{i} {{\n{one.replace(name, f'slip{i}_sums')}\n}}" for i, one in enumerate(slips)]
    names = [*(name for name, _ in made.values()), *(f"slip{i}::slip{i}_sums" for i in range(len(slips)))]
    entries = compiled(tuple(names), "\n".join([TEXT, *(text for _, text in made.values()), *texts]))
    return {key: entries[name] for key, (name, _) in made.items()}, list(entries.values())[len(made) :]


def assert_sums(entry, rng, rows, inner, units, form, dtype, tile, seed=1):
    """Assert that a kernel gives the sums to their rounding, and writes nothing else."""
    (lefts, parts), ways = form, ("plain", "transposed", "columns")
    a = [strided(rng, rows, inner, dtype, rng.choice(ways)) for _ in range(lefts)]
    b = [strided(rng, inner, units, dtype, rng.choice(ways)) for _ in range(parts)]
    x, out = rng.standard_normal((1, units)).astype(dtype), np.full((rows, parts * (units + 2)), np.nan, dtype)
    outputs = [out[:, p * (units + 2) : p * (units + 2) + units] for p in range(parts)]
    values = [np.int32(rows), np.int32(units), np.int32(inner), *with_strides([*a, *b]), *arguments([x], outputs)]
    run_tiles(entry, tile.blocks(rows, units, parts), values, out, seed)
    slices = THREADS * SIDE * SIDE // (tile.rows * tile.columns)
    for p, got in enumerate(outputs):
        left, right = a[p % lefts].astype(float), b[p].astype(float)
        bound = (-(-inner // slices) + slices + 1) * np.finfo(dtype).eps * (np.abs(left) @ np.abs(right) + np.abs(x))
        assert np.all(np.abs(got - left @ right - x) <= bound), (
            f"part {p} of {form}, {rows} x {inner} x {units}, {tile}"
        )
    assert np.isnan(out).sum() == rows * parts * 2, "it writes beside the columns of a part"


@NEEDS_COMPILER
@pytest.mark.parametrize("form", FORMS)
def test_it_gives_the_sums_of_every_part_for_any_size_and_strides(form, rng):
    for tile, dtype in OF_TILES:
        units = tile.columns // SIDE * (SIDE // form[1])
        for _ in range(2):
            rows, inner = rng.choice([1, tile.rows, tile.rows + 1]), rng.choice([1, tile.depth, tile.depth + 3])
            size = int(rows), int(inner), int(rng.choice([1, units, 2 * units + 1]))
            assert_sums(all_sums()[0][form, tile], rng, *size, form, np.dtype(dtype), tile)


SLIPS = {
    "the columns of all parts have one place": ("store(b_tile + p * UNITS)", "store(b_tile)"),
    "all columns are multiplied by the rows of the first": ("j / OWN * DEPTH * (ROWS + 1)", "0"),
    "the rows of all have one place": ("store(a_tile + p * DEPTH * (ROWS + 1))", "store(a_tile)"),
    "the columns take the place of rows": ("shared + LEFTS * DEPTH", "shared + DEPTH"),
    "the first left operand is loaded for all": ("a_part[p].load(a[p]", "a_part[p].load(a[0]"),
    "the first right operand is loaded for all": ("b_part[p].load(b[p]", "b_part[p].load(b[0]"),
    "tiles as far from each other as they have columns": ("% tiles * UNITS", "% tiles * COLUMNS"),
    "as many tiles as if all columns were of one part": (
        "(units + UNITS - 1) / UNITS",
        "(units + COLUMNS - 1) / COLUMNS",
    ),
    "all sums are the first": ("COLUMNS + p * UNITS + e % UNITS", "COLUMNS + e % UNITS"),
    "rows as long as a part": ("shared + e / UNITS * COLUMNS", "shared + e / UNITS * UNITS"),
    "elements of the columns of the tile": ("e < ROWS * UNITS", "e < ROWS"),
    "units beyond the end": ("if (i >= rows || j >= units) continue;", "if (i >= rows) continue;"),
    "a slice is lost": ("s < SLICES;", "s < SLICES - 1;"),
    "half of the columns have no sums": (
        "j < OWN * PARTS; ++j) {\n                    const",
        "j < OWN; ++j) {\n                    const",
    ),
    "operands change places": ("{b1, b1_column, b1_inner}", "{b0, b0_column, b0_inner}"),
    "strides change places": ("{b1, b1_column, b1_inner}", "{b1, b1_inner, b1_column}"),
    "no barrier before the epilogue": ("    __syncthreads();\n    for (int e", "    for (int e"),
}


def run_slip(number):
    size = 2 * SLIP_TILE.depth + 5
    entry = all_sums()[1][number]
    assert_sums(entry, np.random.default_rng(1), size, size, size, (2, 2), np.dtype("float32"), SLIP_TILE)


@NEEDS_COMPILER
def test_the_kernel_as_it_is_passes_where_the_slips_fail():
    run_slip(0)


@NEEDS_COMPILER
@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_the_kernel_is_found(name):
    old, _ = SLIPS[name]
    text = TEXT + sums(2, 2, "float32", SLIP_TILE)[1]
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        run_slip(1 + list(SLIPS).index(name))


@NEEDS_NVRTC
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_nvrtc_compiles_them_without_spills(arch):
    """The most sums and the most operands: the four gates of an LSTM, and two products with two left operands."""
    texts, rng = {}, np.random.default_rng(1)
    for cell in (CELLS["lstm"], CELLS["lipschitz, euler"]):
        for tile, dtype in ((TILES[0], "float32"), (TILES[1], "float64")):
            found = Noted(tile=tile)
            traced(cell, *draw(cell, rng, 2, 1, np.dtype(dtype)), lengths=[2], executor=found)
            own = [pair for pair in found.texts.items() if "_products_" in pair[0]]
            texts |= dict(
                own[:2]
            )  # forward, and between two steps backward: there it computes more than after the last
    assert len(texts) == 2 * 2 * 2
    options = (*OPTIONS, "--ptxas-options=-v")
    _, log = nvrtc.compile_kernels("\n".join([product_source(), *texts.values()]), [], arch, options)
    assert_all_in_registers(log, len(texts), THREADS, f"{arch}, products and groups")

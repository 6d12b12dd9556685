"""What the compiler makes of the kernels, and tables of it: the instructions of a step.

    python tests/cuda/instructions.py            print the tables
    python tests/cuda/instructions.py --write    put them into docs/cuda_engine.md, whose numbers the tests hold the
                                                 kernels to

The first table has every instantiation of euler.cu, the second some of lean.cu and lstm.cu: those that take the most
registers, each generation of GPUs that has instructions of its own, and a step of sequential MNIST with and without
V x + b in the kernels.

Run it from the root of the repository. It needs the wheels nvidia-cuda-nvrtc and nvidia-cuda-nvdisasm, of the extra
dev.
"""

from __future__ import annotations

import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import disassembly
import nvrtc

from numrnn.engines.cuda.kernels import ELMAN, GATED, KERNELS, OPTIONS, TILES, UNGATED, family_of, source, tiles_for
from numrnn.engines.cuda.lean import LeanLayout
from numrnn.engines.cuda.lstm import LSTM_TILES, ROWS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cuda_engine.md"
BEGIN, END = "<!-- instructions: begin -->", "<!-- instructions: end -->"
BEGIN_OTHERS, END_OTHERS = "<!-- instructions of the others: begin -->", "<!-- instructions of the others: end -->"
ARCHITECTURES = {"sm_80": 80, "sm_90": 90}
# One for each architecture and each tile that it can run.
CASES = [(arch, tile) for arch, capability in ARCHITECTURES.items() for tile in tiles_for(capability)]
# What the tests compile: all of it takes minutes. The small tiles of 8.0 have the same text as those of 9.0, and of the
# rows of a tile the most take the most registers.
ALL = os.environ.get("NUMRNN_CUDA_ALL") == "1"
TESTED = [
    (arch, tile if ALL else replace(tile, rows=tuple(dict.fromkeys((tile.rows[0], tile.rows[-1])))))
    for arch, tile in CASES
    if ALL or arch == "sm_90" or tile.units >= 128
]
COLUMNS = (
    "GPU",
    "dtype",
    "n up to",
    "rows",
    "forward",
    "backward",
    "gated forward",
    "gated backward",
    "fence in a step",
)
GATES = (1, 2)
CELLS = {ELMAN: "Elman", UNGATED: "ungated", GATED: "gated", None: "LSTM"}  # by `variant` of the kernels of lean.cu
OTHER_COLUMNS = ("GPU", "cell", "dtype", "n up to", "blocks", "rows", "V x + b", "dL/dA", "forward", "backward")


def lean(units, dtype="float32", cluster=1, variant=GATED, inputs=0, rows=LeanLayout.most_rows):
    tile = next(one for one in TILES if (one.units, one.dtype, one.cluster) == (units, dtype, cluster))
    return tile.with_rows(min(tile.rows[-1], rows), LeanLayout, inputs), variant


def lstm(units, dtype="float32", cluster=None, rows=ROWS[-1]):
    tiles = [one for one in LSTM_TILES if (one.units, one.dtype) == (units, dtype) and rows in one.rows]
    return next(one for one in tiles if cluster in (None, one.cluster)).with_rows(rows), None


# An architecture, a layout, and the variant of the kernels of lean.cu.
OTHERS = [
    ("sm_75", *lean(128, inputs=4)),
    ("sm_75", *lean(64, inputs=4)),
    ("sm_75", *lean(64, "float64", inputs=1)),
    ("sm_75", *lean(128, "float64")),
    ("sm_75", *lstm(64)),
    ("sm_80", *lean(128, inputs=4, rows=2)),
    ("sm_80", *lean(256)),
    ("sm_80", *lstm(64, "float64")),
    ("sm_80", *lstm(128, cluster=1)),
    ("sm_86", *lstm(128, cluster=1, rows=1)),
    ("sm_90", *lean(128, variant=UNGATED, inputs=1, rows=1)),
    ("sm_90", *lean(128, variant=UNGATED, rows=1)),
    ("sm_90", *lean(128, inputs=4, rows=2)),
    ("sm_90", *lean(128, variant=ELMAN)),
    ("sm_90", *lean(32, "float64", inputs=4, rows=2)),
    ("sm_90", *lean(256, cluster=2, inputs=4)),
    ("sm_90", *lean(256, "float64", cluster=4, inputs=4)),
    ("sm_90", *lean(512, cluster=8, inputs=4)),
    ("sm_90", *lstm(128)),
    ("sm_90", *lstm(128, "float64")),
    ("sm_100", *lstm(128)),
    ("sm_120", *lean(256, cluster=2, inputs=4)),
    ("sm_120", *lstm(128)),
]


def label(arch, tile):
    return f"{arch}-{tile.dtype}-{tile.units}"


@functools.cache
def programs(arch, tile):
    """Return the compiled kernels of a tile, those of the forward and those of the backward pass: one thread each."""
    options = (*OPTIONS, "--ptxas-options=-v")

    def compiled(kernel):
        kernels = [tile.with_rows(rows).name(kernel, gates) for rows in tile.rows for gates in GATES]
        return nvrtc.compile_program(source(), kernels, arch, options)

    with ThreadPoolExecutor(len(KERNELS)) as pool:
        return tuple(pool.map(compiled, KERNELS))


@functools.cache
def loops(arch, tile):
    """Return the loop over time of every kernel of a tile, by (kernel, gates, rows)."""
    found = {}
    for kernel, program in zip(KERNELS, programs(arch, tile), strict=True):
        by_name = disassembly.loops(program.cubin)
        for rows in tile.rows:
            for gates in GATES:
                found[kernel, gates, rows] = by_name[program.names[tile.with_rows(rows).name(kernel, gates)]]
    return found


def row(arch, tile):
    """Return the line of the table for a tile."""
    own = loops(arch, tile)
    cells = [" / ".join(f"{own[k, g, rows].per_step:.0f}" for rows in tile.rows) for g in GATES for k in KERNELS]
    fence = "cluster barrier" if any(loop.cluster_barrier for loop in own.values()) else "none"
    return (arch, tile.dtype, str(tile.units), " / ".join(map(str, tile.rows)), *cells, fence)


def names(layout, variant):
    """Return the names of both kernels of one of the other cases."""
    return [layout.name(kernel, variant) for kernel in KERNELS]


@functools.cache
def other_program(arch, layout, variant):
    """Return both kernels of one of the other cases, compiled."""
    kernels = names(layout, variant)
    return nvrtc.compile_program(source(family_of(kernels[0])), kernels, arch, (*OPTIONS, "--ptxas-options=-v"))


def other_loops(arch, layout, variant):
    """Return the loops over time of both kernels of one of the other cases."""
    program = other_program(arch, layout, variant)
    by_name = disassembly.loops(program.cubin)
    return [by_name[program.names[name]] for name in names(layout, variant)]


def key(arch, layout, variant):
    """Return what names one of the other cases in the table."""
    numbers = map(str, (layout.units, layout.cluster, layout.rows))
    M = getattr(layout, "inputs", 0)
    of_A = "inside" if getattr(layout, "adds_dA", False) else "outside"
    return (arch, CELLS[variant], layout.dtype, *numbers, f"inside, {M}" if M else "outside", of_A)


def other_row(case):
    """Return the line of the second table for a case."""
    return (*key(*case), *(f"{loop.per_step:.0f}" for loop in other_loops(*case)))


def tables():
    """Return both tables; one thread for each case of the second, since the compiler takes a second for each."""
    from benchmarks.report import markdown_table

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        others = list(pool.map(other_row, OTHERS))
    return markdown_table(COLUMNS, [row(*case) for case in CASES]), markdown_table(OTHER_COLUMNS, others)


def cells_of(begin, end, page=PAGE):
    """Return the cells of a table of the page, without its head."""
    lines = page.read_text(encoding="utf-8").split(begin)[1].split(end)[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def stated_others():
    """Return the numbers of the second table, forward and backward, by `key`."""
    return {tuple(cells[:-2]): (int(cells[-2]), int(cells[-1])) for cells in cells_of(BEGIN_OTHERS, END_OTHERS)}


def stated(page=PAGE):
    """Return the numbers of the first table, by (GPU, dtype, n, kernel, gates, rows)."""
    numbers = {}
    for line in cells_of(BEGIN, END, page):
        arch, dtype, units, rows, *cells, _ = line
        kernels = [(kernel, gates) for gates in GATES for kernel in KERNELS]
        for (kernel, gates), cell in zip(kernels, cells, strict=True):
            for count, number in zip(rows.split("/"), cell.split("/"), strict=True):
                numbers[arch, dtype, int(units), kernel, gates, int(count)] = int(number)
    return numbers


def main(arguments):
    if nvrtc.library() is None or disassembly.disassembler() is None:
        print("pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm", file=sys.stderr)
        return 2
    if arguments == ["--write"]:
        from benchmarks.page import put_between

        first, second = tables()
        put_between(PAGE, BEGIN, END, lambda: first)
        put_between(PAGE, BEGIN_OTHERS, END_OTHERS, lambda: second)
    else:
        print("\n\n".join(tables()))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))

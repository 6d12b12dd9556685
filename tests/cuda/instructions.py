"""What the compiler makes of every instantiation of the kernels, and a table of it: the instructions of a step.

    python tests/cuda/instructions.py            print the table
    python tests/cuda/instructions.py --write    put it into docs/cuda_engine.md, whose numbers the tests hold the
                                                 kernels to

Run it from the root of the repository. It needs the wheels nvidia-cuda-nvrtc and nvidia-cuda-nvdisasm, of the extra
dev.
"""

from __future__ import annotations

import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import disassembly
import nvrtc

from numrnn.engines.cuda.kernels import KERNELS, OPTIONS, source, tiles_for

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cuda_engine.md"
BEGIN, END = "<!-- instructions: begin -->", "<!-- instructions: end -->"
ARCHITECTURES = {"sm_80": 80, "sm_90": 90}
# One for each architecture and each tile that it can run.
CASES = [(arch, tile) for arch, capability in ARCHITECTURES.items() for tile in tiles_for(capability)]
# What the tests compile: all of them takes minutes, and the small tiles of 8.0 have the same text as those of 9.0.
TESTED = (
    CASES
    if os.environ.get("NUMRNN_CUDA_ALL") == "1"
    else [(arch, tile) for arch, tile in CASES if arch == "sm_90" or tile.units >= 128]
)
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


def table():
    from benchmarks.report import markdown_table

    return markdown_table(COLUMNS, [row(arch, tile) for arch, tile in CASES])


def stated(page=PAGE):
    """Return the numbers of the page, by (GPU, dtype, n, kernel, gates, rows)."""
    lines = page.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    numbers = {}
    for line in lines:
        arch, dtype, units, rows, *cells, _ = (cell.strip() for cell in line.strip("|").split("|"))
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

        put_between(PAGE, BEGIN, END, table)
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))

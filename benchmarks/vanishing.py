"""The cost of a vanishing gradient: `python -m benchmarks.vanishing`.

Seconds of `numrnn.backward` for cotangents of the last state of four sizes, with every cell and both engines of the
CPU. The smaller the cotangent, the more of the numbers of a backward pass would be subnormal, below 1.2e-38 in float32,
if they were not flushed to zero (see numrnn/subnormals.py). The last column is the slowest size over the fastest.

Writes vanishing.json to --out and, with --page FILE, its table between the marks of that page.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import numrnn
from benchmarks import table_command
from benchmarks.report import markdown_table
from numrnn import info
from numrnn.typing import Engine

SCALES = (1.0, 1e-10, 1e-20, 1e-30)
ENGINES: tuple[Engine, ...] = ("fused", "reference")
SIZES = {"T": 784, "B": 64, "m": 1, "n": 128}
BEGIN, END = "<!-- vanishing: begin -->", "<!-- vanishing: end -->"
FILE = "vanishing.json"


def cells(m: int, n: int) -> dict[str, tuple[numrnn.Cell, dict[str, Any]]]:
    """Return the cells, and the initial values of their parameters, by the names of the rows."""
    gates = {"gate_bias": -3.5, "gate_spread": 2.5}  # values with which the gated cell learns MNIST
    euler: dict[str, Any] = {"step_size": 0.1, "diffusion": 5.0}
    return {
        "antisymmetric, gamma 0.01": (numrnn.AntisymmetricCell(m, n), {}),
        "antisymmetric, gamma 5, eps 0.1": (numrnn.AntisymmetricCell(m, n, **euler), {}),
        "gated": (numrnn.GatedAntisymmetricCell(m, n, step_size=1.0, diffusion=0.5), {"weight_std": 0.5, **gates}),
        "unstructured": (numrnn.UnstructuredCell(m, n, **euler), {}),
        "gated unstructured": (numrnn.GatedUnstructuredCell(m, n, **euler), {}),
        "Elman": (numrnn.ElmanCell(m, n), {}),
        "LSTM": (numrnn.LSTMCell(m, n), {}),
    }


def seconds(
    cell: numrnn.Cell, initial: dict[str, Any], engine: Engine, sizes: dict[str, int], repeat: int
) -> list[float]:
    """Return the shortest time of a backward pass for each size of the cotangent, measured in turns."""
    T, B, m = (sizes[name] for name in "TBm")
    params = cell.init_params(np.random.default_rng(1), **initial)
    x = np.random.default_rng(0).random((T, B, m), dtype=np.float32)
    d_final = np.random.default_rng(2).standard_normal((B, cell.state_size)).astype(np.float32) / B
    _, tape = numrnn.forward(cell, params, x, engine=engine)
    best = [float("inf")] * len(SCALES)
    for _ in range(repeat):
        for index, scale in enumerate(SCALES):
            start = time.perf_counter()
            numrnn.backward(tape, d_final=d_final * np.float32(scale), wrt=("params", "h0"))
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def measure(sizes: dict[str, int], repeat: int) -> dict[str, Any]:
    """Return all times, and the machine of the measurement."""
    rows = [
        {"cell": name, "engine": engine, "seconds": seconds(cell, initial, engine, sizes, repeat)}
        for engine in ENGINES
        for name, (cell, initial) in cells(sizes["m"], sizes["n"]).items()
    ]
    report = info.collect(measure=False)
    machine = {
        name: report[name] for name in ("processor", "cores", "blas", "slices", "flushes_subnormals", "versions")
    }
    return {"sizes": sizes, "scales": list(SCALES), "machine": machine, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Return the times as a table in Markdown, with a line on the machine."""
    machine = result["machine"]
    columns = ("cell", "engine", *(f"{scale:g}" for scale in result["scales"]), "slowest / fastest")
    rows = [
        (row["cell"], row["engine"], *(f"{value:.3f}" for value in row["seconds"]), f"{ratio(row):.2f}")
        for row in result["rows"]
    ]
    flushed = "flushed" if machine["flushes_subnormals"] else "not flushed"
    where = ", ".join(f"{name} = {value}" for name, value in result["sizes"].items())
    line = f"{where}, float32; {info.cores_text(machine)}; subnormal numbers {flushed}."
    return f"{markdown_table(columns, rows)}\n\n{line}"


def ratio(row: dict[str, Any]) -> float:
    """Return the slowest time of a row over its fastest."""
    return max(row["seconds"]) / min(row["seconds"])


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 after an error."""
    return table_command.run(
        argv,
        "python -m benchmarks.vanishing",
        "What a vanishing gradient costs.",
        file=FILE,
        marks=(BEGIN, END),
        repeat=9,
        repeated="size",
        measure=lambda quick, repeat: measure({**SIZES, "T": 20} if quick else SIZES, repeat),
        table=table,
    )


if __name__ == "__main__":
    sys.exit(main())

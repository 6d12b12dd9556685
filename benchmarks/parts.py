"""What a pass of the CPU engine is made of: `python -m benchmarks.parts`.

Runs each operation of a step of the ungated cell alone, for all steps, on one core, with the arrays, blocks of rows and
chunks of steps of the engine itself; then the whole pass. The products are the part that no rearrangement removes. The
rest shows what could still be saved, and by how much a pass of this design can at most become faster.

Writes parts.json to --out and, with --page FILE, its table between the marks of that page.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import numrnn
from benchmarks import table_command
from benchmarks.report import markdown_table
from numrnn import blas, info
from numrnn.engines.cpu.passes import Pass
from numrnn.engines.cpu.slices import BackwardBuffers
from numrnn.engines.cpu.steps import EulerSlice
from numrnn.problem import check_problem

WORKLOADS = {
    "sequential MNIST": {"T": 784, "B": 64, "m": 1, "n": 128},
    "pixel CIFAR-10": {"T": 1024, "B": 64, "m": 3, "n": 256},
}
BEGIN, END = "<!-- parts: begin -->", "<!-- parts: end -->"
FILE = "parts.json"
PRODUCTS = ("forward: A s", "backward: A^T delta", "backward: dA")


class Parts:
    """A pass over one slice of the batch, and its operations one at a time.

    Parameters
    ----------
    sizes : dict of str to int
        T, B, m and n.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        T, B, m, n = (sizes[name] for name in "TBmn")
        self.cell = numrnn.AntisymmetricCell(m, n, step_size=0.01, diffusion=0.01)
        self.params = self.cell.init_params(np.random.default_rng(1))
        self.x = np.random.default_rng(0).random((T, B, m), dtype=np.float32)
        self.d_final = np.random.default_rng(2).standard_normal((B, n)).astype(np.float32) / B
        problem = check_problem(self.cell, self.params, self.x, None, None, None)
        self.whole = Pass(problem, EulerSlice, shared=False, rows=B)
        self.slice: Any = self.whole.slice_of(slice(0, B))
        self.of_A, self.of_V_b = (
            BackwardBuffers(slice(0, B), None, None, None, [total]) for total in self.slice.zero_totals()
        )
        self.slice.q[0] = self.d_final
        self.slice.forward(0, T, np.zeros((B, n), np.float32), self.whole.states, self.whole.acts)

    def pass_(self) -> None:
        """Both passes, as a user calls them."""
        _, tape = numrnn.forward(self.cell, self.params, self.x, engine="fused")
        numrnn.backward(tape, d_final=self.d_final, wrt=("params", "h0"))

    def operations(self) -> dict[str, Callable[[], object]]:
        """Return functions that run one operation for all steps."""
        part, T, chunk = self.slice, self.whole.n_steps, self.slice.chunk
        acts = self.whole.acts
        assert acts is not None
        tape, u, slopes, deltas = part.in_blocks(acts[:, 0]), part.u_steps, part.slope_steps, part.delta_steps
        s, q, (tmp, other), constants = part.s_steps[0], part.q_parts[0], part.tmp[:2], part.constants
        firsts = [(first, min(chunk, T - first)) for first in range(0, T, chunk)]
        states = self.whole.states
        assert states is not None

        def each(step: Callable[[int, int], object]) -> Callable[[], object]:
            """Return a loop over all steps t, which are steps k of their chunks."""
            return lambda: [step(t, t % chunk) for t in range(T)]

        def chunks(work: Callable[[int, int], object]) -> Callable[[], object]:
            return lambda: [work(first, count) for first, count in firsts]

        def to_tape(first: int, count: int) -> None:
            np.multiply(part.s[0, 1 : count + 1], constants.scale, out=states[first + 1 : first + count + 1])

        def slope(first: int, count: int) -> None:
            part.fill_slopes(acts[first : first + count], states[first : first + count + 1], None)

        def add_product(out: BackwardBuffers, rows: np.ndarray) -> None:
            out.add([part.deltas[0].reshape(-1, part.n)[: len(rows)]], [rows])

        def add_dA(first: int, count: int) -> None:
            add_product(self.of_A, part._flat(states[first : first + count], None))

        def add_dV_db(first: int, count: int) -> None:
            part.x_1[:count, :, :-1] = part.x[first : first + count]
            add_product(self.of_V_b, part.x_1[:count].reshape(-1, part.m + 1))

        return {
            "forward: V x + b": chunks(part._project),
            "forward: A s": each(lambda t, k: part.product(s[k], constants.A_T, tmp)),
            "forward: u = A s + (V x + b)": each(lambda t, k: np.add(tmp, u[k], other)),
            "forward: c = tanh(u), to the tape; s + c": each(
                lambda t, k: np.add(s[k], np.tanh(u[k], tape[t]), s[k + 1])
            ),
            "forward: h = eps s, to the tape": chunks(to_tape),
            "backward: 1 - c^2": chunks(slope),
            "backward: delta": each(lambda t, k: np.multiply(slopes[k], q, deltas[k])),
            "backward: A^T delta": each(lambda t, k: part.product(deltas[k], constants.A, tmp)),
            "backward: q + A^T delta": each(lambda t, k: np.add(q, tmp, other)),
            "backward: dA": chunks(add_dA),
            "backward: dV, db": chunks(add_dV_db),
        }


def microseconds_per_step(sizes: dict[str, int], repeat: int) -> dict[str, float]:
    """Return the shortest time of each operation and of the whole pass, each divided by T, in microseconds."""
    parts = Parts(sizes)
    todo = {**parts.operations(), "the pass": parts.pass_}
    best = dict.fromkeys(todo, float("inf"))
    with blas.one_thread_each():
        for _ in range(repeat):
            for name, work in todo.items():
                start = time.perf_counter()
                work()
                best[name] = min(best[name], time.perf_counter() - start)
    return {name: 1e6 * seconds / sizes["T"] for name, seconds in best.items()}


def measure(workloads: dict[str, dict[str, int]], repeat: int) -> dict[str, Any]:
    """Return the times of all workloads, on one core, and the machine of the measurement."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    if cores is not None:
        os.sched_setaffinity(0, {min(cores)})
    try:
        rows = {name: {"sizes": sizes, "us": microseconds_per_step(sizes, repeat)} for name, sizes in workloads.items()}
        report = info.collect(measure=False)
    finally:
        if cores is not None:
            os.sched_setaffinity(0, cores)
    return {"machine": {name: report[name] for name in ("processor", "cores", "blas", "versions")}, "workloads": rows}


def table(result: dict[str, Any]) -> str:
    """Return the times as a table in Markdown, with lines on sizes and machine."""
    workloads = result["workloads"]
    times = [one["us"] for one in workloads.values()]
    alone = [name for name in times[0] if name != "the pass"]
    rows = [(name, *(f"{us[name]:.1f}" for us in times)) for name in alone]
    sums = [sum(us[name] for name in alone) for us in times]
    products = [sum(us[name] for name in PRODUCTS) for us in times]
    rows += [
        ("**sum**", *(f"**{value:.1f}**" for value in sums)),
        ("of which the three products", *(f"{value:.1f}" for value in products)),
        ("the pass, measured", *(f"{us['the pass']:.1f}" for us in times)),
        (
            "the products' share of it",
            *(f"{100 * value / us['the pass']:.0f} %" for value, us in zip(products, times, strict=True)),
        ),
    ]
    sizes = "; ".join(
        f"{name}: {', '.join(f'{key} = {value:,}' for key, value in one['sizes'].items())}"
        for name, one in workloads.items()
    )
    lines = f"Microseconds a step, shortest times. {sizes}; float32; {info.cores_text(result['machine'])}."
    return f"{markdown_table(('operation', *workloads), rows)}\n\n{lines}"


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 after an error."""

    def measured(quick: bool, repeat: int) -> dict[str, Any]:
        return measure({name: {**sizes, "T": 20} if quick else sizes for name, sizes in WORKLOADS.items()}, repeat)

    return table_command.run(
        argv,
        "python -m benchmarks.parts",
        "What a pass of the CPU engine is made of.",
        file=FILE,
        marks=(BEGIN, END),
        repeat=15,
        repeated="part",
        measure=measured,
        table=table,
    )


if __name__ == "__main__":
    sys.exit(main())

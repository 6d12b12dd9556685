"""The tape of the CPU engine: which problems it supports, and its slices of rows in threads and processes."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace
from numrnn.blas import one_thread_each
from numrnn.cells.antisymmetric import EulerStep
from numrnn.cells.base import Cell, same_step
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedEulerStep
from numrnn.cells.lipschitz import LipschitzCell
from numrnn.cells.lstm import LSTMCell
from numrnn.engines.cpu import floating_point, processes
from numrnn.engines.cpu.lipschitz import LipschitzSlice
from numrnn.engines.cpu.passes import Pass, room
from numrnn.engines.cpu.slices import Slice
from numrnn.engines.cpu.steps import ElmanSlice, EulerSlice, GatedEulerSlice, LSTMSlice
from numrnn.engines.cpu.threads import run_all
from numrnn.problem import Problem
from numrnn.tape import Gradients, Tape

ROWS_PER_SLICE = 32  # with fewer rows per thread the products are too small to be worth a thread
PROCESS_FLOPS = 10**9  # a smaller pass takes so few milliseconds that messages to another process cost too much
SLICES: dict[type[Cell], type[Slice]] = {
    EulerStep: EulerSlice,
    GatedEulerStep: GatedEulerSlice,
    ElmanCell: ElmanSlice,
    LSTMCell: LSTMSlice,
    LipschitzCell: LipschitzSlice,
}


def unsupported_reason(problem: Problem) -> str | None:
    """Return the part of the problem that this engine does not support, or None."""
    if array_namespace(problem.x) is not np:
        return f"arrays of {array_namespace(problem.x).__name__}"
    if problem.h0.dtype not in (np.float32, np.float64):
        return f"dtype {problem.h0.dtype}"
    if _slice_class(problem) is None:
        return f"the cell {type(problem.cell).__name__}"
    return None


def _slice_class(problem: Problem) -> type[Slice] | None:
    kind = next((kind for own, kind in SLICES.items() if same_step(problem.cell, own)), None)
    return None if kind is None else kind.for_cell(problem.cell)


def make_tape(problem: Problem) -> CpuTape:
    """Return a tape for a problem for which `unsupported_reason` is None.

    Notes
    -----
    `run` costs 2 T B n (n + m) flops, four times that for the LSTM, 2 T B n (2 n + m) for the Lipschitz RNN and with
    the midpoint rule 2 T B n (4 n + m), and T B (state_size + activations n) numbers of memory, where activations is 1,
    for a gated cell 2, for the midpoint rule 3, for the LSTM 4, for the Elman network 0.
    """
    kind = _slice_class(problem)
    assert kind is not None
    return CpuTape(problem, kind)


class CpuTape(Tape):
    """The tape of this engine: states and activations, or the scaled state s at the start of every segment."""

    def __init__(self, problem: Problem, kind: type[Slice]) -> None:
        super().__init__(problem, problem.n_steps)
        self._kind = kind
        self._pass: Any = None

    def run(self) -> None:
        """Run the forward pass."""
        problem = self.problem
        with self._slices() as cuts:
            flops = 6 * problem.cell.hidden_size**2 * problem.n_steps * len(problem.h0)
            apart = len(cuts) > 1 and flops >= PROCESS_FLOPS and processes.usable()
            rows = -(-len(problem.h0) // len(cuts))
            self._pass = Pass(problem, self._kind, shared=apart, rows=rows)
            self.every = self._pass.every
            self._call(cuts, self._pass.forward)
        self._states = self._pass.states

    @property
    def final_state(self) -> Array:
        """h_T."""
        if self._pass.final is not None:
            return self._pass.final.copy()  # a view would keep all arrays of the pass alive
        return self._pass.states[-1]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from its kept state."""
        if self._pass.states is not None:
            return self._pass.states
        states = self._pass.take((self._pass.stop(start) - start + 1, *self.problem.h0.shape))
        with self._slices() as cuts:
            self._call(cuts, self._pass.segment, start, states)
        return states

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        problem, dtype = self.problem, self.problem.h0.dtype
        own = room({"g": g, "direct": direct}, {}, dtype, self._pass.visible())
        dx = self._pass.take(problem.x.shape) if "x" in wrt else None
        all_g = self._pass.take((problem.n_steps + 1, *g.shape)) if "states" in wrt else None
        if all_g is not None:
            all_g[-1] = g
        with self._slices() as cuts:
            parts = self._call(cuts, self._pass.backward, own["g"], own["direct"], dx, all_g, "params" in wrt)
        params = None
        if "params" in wrt:  # added in the order of the slices
            totals = [functools.reduce(np.add, part) for part in zip(*(sums for _, sums in parts), strict=True)]
            params = self._pass.kind.gradients(problem.cell, totals)
        d_h0 = np.concatenate([rows for rows, _ in parts]) if "h0" in wrt else None
        return Gradients(params, dx, d_h0, all_g)

    @contextlib.contextmanager
    def _slices(self) -> Iterator[list[slice]]:
        """Yield the rows of each slice, at most one slice per thread; BLAS is limited to one thread meanwhile."""
        batch = len(self.problem.h0)
        with one_thread_each() as threads:
            count = max(1, min(threads, batch // ROWS_PER_SLICE))
            cuts = [batch * i // count for i in range(count + 1)]
            yield [slice(*cut) for cut in itertools.pairwise(cuts)]

    def _call(self, cuts: list[slice], method: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a method of the pass for all slices concurrently, and return the results."""
        if len(cuts) == 1:
            return [method(cuts[0], *arguments)]
        tasks = [functools.partial(method, rows, *arguments) for rows in cuts]
        if self._pass.visible(*arguments) and floating_point.portable():
            with processes.pool.borrow(len(cuts) - 1) as workers:
                # Checked again: before the workers were borrowed, a fork in another thread may have made it private.
                if workers is not None and self._pass.visible(*arguments):
                    return processes.pool.run(workers, tasks)
        return run_all(tasks)

r"""The CPU engine: the two time loops, fast, in NumPy alone.

It computes what numrnn/bptt.py computes with the cells of numrnn/cells/, in float32 and float64. What separates it from
the reference, and why each step is exact but for rounding:

1. A is built once a call, not once a step: it depends on the parameters only.
2. The state is carried as s = h / scale, scale = eps, or eps / 2 for a gated cell, and scale is put into the matrix
   that multiplies s. A step is then one addition:

       s_t = s_{t-1} + tanh(u)               eps z c = (eps / 2)(1 + w) c,   z = (1 + w) / 2,   w = tanh(u_z / 2)
       s_t = s_{t-1} + (c + w c)             of the gated cell

   The cotangent is carried as q = scale * g, and delta is its product with a slope that knows nothing of eps:

       delta = q (1 - c^2),                  or  delta = q (1 + w) (1 - c^2),   delta_z = q c (1 - w^2) / 2

   A row that holds its state has the slope 0.
3. Time is cut into chunks of as many steps as the cache holds. What does not go from step to step is done for a chunk
   at once: in the forward pass the products V x + b before its steps and the scaling of its states after them; in the
   backward pass the slopes before its steps, and after them dA, and [dV | db], as one product of all its deltas with
   all its rows h, and [x | 1], instead of one a step.
4. The rows of a batch are independent: each core takes a slice of them through all of time, with BLAS held to one
   thread. Their parameter gradients are added at the end, in the order of the slices. Within a slice the rows of a step
   may be multiplied in blocks, where the BLAS is faster so, with matrices that begin at a cache line. A slice is run by
   a worker process where the problem is large enough and the system can share memory, by a thread elsewhere:
   processes.py says why.
5. Subnormal numbers are flushed to zero while a pass runs, in every thread and process that runs a slice
   (numrnn/subnormals.py): a gradient that vanishes would cost 10 to 100 times the time on many processors. It changes
   numbers below 1.2e-38 (float64: 2.2e-308) to zero, and sums in the last bits that such a number would have reached.

The Elman network and the LSTM go through the same chunks and slices; their scale is 1. From the top down: the tape
here, a pass over all time in numpy_pass.py, what every slice does in numpy_slices.py, the steps of each cell in
numpy_steps.py.

Memory: the states, and c of the same size (for a gated cell c and w, for the LSTM its gates, for the Elman network
nothing). With checkpoints the states s at every k-th step, k rounded up to a multiple of a chunk: then a recomputed
chunk is the same chunk, bit for bit.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from numrnn import bptt
from numrnn.backend import Array, array_namespace
from numrnn.cells.antisymmetric import EulerStep
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedEulerStep
from numrnn.cells.lstm import LSTMCell
from numrnn.engines import processes, workspace
from numrnn.engines.numpy_pass import Pass
from numrnn.engines.numpy_slices import Slice
from numrnn.engines.numpy_steps import ElmanSlice, EulerSlice, GatedEulerSlice, LSTMSlice
from numrnn.engines.threads import one_thread_each, run_all
from numrnn.subnormals import flush_subnormals
from numrnn.tape import Gradients, Problem, Tape

ROWS_PER_SLICE = 32  # fewer rows a thread make the products too small to be worth a thread
PROCESS_FLOPS = 10**9  # of a smaller pass, a few milliseconds, a message to another process is too large a part
SLICES: dict[Any, type[Slice]] = {
    EulerStep: EulerSlice,
    GatedEulerStep: GatedEulerSlice,
    ElmanCell: ElmanSlice,
    LSTMCell: LSTMSlice,
}


def obstacle(problem: Problem) -> str | None:
    """Return what of the problem this engine does not cover, or None."""
    if array_namespace(problem.x) is not np:
        return f"arrays of {array_namespace(problem.x).__name__}"
    if problem.h0.dtype not in (np.float32, np.float64):
        return f"dtype {problem.h0.dtype}"
    if _slice_class(problem) is None:
        return f"the cell {type(problem.cell).__name__}"
    return None


def _slice_class(problem: Problem) -> type[Slice] | None:
    kind: Any = type(problem.cell)
    # Not isinstance: a subclass may have a step of its own.
    same = (own for own in SLICES if (kind.step, kind.step_vjp) == (own.step, own.step_vjp))
    return SLICES.get(next(same, None))


def run(problem: Problem) -> Tape:
    """Run a forward pass and return its tape; `obstacle` must have returned None.

    Notes
    -----
    Costs 2 T B n (n + m) flops, four times that for the LSTM, and T B (state_size + activations n) numbers of memory,
    where activations is 1, for a gated cell 2, for the LSTM 4, for the Elman network 0.
    """
    return FusedTape(problem)


class FusedTape(Tape):
    """The tape of this engine: states and activations, or the scaled state s at the start of every segment."""

    def __init__(self, problem: Problem) -> None:
        kind = _slice_class(problem)
        assert kind is not None
        with self._slices(problem) as cuts:
            flops = 6 * problem.cell.hidden_size**2 * problem.n_steps * len(problem.h0)
            apart = len(cuts) > 1 and flops >= PROCESS_FLOPS and processes.usable()
            rows = -(-len(problem.h0) // len(cuts))
            self._pass = Pass(problem, kind, processes.shared_array if apart else np.empty, rows)
            super().__init__(problem, self._pass.every)
            self._run(cuts, self._pass.forward)
        self._states = self._pass.states

    @property
    def final_state(self) -> Array:
        """h_T."""
        if self._pass.states is None:
            with flush_subnormals():
                return self._pass.s * self._pass.constants.scale
        return self._pass.states[-1]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from the checkpoint."""
        if self._pass.states is not None:
            return self._pass.states
        steps, batch = self._pass.stop(start) - start, len(self.problem.h0)
        states, _ = self._pass.memory(steps, batch, self._pass.make)
        with self._slices(self.problem) as cuts:
            self._run(cuts, self._pass.segment, start, states)
        return states

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        problem, dtype, make = self.problem, self.problem.h0.dtype, self._pass.make
        if g.dtype != dtype:  # a complex cotangent of a real pass: two real ones in one, by linearity
            return bptt.run(problem).propagate(g, direct, wrt)
        q, direct = self._pass.visible(g), None if direct is None else self._pass.visible(direct)
        dx = workspace.take(problem.x.shape, dtype, make) if "x" in wrt else None
        all_g = workspace.take((problem.n_steps + 1, *g.shape), dtype, make) if "states" in wrt else None
        if all_g is not None:
            all_g[-1] = g
        with self._slices(problem) as cuts:
            parts = self._run(cuts, self._pass.backward, q, direct, dx, all_g, "params" in wrt)
        params = None
        if "params" in wrt:  # added in the order of the slices
            totals = [functools.reduce(np.add, part) for part in zip(*parts, strict=True)]
            params = self._pass.kind.gradients(problem.cell, totals)
        return Gradients(params, dx, q if "h0" in wrt else None, all_g)

    @staticmethod
    @contextlib.contextmanager
    def _slices(problem: Problem) -> Iterator[list[slice]]:
        """Yield the rows of each slice, as many as there may be threads; BLAS has one each meanwhile."""
        batch = len(problem.h0)
        with one_thread_each() as threads:
            count = max(1, min(threads, batch // ROWS_PER_SLICE))
            cuts = [batch * i // count for i in range(count + 1)]
            yield [slice(*cut) for cut in itertools.pairwise(cuts)]

    def _run(self, cuts: list[slice], method: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call a method of the pass for all slices at once, and return what it returns."""
        tasks = [functools.partial(_flushing, method, rows, *arguments) for rows in cuts]
        if self._pass.make is processes.shared_array:
            with processes.pool.borrow(len(cuts) - 1) as workers:
                if workers is not None:
                    return processes.pool.run(workers, tasks)
        return run_all(tasks)


def _flushing(method: Callable[..., Any], *arguments: Any) -> Any:
    """Call a method of the pass, wherever its slice is run, with subnormal numbers flushed to zero."""
    with flush_subnormals():
        return method(*arguments)

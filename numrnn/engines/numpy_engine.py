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
3. Time is cut into chunks that stay in the cache. What does not go from step to step is done for a chunk at once: in
   the forward pass the products V x + b before its steps and the scaling of its states after them; in the backward pass
   the slopes before its steps, and after them dA, and [dV | db], as one product of all its deltas with all its rows h,
   and [x | 1], instead of one a step.
4. The rows of a batch are independent: each thread takes a slice of them through all of time, with BLAS held to one
   thread. Their parameter gradients are added at the end, in the order of the slices. Within a slice the rows of a step
   may be multiplied in blocks, where the BLAS is faster so.

The Elman network and the LSTM go through the same chunks and slices; their scale is 1. The code is in three files: the
tape and the threads here, what every slice does in numpy_slices.py, the steps of each cell in numpy_steps.py.

Memory: the states, and c of the same size (for a gated cell c and w, for the LSTM its gates and tanh(c), for the Elman
network nothing). With checkpoints the states s at every k-th step, k rounded up to a multiple of a chunk: then a
recomputed chunk is the same chunk, bit for bit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from numrnn import bptt
from numrnn.backend import Array, array_namespace
from numrnn.cells.antisymmetric import EulerStep
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedEulerStep
from numrnn.cells.lstm import LSTMCell
from numrnn.engines import workspace
from numrnn.engines.numpy_slices import CHUNK, Gathered, Slice
from numrnn.engines.numpy_steps import ElmanSlice, EulerSlice, GatedEulerSlice, LSTMSlice
from numrnn.engines.threads import one_thread_each, run_all
from numrnn.tape import CheckpointedStates, Gradients, Problem, Tape

ROWS_PER_SLICE = 32  # fewer rows a thread make the products too small to be worth a thread
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
    where activations is 1, for a gated cell 2, for the LSTM 5, for the Elman network 0.
    """
    return FusedTape(problem)


class FusedTape(Tape):
    """The tape of this engine: states and activations, or the scaled state s at the start of every segment."""

    def __init__(self, problem: Problem) -> None:
        n_steps = problem.n_steps
        # A segment is a multiple of CHUNK, so that it is cut into the same chunks as the whole.
        every = n_steps if problem.every is None else min(-(-problem.every // CHUNK) * CHUNK, n_steps)
        super().__init__(problem, every)
        kind = _slice_class(problem)
        assert kind is not None
        self._kind, self.constants = kind, kind.prepare(problem)
        self._s = problem.h0 / self.constants.scale  # becomes s_T
        self._kept: Any = None
        shape = problem.h0.shape
        if problem.every is None:
            self._kept = self._memory(n_steps, shape[0])
            self.states = self._kept[0]
            self._each_slice(self._run_all_kept)
        else:
            self._checkpoints = workspace.take((len(self.starts()), *shape), problem.h0.dtype)
            self._each_slice(self._run_checkpointed)
            self.states = CheckpointedStates(self)

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self._s * self.constants.scale if self._kept is None else self.states[-1]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from the checkpoint."""
        if self._kept is not None:
            return self.states
        states, _ = self._memory(self._stop(start) - start, self.problem.h0.shape[0])

        def task(rows: Slice) -> None:
            self._recompute(rows, start, states[:, rows.rows], None)

        self._each_slice(task)
        return states

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        problem, dtype = self.problem, self.problem.h0.dtype
        if g.dtype != dtype:  # a complex cotangent of a real pass: two real ones in one, by linearity
            return bptt.run(problem).propagate(g, direct, wrt)
        dx = np.empty(problem.x.shape, dtype) if "x" in wrt else None
        all_g = np.empty((problem.n_steps + 1, *g.shape), dtype) if "states" in wrt else None
        if all_g is not None:
            all_g[-1] = g

        def task(rows: Slice) -> list[np.ndarray] | None:
            out = Gathered(rows.rows, direct, dx, all_g, rows.zero_totals() if "params" in wrt else None)
            q = g[rows.rows]  # becomes dL/dh_0
            q *= self.constants.scale
            self._run_back(rows, q, out)
            q /= self.constants.scale
            return out.d_params

        parts = self._each_slice(task)
        params = self._collect(parts) if "params" in wrt else None
        return Gradients(params, dx, g if "h0" in wrt else None, all_g)

    def _each_slice(self, task: Callable[[Slice], Any]) -> list[Any]:
        """Call a task for every slice of the batch, each in a thread of its own, and return what they return."""
        batch = self.problem.h0.shape[0]
        with one_thread_each() as threads:
            count = max(1, min(threads, batch // ROWS_PER_SLICE))
            cuts = [batch * i // count for i in range(count + 1)]
            slices = [self._kind(self.problem, self.constants, slice(*cut)) for cut in itertools.pairwise(cuts)]
            return run_all([functools.partial(task, rows) for rows in slices])

    def _memory(self, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return room for the states and the activations of so many steps."""
        cell, dtype = self.problem.cell, self.problem.h0.dtype
        states = workspace.take((steps + 1, batch, cell.state_size), dtype)
        return states, workspace.take((steps, self._kind.activations, batch, cell.hidden_size), dtype)

    def _stop(self, start: int) -> int:
        return min(start + self.every, self.problem.n_steps)

    def _run_all_kept(self, rows: Slice) -> None:
        states, acts = self._kept
        states[0, rows.rows] = self.problem.h0[rows.rows]
        rows.forward(0, self.problem.n_steps, self._s[rows.rows], states[:, rows.rows], acts[:, :, rows.rows])

    def _run_checkpointed(self, rows: Slice) -> None:
        s = self._s[rows.rows]
        for i, start in enumerate(self.starts()):
            self._checkpoints[i, rows.rows] = s
            rows.forward(start, self._stop(start), s)

    def _recompute(self, rows: Slice, start: int, states: np.ndarray, acts: np.ndarray | None) -> None:
        """Fill the states and activations of one segment again, for these rows."""
        s = self._checkpoints[start // self.every, rows.rows].copy()
        np.multiply(s, self.constants.scale, out=states[0])
        if start == 0:
            states[0] = self.problem.h0[rows.rows]
        rows.forward(start, self._stop(start), s, states, acts)

    def _run_back(self, rows: Slice, q: np.ndarray, out: Gathered) -> None:
        """Run the whole backward pass of a slice."""
        if self._kept is not None:
            states, acts = self._kept
            rows.backward(0, self.problem.n_steps, q, states[:, rows.rows], acts[:, :, rows.rows], out)
            return
        states, acts = self._memory(self.every, rows.b)
        for start in reversed(self.starts()):
            steps = self._stop(start) - start
            self._recompute(rows, start, states[: steps + 1], acts[:steps])
            rows.backward(start, start + steps, q, states[: steps + 1], acts[:steps], out)

    def _collect(self, parts: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the gradients of the parameters from those of the slices, added in their order."""
        totals = [functools.reduce(np.add, part) for part in zip(*parts, strict=True)]
        return self._kind.gradients(self.problem.cell, totals)

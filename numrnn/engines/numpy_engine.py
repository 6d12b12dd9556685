r"""The CPU engine: the two time loops, fast, in NumPy alone.

It computes what numrnn/bptt.py computes with the cells of numrnn/cells/, for the antisymmetric and the unstructured
cells, gated or not, in float32 and float64. What separates it from the reference, and why each step is exact but for
rounding:

1. A is built once a call, not once a step: it depends on the parameters only.
2. The state is carried as s = h / scale, scale = eps, or eps / 2 for a gated cell, and scale is put into the matrix
   that multiplies s. A step is then one addition:

       s_t = s_{t-1} + tanh(u)               eps z c = (eps / 2)(1 + w) c,   z = (1 + w) / 2,   w = tanh(u_z / 2)
       s_t = s_{t-1} + (c + w c)             of the gated cell

3. The tape holds the slopes, the factors that turn the cotangent of h_t into those of the pre-activations:

       delta = S g,      S = eps (1 - c^2),         or  S = eps z (1 - c^2) and S_z = eps z (1 - z) c

   They do not depend on the cotangent and can be made in the forward pass. A row that holds its state has the slope 0,
   so that the backward pass needs to know nothing of lengths.
4. Time is cut into chunks that stay in the cache. What does not go from step to step is done for a chunk at once: the
   products V x + b before its steps, the scaling of its states and its slopes after them, and in the backward pass
   dA, dV and db as one product of all its deltas with all its rows [h | x | 1], instead of one a step.
5. The rows of a batch are independent: each thread takes a slice of them through all of time, with BLAS held to one
   thread. Their parameter gradients are added at the end, in the order of the slices.

Memory: the states, and one array of slopes of the same size (two for a gated cell). With checkpoints the states s at
every k-th step, k rounded up to a multiple of a chunk: then a recomputed chunk is the same chunk, bit for bit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn import bptt
from numrnn.backend import Array, array_namespace
from numrnn.cells.antisymmetric import EulerStep
from numrnn.cells.base import EulerCell
from numrnn.cells.gated import GatedEulerStep
from numrnn.engines import workspace
from numrnn.engines.threads import one_thread_each, run_all
from numrnn.tape import CheckpointedStates, Gradients, Problem, Tape

CHUNK = 16  # steps; three arrays of so many states fit into the second-level cache of a core
ROWS_PER_SLICE = 32  # fewer rows a thread make the products too small to be worth a thread


def obstacle(problem: Problem) -> str | None:
    """Return what of the problem this engine does not cover, or None."""
    if array_namespace(problem.x) is not np:
        return f"arrays of {array_namespace(problem.x).__name__}"
    if problem.h0.dtype not in (np.float32, np.float64):
        return f"dtype {problem.h0.dtype}"
    kind: Any = type(problem.cell)
    # Not isinstance: a subclass may have a step of its own.
    if not any((kind.step, kind.step_vjp) == (own.step, own.step_vjp) for own in (EulerStep, GatedEulerStep)):
        return f"the cell {kind.__name__}"
    return None


def run(problem: Problem) -> Tape:
    """Run a forward pass and return its tape; `obstacle` must have returned None.

    Notes
    -----
    Costs 2 T B n (n + m) flops, and (1 + gates) T B n numbers of memory, where gates is 1, or 2 for a gated cell.
    """
    return FusedTape(problem)


@dataclass(frozen=True, eq=False)
class _Constants:
    """What every slice reads: the parameters in the form in which the loops use them."""

    gates: int  # 1: candidate; 2: candidate and gate
    scale: float  # h = scale * s
    eps: float
    shares: np.ndarray  # (2, 1, 1) = [1, 1/2]: of A h in u, and in u_z / 2
    A: np.ndarray  # (n, n), for g @ A
    A_T: np.ndarray  # (n, n), scale * A^T, for s @ A_T
    V_b: list[np.ndarray]  # one (m + 1, n) a gate, for [x | 1] @ V_b
    V: list[np.ndarray]  # one (n, m) a gate, for delta @ V

    @classmethod
    def of(cls, problem: Problem) -> _Constants:
        """Return the constants of a problem."""
        cell, params, dtype = problem.cell, problem.params, problem.h0.dtype
        assert isinstance(cell, EulerCell)
        A = cell.recurrent_matrix(params["W"]).astype(dtype, order="C")
        gated = "V_z" in params
        scale = cell.step_size / 2 if gated else cell.step_size
        V_b = [np.vstack([params["V"].T, params["b"]]).astype(dtype)]
        V = [params["V"].astype(dtype)]
        if gated:
            V_b.append(0.5 * np.vstack([params["V_z"].T, params["b_z"]]).astype(dtype))  # w = tanh(u_z / 2)
            V.append(params["V_z"].astype(dtype))
        A_T = np.ascontiguousarray(scale * A.T)
        shares = np.array([1, 0.5], dtype)[:, None, None]
        return cls(1 + gated, scale, cell.step_size, shares, A, A_T, V_b, V)


class _Slice:
    """Rows of the batch, and the scratch that a thread needs to take them through time.

    All arrays that its methods are given hold these rows only.
    """

    def __init__(self, problem: Problem, constants: _Constants, rows: slice) -> None:
        self.constants, self.rows = constants, rows
        self.x = problem.x[:, rows]
        self.active = None if problem.active is None else problem.active[:, rows]
        self.b, self.n, self.m = rows.stop - rows.start, problem.h0.shape[1], problem.x.shape[2]
        dtype = problem.h0.dtype
        gates, b, n = constants.gates, self.b, self.n
        self.u = workspace.take((gates, CHUNK, b, n), dtype)  # V x + b; in the backward pass the deltas
        self.c = workspace.take((CHUNK, gates, b, n), dtype)  # c, and w of the gate
        self.s = workspace.take((CHUNK + 1, b, n), dtype)  # in the backward pass the sum of two deltas
        self.row = workspace.take((CHUNK, self.b, self.n + self.m + 1), dtype)  # [h | x | 1]
        self.row[..., -1] = 1
        self.tmp = workspace.take((2, self.b, self.n), dtype)

    def forward(self, start: int, stop: int, s: np.ndarray, states: Any = None, slopes: Any = None) -> None:
        """Take s, (b, n), from step `start` to `stop`, in place.

        Unless they are None, fills states (stop - start + 1, b, n), all but the first, and slopes (stop - start, gates,
        b, n).
        """
        self.s[0] = s
        for first in range(start, stop, CHUNK):
            count, at = min(CHUNK, stop - first), first - start
            active = None if self.active is None else self.active[first : first + count].astype(s.dtype)
            self._project(first, count)
            if self.constants.gates == 1:
                self._steps(count, active)
            else:
                self._gated_steps(count, active)
            if states is not None:
                np.multiply(self.s[1 : count + 1], self.constants.scale, out=states[at + 1 : at + count + 1])
            if slopes is not None:
                self._slopes(count, active, slopes[at : at + count])
            self.s[0] = self.s[count]
        s[...] = self.s[0]

    def _project(self, first: int, count: int) -> None:
        """Fill u with V x + b, and for the gate with half of V_z x + b_z, for the steps of a chunk."""
        x_1 = self.row[:count, :, self.n :]
        x_1[..., : self.m] = self.x[first : first + count]
        flat = self.row.reshape(-1, self.n + self.m + 1)[: count * self.b, self.n :]
        for V_b, u in zip(self.constants.V_b, self.u, strict=True):
            np.dot(flat, V_b, out=u[:count].reshape(-1, self.n))

    def _steps(self, count: int, active: np.ndarray | None) -> None:
        """Run the steps of a chunk, ungated."""
        A_T, dot, add, multiply, tanh = self.constants.A_T, np.dot, np.add, np.multiply, np.tanh
        for t, (s_t, s_next, u_t, c_t) in enumerate(
            zip(self.s[:count], self.s[1:], self.u[0], self.c[:, 0], strict=False)
        ):
            dot(s_t, A_T, c_t)
            add(c_t, u_t, c_t)  # (F2)
            tanh(c_t, c_t)  # (F3)
            if active is not None:
                multiply(c_t, active[t], c_t)
            add(s_t, c_t, s_next)  # (F4)

    def _gated_steps(self, count: int, active: np.ndarray | None) -> None:
        """Run the steps of a chunk, gated; w is tanh(u_z / 2)."""
        A_T, dot, add, multiply, tanh = self.constants.A_T, np.dot, np.add, np.multiply, np.tanh
        recurrent, update = self.tmp
        u_pairs = self.u.swapaxes(0, 1)
        for t, (s_t, s_next, u_t, c_w) in enumerate(zip(self.s[:count], self.s[1:], u_pairs, self.c, strict=False)):
            c_t, w_t = c_w
            dot(s_t, A_T, recurrent)
            multiply(recurrent, self.constants.shares, c_w)
            add(c_w, u_t, c_w)  # (F5) (F6)
            tanh(c_w, c_w)  # (F7)
            multiply(c_t, w_t, update)
            add(update, c_t, update)
            if active is not None:
                multiply(update, active[t], update)
            add(s_t, update, s_next)  # (F8)

    def _slopes(self, count: int, active: np.ndarray | None, slopes: np.ndarray) -> None:
        """Make the slopes of a chunk, (count, gates, b, n), from c and w; spoils w."""
        eps, c, S = self.constants.eps, self.c[:count, 0], slopes[:, 0]
        np.multiply(c, c, out=S)
        np.subtract(1, S, out=S)
        if self.constants.gates == 1:
            S *= eps
        else:
            w, S_z = self.c[:count, 1], slopes[:, 1]
            np.multiply(w, w, out=S_z)
            np.subtract(1, S_z, out=S_z)
            S_z *= c
            S_z *= eps / 4  # z (1 - z) = (1 - w^2) / 4
            w += 1
            w *= eps / 2
            S *= w  # eps z = eps (1 + w) / 2
        if active is not None:
            slopes *= active[:, None]

    def backward(
        self, start: int, stop: int, g: np.ndarray, states: np.ndarray, slopes: np.ndarray, out: _Gathered
    ) -> None:
        """Take g, dL/dh_stop (b, n), back to step `start`, in place; add the gradients of these steps to `out`."""
        for first in reversed(range(start, stop, CHUNK)):
            count, at = min(CHUNK, stop - first), first - start
            self._steps_back(first, count, g, slopes[at : at + count], out)
            deltas = [delta[:count].reshape(-1, self.n) for delta in self.u]
            if out.d_params is not None:
                self.row[:count, :, : self.n] = states[at : at + count]
                self.row[:count, :, self.n : -1] = self.x[first : first + count]
                both = deltas[0] if len(deltas) == 1 else self.s[:count].reshape(-1, self.n)
                out.add(deltas, both, self.row.reshape(-1, self.n + self.m + 1)[: count * self.b])
            if out.dx is not None:
                dx = sum(delta @ V for delta, V in zip(deltas, self.constants.V, strict=True))  # (B3) (B11)
                out.dx[first : first + count] = dx.reshape(count, self.b, self.m)

    def _steps_back(self, first: int, count: int, g: np.ndarray, slopes: np.ndarray, out: _Gathered) -> None:
        """Run the steps of a chunk backwards; leave the deltas in u, and their sum in s where there are two."""
        A, product, dot, add, multiply = self.constants.A, self.tmp[0], np.dot, np.add, np.multiply
        gated = self.constants.gates == 2
        steps = zip(range(count), slopes, self.u[0], self.u[-1], self.s, strict=False)
        for t, slope, delta, delta_z, both in reversed(list(steps)):
            multiply(slope[0], g, delta)  # (B1) (B7)
            if gated:
                multiply(slope[1], g, delta_z)  # (B8)
                add(delta, delta_z, both)  # (B9)
                dot(both, A, product)
            else:
                dot(delta, A, product)
            add(g, product, g)  # (B2) (B10)
            if out.direct is not None:
                g += out.direct[first + t]  # (B26)
            if out.all_g is not None:
                out.all_g[first + t] = g


class _Gathered:
    """What a slice's backward pass takes from outside, and where it puts its gradients; None for those not wanted."""

    def __init__(self, rows: _Slice, direct: Any, dx: Any, all_g: Any, with_params: bool) -> None:
        self.direct = None if direct is None else direct[:, rows.rows]
        self.dx = None if dx is None else dx[:, rows.rows]
        self.all_g = None if all_g is None else all_g[:, rows.rows]
        n, m, gates, dtype = rows.n, rows.m, rows.constants.gates, rows.x.dtype
        # [dA | dV | db], and [dV_z | db_z] of a gated cell.
        widths = (n + m + 1,) if gates == 1 else (n, m + 1, m + 1)
        self.d_params = [np.zeros((n, width), dtype) for width in widths] if with_params else None
        self._products = [np.empty((n, width), dtype) for width in widths]

    def add(self, deltas: list[np.ndarray], both: np.ndarray, rows: np.ndarray) -> None:
        """Add the products of a chunk's deltas, (steps x b, n), and its rows [h | x | 1]."""
        n = both.shape[1]
        if len(deltas) == 1:
            pairs = [(both, rows)]  # (B5) (B4)
        else:
            h, x_1 = rows[:, :n], rows[:, n:]
            pairs = [(both, h), (deltas[0], x_1), (deltas[1], x_1)]  # (B14) (B12) (B13)
        for total, product, (delta, row) in zip(self.d_params or (), self._products, pairs, strict=True):
            np.dot(delta.T, row, out=product)
            total += product  # (B27)


class FusedTape(Tape):
    """The tape of this engine: states and slopes, or the scaled state s at the start of every segment."""

    def __init__(self, problem: Problem) -> None:
        n_steps = problem.n_steps
        # A segment is a multiple of CHUNK, so that it is cut into the same chunks as the whole.
        every = n_steps if problem.every is None else min(-(-problem.every // CHUNK) * CHUNK, n_steps)
        super().__init__(problem, every)
        self.constants = _Constants.of(problem)
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

        def task(rows: _Slice) -> None:
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

        def task(rows: _Slice) -> list[np.ndarray] | None:
            out = _Gathered(rows, direct, dx, all_g, "params" in wrt)
            self._run_back(rows, g[rows.rows], out)
            return out.d_params

        parts = self._each_slice(task)
        params = self._collect(parts) if "params" in wrt else None
        return Gradients(params, dx, g if "h0" in wrt else None, all_g)

    def _each_slice(self, task: Callable[[_Slice], Any]) -> list[Any]:
        """Call a task for every slice of the batch, each in a thread of its own, and return what they return."""
        batch = self.problem.h0.shape[0]
        with one_thread_each() as threads:
            count = max(1, min(threads, batch // ROWS_PER_SLICE))
            cuts = [batch * i // count for i in range(count + 1)]
            slices = [_Slice(self.problem, self.constants, slice(lo, hi)) for lo, hi in itertools.pairwise(cuts)]
            return run_all([functools.partial(task, rows) for rows in slices])

    def _memory(self, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return room for the states and the slopes of so many steps."""
        n, dtype, gates = self.problem.h0.shape[1], self.problem.h0.dtype, self.constants.gates
        return workspace.take((steps + 1, batch, n), dtype), workspace.take((steps, gates, batch, n), dtype)

    def _stop(self, start: int) -> int:
        return min(start + self.every, self.problem.n_steps)

    def _run_all_kept(self, rows: _Slice) -> None:
        states, slopes = self._kept
        states[0, rows.rows] = self.problem.h0[rows.rows]
        rows.forward(0, self.problem.n_steps, self._s[rows.rows], states[:, rows.rows], slopes[:, :, rows.rows])

    def _run_checkpointed(self, rows: _Slice) -> None:
        s = self._s[rows.rows]
        for i, start in enumerate(self.starts()):
            self._checkpoints[i, rows.rows] = s
            rows.forward(start, self._stop(start), s)

    def _recompute(self, rows: _Slice, start: int, states: np.ndarray, slopes: np.ndarray | None) -> None:
        """Fill the states and slopes of one segment again, for these rows."""
        s = self._checkpoints[start // self.every, rows.rows].copy()
        np.multiply(s, self.constants.scale, out=states[0])
        if start == 0:
            states[0] = self.problem.h0[rows.rows]
        rows.forward(start, self._stop(start), s, states, slopes)

    def _run_back(self, rows: _Slice, g: np.ndarray, out: _Gathered) -> None:
        """Run the whole backward pass of a slice."""
        if self._kept is not None:
            states, slopes = self._kept
            rows.backward(0, self.problem.n_steps, g, states[:, rows.rows], slopes[:, :, rows.rows], out)
            return
        states, slopes = self._memory(self.every, rows.b)
        for start in reversed(self.starts()):
            steps = self._stop(start) - start
            self._recompute(rows, start, states[: steps + 1], slopes[:steps])
            rows.backward(start, start + steps, g, states[: steps + 1], slopes[:steps], out)

    def _collect(self, parts: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the gradients of the parameters from those of the slices, added in their order."""
        totals = [functools.reduce(np.add, part) for part in zip(*parts, strict=True)]
        cell, n = self.problem.cell, self.problem.h0.shape[1]
        assert isinstance(cell, EulerCell)
        dA = totals[0][:, :n]
        pairs = [totals[0][:, n:]] if self.constants.gates == 1 else totals[1:]
        params = {"W": cell.recurrent_matrix_vjp(dA)}
        for (V, b), dV_b in zip((("V", "b"), ("V_z", "b_z")), pairs, strict=False):
            params |= {V: np.ascontiguousarray(dV_b[:, :-1]), b: dV_b[:, -1].copy()}
        return params

r"""The CPU engine: the two time loops, fast, in NumPy alone.

It computes what numrnn/bptt.py computes with the cells of numrnn/cells/, for the antisymmetric and the unstructured
cells, gated or not, in float32 and float64. What separates it from the reference, and why each step is exact but for
rounding:

1. A is built once a call, not once a step: it depends on the parameters only.
2. The state is carried as s = h / scale, scale = eps, or eps / 2 for a gated cell, and scale is put into the matrix
   that multiplies s. A step is then one addition:

       s_t = s_{t-1} + tanh(u)               eps z c = (eps / 2)(1 + w) c,   z = (1 + w) / 2,   w = tanh(u_z / 2)
       s_t = s_{t-1} + (c + w c)             of the gated cell

   The cotangent is carried as q = scale * g, and delta is its product with a slope that knows nothing of eps:

       delta = q (1 - c^2),                  or  delta = q (1 + w) (1 - c^2),   delta_z = q c (1 - w^2) / 2

   A row that holds its state has the slope 0: the steps of the backward pass need to know nothing of lengths.
3. Time is cut into chunks that stay in the cache. What does not go from step to step is done for a chunk at once: in
   the forward pass the products V x + b before its steps and the scaling of its states after them; in the backward pass
   the slopes before its steps, and after them dA, and [dV | db], as one product of all its deltas with all its rows h,
   and [x | 1], instead of one a step.
4. The rows of a batch are independent: each thread takes a slice of them through all of time, with BLAS held to one
   thread. Their parameter gradients are added at the end, in the order of the slices.

Memory: the states, and c of the same size (for a gated cell c and w). With checkpoints the states s at every k-th step,
k rounded up to a multiple of a chunk: then a recomputed chunk is the same chunk, bit for bit.
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
from numrnn.engines.threads import one_thread_each, run_all, unpacked_kernels
from numrnn.tape import CheckpointedStates, Gradients, Problem, Tape

CHUNK = 16  # steps; three arrays of so many states fit into the second-level cache of a core
ROWS_PER_SLICE = 32  # fewer rows a thread make the products too small to be worth a thread
UNPACKED_SIZE = 10**6  # OpenBLAS's AVX-512 kernels take products of up to so many multiplications without packing
UNPACKED_ROWS = 4  # with fewer rows they are slower than those that pack


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


def rows_per_product(rows: int, n: int) -> int:
    """Return how many rows of a slice to multiply with an (n, n) matrix at once: a divisor of `rows`, or all of them.

    A BLAS copies ("packs") both factors of a product before it multiplies them, which costs a sixth of the time of the
    products of one step. Some kernels do without up to a certain size.
    """
    if not unpacked_kernels():
        return rows
    most = min(rows, UNPACKED_SIZE // n**2)
    return next((r for r in range(most, UNPACKED_ROWS - 1, -1) if rows % r == 0), rows)


@dataclass(frozen=True, eq=False)
class _Constants:
    """What every slice reads: the parameters in the form in which the loops use them."""

    gates: int  # 1: candidate; 2: candidate and gate
    scale: float  # h = scale * s, q = scale * g
    shares: np.ndarray  # (2, 1, 1) = [1, 1/2]: of A h in u, and in u_z / 2
    A: np.ndarray  # (n, n), scale * A, for delta @ A
    A_T: np.ndarray  # (n, n), its transpose, for s @ A_T
    V_b: list[np.ndarray]  # one (m + 1, n) a gate, for [x | 1] @ V_b
    V: list[np.ndarray]  # one (n, m) a gate, for delta @ V

    @classmethod
    def of(cls, problem: Problem) -> _Constants:
        """Return the constants of a problem."""
        cell, params, dtype = problem.cell, problem.params, problem.h0.dtype
        assert isinstance(cell, EulerCell)
        gated = "V_z" in params
        scale = cell.step_size / 2 if gated else cell.step_size
        V_b = [np.vstack([params["V"].T, params["b"]]).astype(dtype)]
        V = [params["V"].astype(dtype)]
        if gated:
            V_b.append(0.5 * np.vstack([params["V_z"].T, params["b_z"]]).astype(dtype))  # w = tanh(u_z / 2)
            V.append(params["V_z"].astype(dtype))
        A = np.ascontiguousarray(scale * cell.recurrent_matrix(params["W"]), dtype)
        shares = np.array([1, 0.5], dtype)[:, None, None]
        return cls(1 + gated, scale, shares, A, np.ascontiguousarray(A.T), V_b, V)


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
        # The arrays of a step are (b, n), or (blocks, b / blocks, n) where the BLAS multiplies blocks of rows faster.
        block = rows_per_product(b, n)
        self.shape = (b, n) if block == b else (b // block, block, n)
        self.product: Any = np.dot if block == b else np.matmul
        self.u = workspace.take((gates, CHUNK, b, n), dtype)  # V x + b; in the backward pass the deltas
        self.c = workspace.take((CHUNK, gates, b, n), dtype)  # c and w without a tape; in the backward pass slopes
        self.s = workspace.take((CHUNK + 1, b, n), dtype)  # in the backward pass the sum of two deltas
        self.h = workspace.take((CHUNK, b, n), dtype)
        self.x_1 = workspace.take((CHUNK, b, self.m + 1), dtype)  # [x | 1]
        self.x_1[..., -1] = 1
        self.tmp = workspace.take((2, b, n), dtype)
        # Views of single steps, made once a call: what the loops do in Python holds the other threads up.
        self.s_steps, self.u_steps = list(self._in_blocks(self.s)), [list(self._in_blocks(u)) for u in self.u]
        self.slope_steps = [list(self._in_blocks(slope)) for slope in self.c.swapaxes(0, 1)]

    def _in_blocks(self, array: np.ndarray) -> np.ndarray:
        """Return a view of (..., b, n) or (..., b, 1) as (..., *self.shape)."""
        return array.reshape(*array.shape[:-2], *self.shape[:-1], array.shape[-1])

    def forward(self, start: int, stop: int, s: np.ndarray, states: Any = None, acts: Any = None) -> None:
        """Take s, (b, n), from step `start` to `stop`, in place.

        Unless they are None, fills states (stop - start + 1, b, n), all but the first, and acts (stop - start, gates,
        b, n), the activations c and w.
        """
        self.s[0] = s
        for first in range(start, stop, CHUNK):
            count, at = min(CHUNK, stop - first), first - start
            self._project(first, count)
            c = self.c[:count] if acts is None else acts[at : at + count]
            active = self._active(first, count)
            active = None if active is None else self._in_blocks(active)
            if self.constants.gates == 1:
                self._steps(active, c)
            else:
                self._gated_steps(active, c)
            if states is not None:
                np.multiply(self.s[1 : count + 1], self.constants.scale, out=states[at + 1 : at + count + 1])
            self.s[0] = self.s[count]
        s[...] = self.s[0]

    def _active(self, first: int, count: int) -> np.ndarray | None:
        """Return 1 where a row's sequence goes on and 0 where it has ended, (count, b, 1)."""
        return None if self.active is None else self.active[first : first + count].astype(self.s.dtype)

    def _project(self, first: int, count: int) -> None:
        """Fill u with V x + b, and for the gate with half of V_z x + b_z, for the steps of a chunk."""
        self.x_1[:count, :, :-1] = self.x[first : first + count]
        flat = self.x_1[:count].reshape(-1, self.m + 1)
        for V_b, u in zip(self.constants.V_b, self.u, strict=True):
            np.dot(flat, V_b, out=u[:count].reshape(-1, self.n))

    def _steps(self, active: np.ndarray | None, acts: np.ndarray) -> None:
        """Run the steps of a chunk, ungated; fill acts with c."""
        A_T, product, add, multiply, tanh = self.constants.A_T, self.product, np.add, np.multiply, np.tanh
        for t, (c_t, s_t, s_next, u_t) in enumerate(
            zip(self._in_blocks(acts[:, 0]), self.s_steps, self.s_steps[1:], self.u_steps[0], strict=False)
        ):
            product(s_t, A_T, c_t)
            add(c_t, u_t, c_t)  # (F2)
            tanh(c_t, c_t)  # (F3)
            if active is not None:
                multiply(c_t, active[t], c_t)
            add(s_t, c_t, s_next)  # (F4)

    def _gated_steps(self, active: np.ndarray | None, acts: np.ndarray) -> None:
        """Run the steps of a chunk, gated; fill acts with c and w, where w is tanh(u_z / 2)."""
        A_T, product, add, multiply, tanh = self.constants.A_T, self.product, np.add, np.multiply, np.tanh
        recurrent, update = self._in_blocks(self.tmp)
        shares = self.constants.shares.reshape(2, *(1 for _ in self.shape))
        u = self._in_blocks(self.u.swapaxes(0, 1))
        for t, (c_w, s_t, s_next, u_t) in enumerate(
            zip(self._in_blocks(acts), self.s_steps, self.s_steps[1:], u, strict=False)
        ):
            c_t, w_t = c_w
            product(s_t, A_T, recurrent)
            multiply(recurrent, shares, c_w)
            add(c_w, u_t, c_w)  # (F5) (F6)
            tanh(c_w, c_w)  # (F7)
            multiply(c_t, w_t, update)
            add(update, c_t, update)
            if active is not None:
                multiply(update, active[t], update)
            add(s_t, update, s_next)  # (F8)

    def _slopes(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Fill c with the slopes of a chunk, (count, gates, b, n), from its activations."""
        slopes = self.c[: len(acts)]
        np.multiply(acts, acts, out=slopes)
        np.subtract(1, slopes, out=slopes)
        if self.constants.gates == 2:
            c, w = acts[:, 0], acts[:, 1]
            slope, slope_z = slopes[:, 0], slopes[:, 1]
            slope_z *= 0.5
            slope_z *= c
            one_plus_w = np.add(w, 1, out=self.s[: len(acts)])
            slope *= one_plus_w
        if active is not None:
            slopes *= active[:, None]

    def backward(
        self, start: int, stop: int, q: np.ndarray, states: np.ndarray, acts: np.ndarray, out: _Gathered
    ) -> None:
        """Take q, that is scale dL/dh_stop (b, n), back to `start`, in place; add these steps' gradients to `out`."""
        for first in reversed(range(start, stop, CHUNK)):
            count, at = min(CHUNK, stop - first), first - start
            self._slopes(acts[at : at + count], self._active(first, count))
            self._steps_back(first, count, q, out)
            deltas = [delta[:count].reshape(-1, self.n) for delta in self.u]
            if out.d_params is not None:
                self.h[:count] = states[at : at + count]
                self.x_1[:count, :, :-1] = self.x[first : first + count]
                both = deltas[0] if len(deltas) == 1 else self.s[:count].reshape(-1, self.n)
                h, x_1 = self.h[:count].reshape(-1, self.n), self.x_1[:count].reshape(-1, self.m + 1)
                out.add([both, *deltas], [h, *(x_1 for _ in deltas)])
            if out.dx is not None:
                dx = sum(delta @ V for delta, V in zip(deltas, self.constants.V, strict=True))  # (B3) (B11)
                out.dx[first : first + count] = dx.reshape(count, self.b, self.m)

    def _steps_back(self, first: int, count: int, q: np.ndarray, out: _Gathered) -> None:
        """Run the steps of a chunk backwards; leave the deltas in u, and their sum in s where there are two."""
        A, product, add, multiply = self.constants.A, self.product, np.add, np.multiply
        q, from_delta = self._in_blocks(q), self._in_blocks(self.tmp)[0]
        gated, scale = self.constants.gates == 2, self.constants.scale
        slope, slope_z = self.slope_steps[0], self.slope_steps[-1]
        delta, delta_z, both = self.u_steps[0], self.u_steps[-1], self.s_steps
        for t in reversed(range(count)):
            multiply(slope[t], q, delta[t])  # (B1) (B7)
            if gated:
                multiply(slope_z[t], q, delta_z[t])  # (B8)
                add(delta[t], delta_z[t], both[t])  # (B9)
                product(both[t], A, from_delta)
            else:
                product(delta[t], A, from_delta)
            add(q, from_delta, q)  # (B2) (B10)
            if out.direct is not None:
                q += scale * self._in_blocks(out.direct[first + t])  # (B26)
            if out.all_g is not None:
                np.divide(q, scale, out=self._in_blocks(out.all_g[first + t]))


class _Gathered:
    """What a slice's backward pass takes from outside, and where it puts its gradients; None for those not wanted."""

    def __init__(self, rows: _Slice, direct: Any, dx: Any, all_g: Any, with_params: bool) -> None:
        self.direct = None if direct is None else direct[:, rows.rows]
        self.dx = None if dx is None else dx[:, rows.rows]
        self.all_g = None if all_g is None else all_g[:, rows.rows]
        n, m, gates, dtype = rows.n, rows.m, rows.constants.gates, rows.x.dtype
        # dA, [dV | db], and [dV_z | db_z] of a gated cell.
        shapes = [(n, n), *((n, m + 1) for _ in range(gates))]
        self.d_params = [np.zeros(shape, dtype) for shape in shapes] if with_params else None
        self._products = [np.empty(shape, dtype) for shape in shapes]

    def add(self, deltas: list[np.ndarray], rows: list[np.ndarray]) -> None:
        """Add the products delta^T row of a chunk; deltas are (steps x b, n), rows h and [x | 1]."""
        for total, product, delta, row in zip(self.d_params or (), self._products, deltas, rows, strict=True):
            np.dot(delta.T, row, out=product)  # (B5) (B4), (B14) (B12) (B13)
            total += product  # (B27)


class FusedTape(Tape):
    """The tape of this engine: states and activations, or the scaled state s at the start of every segment."""

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
            q = g[rows.rows]  # becomes dL/dh_0
            q *= self.constants.scale
            self._run_back(rows, q, out)
            q /= self.constants.scale
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
        """Return room for the states and the activations of so many steps."""
        n, dtype, gates = self.problem.h0.shape[1], self.problem.h0.dtype, self.constants.gates
        return workspace.take((steps + 1, batch, n), dtype), workspace.take((steps, gates, batch, n), dtype)

    def _stop(self, start: int) -> int:
        return min(start + self.every, self.problem.n_steps)

    def _run_all_kept(self, rows: _Slice) -> None:
        states, acts = self._kept
        states[0, rows.rows] = self.problem.h0[rows.rows]
        rows.forward(0, self.problem.n_steps, self._s[rows.rows], states[:, rows.rows], acts[:, :, rows.rows])

    def _run_checkpointed(self, rows: _Slice) -> None:
        s = self._s[rows.rows]
        for i, start in enumerate(self.starts()):
            self._checkpoints[i, rows.rows] = s
            rows.forward(start, self._stop(start), s)

    def _recompute(self, rows: _Slice, start: int, states: np.ndarray, acts: np.ndarray | None) -> None:
        """Fill the states and activations of one segment again, for these rows."""
        s = self._checkpoints[start // self.every, rows.rows].copy()
        np.multiply(s, self.constants.scale, out=states[0])
        if start == 0:
            states[0] = self.problem.h0[rows.rows]
        rows.forward(start, self._stop(start), s, states, acts)

    def _run_back(self, rows: _Slice, q: np.ndarray, out: _Gathered) -> None:
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
        cell = self.problem.cell
        assert isinstance(cell, EulerCell)
        params = {"W": cell.recurrent_matrix_vjp(totals[0])}
        for (V, b), dV_b in zip((("V", "b"), ("V_z", "b_z")), totals[1:], strict=False):
            params |= {V: np.ascontiguousarray(dV_b[:, :-1]), b: dV_b[:, -1].copy()}
        return params

"""The tape of the CUDA engine: the problems it supports, and the work before and after the kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, astype, empty
from numrnn.cells.antisymmetric import AntisymmetricMatrix, EulerStep
from numrnn.cells.base import overrides, same_step
from numrnn.cells.euler import as_euler
from numrnn.cells.gated import GatedEulerStep
from numrnn.cells.unstructured import UnstructuredMatrix
from numrnn.checks import dtype_name
from numrnn.engines.cuda.kernels import (
    FIRST_CAPABILITY,
    MOST_UNITS,
    SCALARS,
    Launcher,
    Layout,
    choose_layout,
    cupy_launcher,
)
from numrnn.problem import Problem
from numrnn.tape import Gradients, Tape

MATRICES = (AntisymmetricMatrix, UnstructuredMatrix)
FULL, TRIANGULAR, UNSTRUCTURED = range(3)  # enum Storage of cuda/product.cuh
NULL = np.uint64(0)


def unsupported_reason(problem: Problem, launcher: Launcher | None = None) -> str | None:
    """Return the part of the problem that this engine does not support, or None.

    Parameters
    ----------
    problem : Problem
        A forward pass.
    launcher : Launcher, optional
        Runs the kernels; by default, on the device of the arrays.
    """
    if launcher is None and array_namespace(problem.x).__name__ != "cupy":
        return f"arrays of {array_namespace(problem.x).__name__}"
    if dtype_name(problem.h0) not in SCALARS:
        return f"dtype {dtype_name(problem.h0)}"
    if _storage(problem) is None:
        matrix = getattr(problem.cell, "matrix", None)
        plain = matrix is None or (type(matrix) in MATRICES and not overrides(matrix, type(matrix)))
        other = "" if plain else f" with the matrix {type(matrix).__name__}"
        return f"the cell {type(problem.cell).__name__}{other}"
    n, most = problem.h0.shape[1], MOST_UNITS[dtype_name(problem.h0)]
    if n > most:
        return f"more than {most} units in {dtype_name(problem.h0)} (there are {n})"
    device = (launcher or _launcher_of(problem.x)).device
    on = f"on a GPU of compute capability {device.capability // 10}.{device.capability % 10}"
    if device.capability < FIRST_CAPABILITY:
        return f"arrays {on}; it needs {FIRST_CAPABILITY / 10}"
    if _layout(problem, launcher or _launcher_of(problem.x)) is None:
        return f"{n} units in {dtype_name(problem.h0)} {on} with {device.shared_bytes} bytes of shared memory per block"
    return None


def make_tape(problem: Problem) -> CudaTape:
    """Return a tape for a problem for which `unsupported_reason` is None.

    Notes
    -----
    `run` costs 2 T B n (n + m) flops, and T B ((1 + gates) n + m + 1) numbers of memory, where gates is 1, or 2 for a
    gated cell. Neither `run` nor `propagate` synchronises with the device.
    """
    return CudaTape(problem, _launcher_of(problem.x))


def _launcher_of(x: Array) -> Launcher:
    return cupy_launcher(array_namespace(x), x.device.id)


def _storage(problem: Problem) -> int | None:
    """Return how W stores the recurrent matrix, or None if the kernels do not support the matrix or the step."""
    cell: Any = problem.cell
    if not any(same_step(cell, own) for own in (EulerStep, GatedEulerStep)):
        return None
    # By type, not isinstance: a subclass may override `value`, and so may the object itself.
    matrix = cell.matrix
    if type(matrix) not in MATRICES or overrides(matrix, type(matrix)):
        return None
    return UNSTRUCTURED if type(matrix) is UnstructuredMatrix else TRIANGULAR if matrix.triangular else FULL


def _gates(problem: Problem) -> int:
    return 2 if "V_z" in problem.params else 1


def _layout(problem: Problem, launcher: Launcher) -> Layout | None:
    batch, n = problem.h0.shape
    sizes = dtype_name(problem.h0), n, _gates(problem), batch
    return choose_layout(*sizes, launcher.device, launcher.blocks_per_processor)


class CudaTape(Tape):
    """The tape of this engine: states and activations of all steps, or the state at the start of every segment."""

    def __init__(self, problem: Problem, launcher: Launcher) -> None:
        n_steps = problem.n_steps
        super().__init__(problem, n_steps if problem.every is None else min(problem.every, n_steps))
        self._launcher, self._xp, self._cell = launcher, array_namespace(problem.x), as_euler(problem.cell)
        layout, storage = _layout(problem, launcher), _storage(problem)
        assert layout is not None
        assert storage is not None
        self._layout, self._storage, self._gates = layout, np.int32(storage), _gates(problem)
        self._kept: Any = None  # the one segment, if all states are kept
        self._checkpoints: list[Array] = []

    def run(self) -> None:
        """Run the forward pass."""
        problem = self.problem
        with self._device():
            xp, params, dtype = self._xp, problem.params, problem.h0.dtype
            self._W = xp.ascontiguousarray(params["W"], dtype)
            self._V = astype(_joined(xp, [params[name] for name in ("V", "V_z")[: self._gates]]), dtype)
            b = astype(_joined(xp, [params[name] for name in ("b", "b_z")[: self._gates]]), dtype)
            self._V_b = xp.concatenate([self._V, b[:, None]], axis=1)  # (gates n, m + 1), for [x | 1]
            active = problem.active
            self._lengths = NULL if active is None else xp.ascontiguousarray(astype(active, np.int32).sum(0), np.int32)
            h = problem.h0
            if problem.every is None:
                self._kept = self._run(0, h)
                self._states = self._kept[0]
                return
            for start in self.starts():
                self._checkpoints.append(h)
                h = self._run(start, h)[0][-1].copy()
            self._checkpoints.append(h)

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self._checkpoints[-1] if self._kept is None else self._states[-1]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from its kept state."""
        return self._segment(start)[0]

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        problem, xp = self.problem, self._xp
        with self._device():
            g = xp.ascontiguousarray(g)  # becomes dL/dh_0
            dx = empty(problem.x.shape, like=g) if "x" in wrt else None
            all_g = empty((problem.n_steps + 1, *g.shape), like=g) if "states" in wrt else None
            if all_g is not None:
                all_g[-1] = g
            totals: list[Array] = []
            for start in reversed(self.starts()):
                states, acts, inputs = self._segment(start)
                deltas, sums = self._run_back(start, acts, g, direct, all_g)
                stop = start + len(acts)
                if "params" in wrt:
                    dA = _flat(sums).T @ _flat(states[:-1])  # (B5) (B14)
                    dV_b = _flat(deltas).T @ _flat(inputs)  # (B4) (B12) (B13)
                    parts = [dA, dV_b]
                    totals = [a + b for a, b in zip(totals, parts, strict=True)] if totals else parts  # (B27)
                if dx is not None:
                    xp.dot(_flat(deltas), self._V, out=_flat(dx[start:stop]))  # (B3) (B11)
            params = self._collect(*totals) if totals else None
        return Gradients(params, dx, g if "h0" in wrt else None, all_g)

    def _device(self) -> Any:
        """Return a context in which the arrays' device is the current one."""
        return self.problem.x.device if self._xp.__name__ == "cupy" else contextlib.nullcontext()

    def _segment(self, start: int) -> tuple[Array, Array, Array]:
        """Return states, activations and inputs of a segment, as `_run` does."""
        if self._kept is not None:
            return self._kept
        with self._device():
            return self._run(start, self._checkpoints[start // self.every])

    def _run(self, start: int, h: Array) -> tuple[Array, Array, Array]:
        """Return states (steps + 1, B, n), activations (steps, B, gates, n) and [x | 1] of a segment, starting at h."""
        stop = min(start + self.every, self.problem.n_steps)
        batch, n = h.shape
        states = empty((stop - start + 1, batch, n), like=h)
        states[0] = h
        acts = empty((stop - start, batch, self._gates, n), like=h)
        x = self.problem.x[start:stop]
        inputs = self._xp.concatenate([x, self._xp.ones((*x.shape[:2], 1), x.dtype)], axis=2)
        self._xp.dot(_flat(inputs), self._V_b.T, out=_flat(acts))
        self._launch("forward", start, stop, states, acts)
        return states, acts, inputs

    def _run_back(self, start: int, acts: Array, g: Array, direct: Any, all_g: Any) -> tuple[Array, Array]:
        """Propagate g back over a segment in place; return the deltas, shaped as acts, and their sums over gates."""
        stop = start + len(acts)
        deltas = empty(acts.shape, like=acts)
        sums = empty((*acts.shape[:2], acts.shape[3]), like=acts) if self._gates == 2 else deltas[:, :, 0]
        direct = NULL if direct is None else self._xp.ascontiguousarray(direct[start:stop])
        all_g = NULL if all_g is None else all_g[start:stop]
        self._launch("backward", start, stop, acts, direct, deltas, sums, g, all_g)
        return deltas, sums

    def _launch(self, kernel: str, start: int, stop: int, *arrays: Any) -> None:
        """Run a kernel over the steps from `start` to `stop`."""
        cell, layout, gates = self._cell, self._layout, self._gates
        batch, n = self.problem.h0.shape
        scalar = np.dtype(layout.dtype).type
        numbers = (
            scalar(cell.step_size),
            scalar(cell.matrix.diffusion),
            *map(np.int32, (n, batch, stop - start, start)),
        )
        self._launcher(
            layout.name(kernel, gates),
            layout.blocks(batch),
            layout.threads,
            layout.shared_bytes(kernel, gates),
            (self._W, self._storage, *numbers, self._lengths, *arrays),
        )

    def _collect(self, dA: Array, dV_b: Array) -> dict[str, Array]:
        """Return the gradients of the parameters under their names."""
        n = self._cell.hidden_size
        params = {"W": self._cell.matrix.adjoint(dA)}
        for gate, (V, b) in enumerate((("V", "b"), ("V_z", "b_z"))[: self._gates]):
            rows = dV_b[gate * n : (gate + 1) * n]
            params |= {V: self._xp.ascontiguousarray(rows[:, :-1]), b: rows[:, -1].copy()}
        return params


def _joined(xp: Any, arrays: list[Array]) -> Array:
    """Return the arrays stacked vertically; a single one unchanged."""
    return arrays[0] if len(arrays) == 1 else xp.concatenate(arrays)


def _flat(array: Array) -> Array:
    """Return the array as a matrix with steps and rows of the batch as rows, the rest as columns. No copy."""
    return array.reshape(array.shape[0] * array.shape[1], -1)

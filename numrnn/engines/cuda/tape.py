"""The tape of the CUDA engine: the problems it supports, and the work before and after the kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, astype, empty
from numrnn.cells.antisymmetric import AntisymmetricMatrix, EulerStep
from numrnn.cells.base import overrides, same_step
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedEulerStep
from numrnn.cells.lstm import LSTMCell
from numrnn.cells.unstructured import UnstructuredMatrix
from numrnn.checks import dtype_name
from numrnn.engines.cuda import lstm
from numrnn.engines.cuda.euler import FULL, TRIANGULAR, UNSTRUCTURED, EulerRecurrence, Outputs, Recurrence, variant_of
from numrnn.engines.cuda.families import has_run, unproven_are_wanted
from numrnn.engines.cuda.kernels import (
    MESSAGES_NVRTC,
    MOST_UNITS,
    SCALARS,
    Device,
    Launcher,
    Layout,
    choose_layout,
    cupy_launcher,
)
from numrnn.engines.cuda.lean import NULL, LeanLayout, LeanRecurrence, input_width
from numrnn.engines.cuda.trace import TracedTape, untraceable_reason
from numrnn.problem import Problem
from numrnn.tape import Gradients, Tape

MATRICES = (AntisymmetricMatrix, UnstructuredMatrix)
FIRST_CAPABILITY = 75


def unsupported_reason(problem: Problem, launcher: Launcher | None = None) -> str | None:
    """Return the part of the problem that this engine does not support, or None.

    What the kernels of whole sequences do not support is traced (`numrnn.engines.cuda.trace`).

    Parameters
    ----------
    problem : Problem
        A forward pass.
    launcher : Launcher, optional
        Runs the kernels; by default, on the device of the arrays.
    """
    reason = kernels_reason(problem, launcher)
    if reason is None or (launcher is None and array_namespace(problem.x).__name__ != "cupy"):
        return reason
    untraceable = untraceable_reason(problem)
    return None if untraceable is None else f"{reason}, nor can its step be traced: {untraceable}"


def kernels_reason(problem: Problem, launcher: Launcher | None = None) -> str | None:
    """Return what the kernels of whole sequences do not support of a problem, or None; see `unsupported_reason`."""
    if launcher is None and array_namespace(problem.x).__name__ != "cupy":
        return f"arrays of {array_namespace(problem.x).__name__}"
    if dtype_name(problem.h0) not in SCALARS:
        return f"dtype {dtype_name(problem.h0)}"
    families = _families(problem)
    if not families:
        matrix = getattr(problem.cell, "matrix", None)
        plain = matrix is None or (type(matrix) in MATRICES and not overrides(matrix, type(matrix)))
        other = "" if plain else f" with the matrix {type(matrix).__name__}"
        return f"the cell {type(problem.cell).__name__}{other}"
    n, dtype = problem.cell.hidden_size, dtype_name(problem.h0)
    most = lstm.MOST_UNITS if "lstm" in families else MOST_UNITS[dtype]
    if n > most:
        return f"more than {most} units in {dtype} (there are {n})"
    launcher = launcher or _launcher_of(problem.x)
    device = launcher.device
    on = f"on a GPU of compute capability {device.capability // 10}.{device.capability % 10}"
    if device.capability < FIRST_CAPABILITY:
        return f"arrays {on}; it needs {FIRST_CAPABILITY / 10}"
    if _choice(problem, launcher) is None:
        if device.nvrtc < MESSAGES_NVRTC and _choice(problem, launcher, replace(device, nvrtc=MESSAGES_NVRTC)):
            return f"{n} units in {dtype} {on} with NVRTC {_version(device.nvrtc)}; it needs {_version(MESSAGES_NVRTC)}"
        return f"{n} units in {dtype} {on} with {device.shared_bytes} bytes of shared memory per block"
    return None


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def unproven_reason(problem: Problem, launcher: Launcher | None = None) -> str | None:
    """Return what has not run on a card yet, of a supported problem; None if all has, or if that is wanted.

    Parameters are those of `unsupported_reason`.
    """
    launcher = launcher or _launcher_of(problem.x)
    reason, device = kernels_reason(problem, launcher), launcher.device
    chosen = None if reason else _choice(problem, launcher)
    family = "trace" if chosen is None else chosen[0]
    if unproven_are_wanted() or has_run(family, device.capability, problem.cell.hidden_size):
        return None
    if reason is not None:
        return reason
    units = f"{problem.cell.hidden_size} units"
    on = f"a GPU of compute capability {device.capability // 10}.{device.capability % 10}"
    return f"the cell {type(problem.cell).__name__} with {units} on {on}"


def make_tape(problem: Problem, launcher: Launcher | None = None) -> CudaTape | TracedTape:
    """Return a tape for a problem for which `unsupported_reason` is None.

    Notes
    -----
    `run` costs 2 T B n (n + m) flops, and T B ((1 + gates) n + m + 1) numbers of memory, where gates is 1, 2 for a
    gated cell, or 4 for the LSTM, whose states take n more. Neither `run` nor `propagate` synchronises with the device.
    """
    launcher = launcher or _launcher_of(problem.x)
    return TracedTape(problem) if kernels_reason(problem, launcher) else CudaTape(problem, launcher)


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


def _families(problem: Problem) -> tuple[str, ...]:
    """Return the families of kernels for the cell, the one to use first; none for a cell without support."""
    if same_step(problem.cell, LSTMCell):
        return ("lstm",)
    if same_step(problem.cell, ElmanCell):
        return ("lean",)
    if _storage(problem) is None:
        return ()
    return ("lean", "euler") if unproven_are_wanted() else ("euler", "lean")


def _choice(
    problem: Problem, launcher: Launcher, device: Device | None = None
) -> tuple[str, Layout | lstm.LSTMLayout] | None:
    """Return the family of kernels and the layout for a problem, or None if the device supports none."""
    batch, n, dtype, device = (
        len(problem.h0),
        problem.cell.hidden_size,
        dtype_name(problem.h0),
        device or launcher.device,
    )
    layout: Layout | lstm.LSTMLayout | None
    for family in _families(problem):
        if family == "lstm":
            layout = lstm.choose_lstm_layout(dtype, n, batch, device, launcher.blocks_per_processor)
        else:
            kind, inputs = (LeanLayout, input_width(problem.cell.input_size)) if family == "lean" else (Layout, 0)
            occupancy = launcher.blocks_per_processor
            layout = choose_layout(dtype, n, variant_of(problem), batch, device, occupancy, kind, inputs)
        if layout is not None:
            return family, layout
    return None


def _recurrence(problem: Problem, launcher: Launcher) -> Recurrence:
    """Return what the chosen kernels compute."""
    chosen = _choice(problem, launcher)
    assert chosen is not None
    if isinstance(chosen[1], lstm.LSTMLayout):
        return lstm.LSTMRecurrence(problem, chosen[1])
    storage = UNSTRUCTURED if isinstance(problem.cell, ElmanCell) else _storage(problem)
    assert storage is not None
    if isinstance(chosen[1], LeanLayout):
        return LeanRecurrence(problem, chosen[1], storage)
    return EulerRecurrence(problem, chosen[1], storage)


class CudaTape(Tape):
    """The tape of this engine: states and activations of all steps, or the state at the start of every segment."""

    def __init__(self, problem: Problem, launcher: Launcher) -> None:
        n_steps = problem.n_steps
        super().__init__(problem, n_steps if problem.every is None else min(problem.every, n_steps))
        self._launcher, self._xp = launcher, array_namespace(problem.x)
        self._recurrence = _recurrence(problem, launcher)
        self._kept: Any = None  # the one segment, if all states are kept
        self._checkpoints: list[Array] = []

    @property
    def multiplies(self) -> bool:
        """Whether cuBLAS computes a part of a pass for the gradients of the parameters."""
        return self._recurrence.multiplies

    def run(self) -> None:
        """Run the forward pass."""
        problem = self.problem
        with self._device():
            xp, params, dtype = self._xp, problem.params, problem.h0.dtype
            self._W, self._V, self._b = self._recurrence.weights(params, dtype)
            if not self._recurrence.projects:
                self._V_b = xp.concatenate([self._V, self._b[:, None]], axis=1)  # (gates n, m + 1), for [x | 1]
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
                segment = self._segment(start)
                outputs = self._run_back(start, segment, g, direct, all_g, wrt)
                if "params" in wrt:
                    parts = self._of_parameters(start, segment, outputs)
                    totals = [a + b for a, b in zip(totals, parts, strict=True)] if totals else parts  # (B27)
                if dx is not None:
                    part = dx[start : start + len(segment[1])]
                    xp.dot(_flat(outputs.deltas), self._V, out=_flat(part))  # (B3) (B11) (B17) (B24)
            params = self._gradients(*totals) if totals else None
        return Gradients(params, dx, g if "h0" in wrt else None, all_g)

    def _of_parameters(self, start: int, segment: tuple[Array, Array, Array], outputs: Outputs) -> list[Array]:
        """Return the gradients of A, and of V and b together, over a segment."""
        states, _, inputs = segment
        if outputs.dA is not None:
            dA = outputs.dA.sum(0)
        else:
            dA = _flat(outputs.sums).T @ _flat(self._multiplied(start, states[:-1]))  # (B5) (B14) (B18) (B25)
        if outputs.dV_b is not None:
            return [dA, outputs.dV_b.sum(0)]
        return [dA, _flat(outputs.deltas).T @ _flat(inputs)]  # (B4) (B12) (B13) (B18) (B25)

    def _gradients(self, dA: Array, dV_b: Array) -> dict[str, Array]:
        """Return the gradients of the parameters; dV_b is [dV | db], or of kernels that add it up dV and then db."""
        if dV_b.ndim == 2:
            return self._recurrence.gradients(dA, dV_b[:, :-1], dV_b[:, -1])
        dV = dV_b[: self._V.size].reshape(self._V.shape)
        return self._recurrence.gradients(dA, dV, dV_b[self._V.size :])

    def _multiplied(self, start: int, states: Array) -> Array:
        """Return h of the states from which steps run, 0 where a row keeps its state: it may be infinite there."""
        h, active = self._recurrence.hidden(states), self.problem.active
        return h if active is None else self._xp.where(active[start : start + len(h)], h, 0)

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
        """Return states (steps + 1, B, state_size), activations (steps, B, gates n) and inputs of a segment from h.

        The inputs are x if the kernels compute V x + b, else [x | 1].
        """
        stop = min(start + self.every, self.problem.n_steps)
        states = empty((stop - start + 1, *h.shape), like=h)
        states[0] = h
        acts = empty((stop - start, len(h), len(self._V)), like=h)
        x = self.problem.x[start:stop]
        if self._recurrence.projects:
            inputs = self._xp.ascontiguousarray(x, h.dtype)
        else:
            inputs = self._xp.concatenate([x, self._xp.ones((*x.shape[:2], 1), x.dtype)], axis=2)
            self._xp.dot(_flat(inputs), self._V_b.T, out=_flat(acts))
        arguments = self._recurrence.forward_arguments(self._V, self._b, inputs, states, acts)
        self._launch("forward", start, stop, *arguments)
        return states, acts, inputs

    def _run_back(
        self,
        start: int,
        segment: tuple[Array, Array, Array],
        g: Array,
        direct: Any,
        all_g: Any,
        wrt: Collection[str],
    ) -> Outputs:
        """Propagate g back over a segment in place; return what else the kernel writes."""
        states, acts, inputs = segment
        stop = start + len(acts)
        outputs = self._recurrence.outputs(acts, inputs, wrt)
        direct = NULL if direct is None else self._xp.ascontiguousarray(direct[start:stop])
        all_g = NULL if all_g is None else all_g[start:stop]
        arguments = self._recurrence.backward_arguments(states, acts, inputs, direct, outputs)
        self._launch("backward", start, stop, *arguments, g, all_g)
        return outputs

    def _launch(self, kernel: str, start: int, stop: int, *arrays: Any) -> None:
        """Run a kernel over the steps from `start` to `stop`."""
        batch, n = len(self.problem.h0), self.problem.cell.hidden_size
        numbers = map(np.int32, (n, batch, stop - start, start))
        arguments = (self._W, *self._recurrence.scalars(), *numbers, self._lengths, *arrays)
        self._launcher(*self._recurrence.launch(kernel, batch), arguments)


def _flat(array: Array) -> Array:
    """Return the array as a matrix with steps and rows of the batch as rows, the rest as columns. No copy."""
    return array.reshape(array.shape[0] * array.shape[1], -1)

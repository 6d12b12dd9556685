"""One pass of the CPU engine: all that its slices read and write, and what is done with a slice from end to end.

A pass is told which rows to take, and does not care where: in a thread, or pickled, in another process, to which its
large arrays are places in shared memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from numrnn.engines import workspace
from numrnn.engines.numpy_slices import Constants, Gathered, Slice, steps_per_chunk
from numrnn.tape import Problem


class Pass:
    """Forward and backward over all time, for any rows.

    Parameters
    ----------
    problem : Problem
        What to run.
    kind : type of Slice
        How its cell is run.
    make : callable
        make(shape, dtype) returns an array that all who run slices can see.
    rows : int
        In a slice, for which the length of a chunk is chosen; it stays whatever slices run later.

    Attributes
    ----------
    every : int
        Steps in a segment: T, or the distance of the checkpoints.
    s : numpy.ndarray, shape (B, state_size)
        The state over `constants.scale`; h_0 before `forward` and h_T after it.
    states, acts : numpy.ndarray or None
        All states (T + 1, B, state_size) and activations (T, activations, B, n); None with checkpoints.
    checkpoints : numpy.ndarray or None
        s at the start of every segment, (segments, B, state_size).
    """

    def __init__(self, problem: Problem, kind: type[Slice], make: Callable[..., np.ndarray], rows: int) -> None:
        self.kind, self.make, self.n_steps = kind, make, problem.n_steps
        constants = kind.prepare(problem)
        chunk = steps_per_chunk(rows, problem.cell.hidden_size, problem.h0.dtype)
        A, A_T = self.visible(constants.A), self.visible(constants.A_T)
        self.constants: Constants = replace(constants, A=A, A_T=A_T, chunk=chunk)
        self.n, self.parts = problem.cell.hidden_size, problem.cell.state_size // problem.cell.hidden_size
        self.x, self.active, self.h0 = self.visible(problem.x), problem.active, self.visible(problem.h0)
        # A segment is a multiple of a chunk, so that it is cut into the same chunks as the whole.
        whole = problem.every is None
        self.every = self.n_steps if whole else min(-(-(problem.every or 1) // chunk) * chunk, self.n_steps)
        self.s = self.visible(problem.h0 / self.constants.scale)
        self.states = self.acts = self.checkpoints = None
        if whole:
            self.states, self.acts = self.memory(self.n_steps, len(self.h0), make)
            self.states[0] = self.h0
        else:
            self.checkpoints = workspace.take((-(-self.n_steps // self.every), *self.h0.shape), self.h0.dtype, make)

    def visible(self, array: np.ndarray) -> np.ndarray:
        """Return an array that all who run slices can see: a copy, unless any array will do."""
        if self.make is np.empty:
            return array
        copy = workspace.take(array.shape, array.dtype, self.make)
        copy[...] = array
        return copy

    def memory(
        self, steps: int, batch: int, make: Callable[..., np.ndarray] = np.empty
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return room for the states and the activations of so many steps."""
        dtype = self.h0.dtype
        states = workspace.take((steps + 1, batch, self.parts * self.n), dtype, make)
        return states, workspace.take((steps, self.kind.activations, batch, self.n), dtype, make)

    def stop(self, start: int) -> int:
        """Return the end of the segment that starts there."""
        return min(start + self.every, self.n_steps)

    def slice_of(self, rows: slice) -> Slice:
        """Return the scratch for these rows."""
        return self.kind(self.constants, self.x, self.active, self.n, self.parts, rows)

    def forward(self, rows: slice) -> None:
        """Take these rows of s from 0 to T; fill their states and activations, or their checkpoints."""
        part, s = self.slice_of(rows), self.s[rows]
        if self.states is not None and self.acts is not None:
            part.forward(0, self.n_steps, s, self.states[:, rows], self.acts[:, :, rows])
            return
        assert self.checkpoints is not None
        for i, start in enumerate(range(0, self.n_steps, self.every)):
            self.checkpoints[i, rows] = s
            part.forward(start, self.stop(start), s)

    def segment(self, rows: slice, start: int, states: np.ndarray) -> None:
        """Fill the states of one segment, (steps + 1, B, state_size), for these rows."""
        self._recompute(self.slice_of(rows), start, states[:, rows], None)

    def backward(
        self, rows: slice, q: np.ndarray, direct: Any, dx: Any, all_g: Any, with_params: bool
    ) -> list[np.ndarray] | None:
        """Take these rows of q from dL/dh_T to dL/dh_0, and return their sums for the gradients of the parameters.

        Parameters
        ----------
        rows : slice
            Of the batch.
        q : numpy.ndarray, shape (B, state_size)
            Written in place.
        direct : numpy.ndarray, shape (T + 1, B, state_size), or None
            The loss's own derivatives.
        dx, all_g : numpy.ndarray or None
            Where to put dL/dx_t and dL/dh_t.
        with_params : bool
            Whether the gradients of the parameters are wanted.
        """
        part, own = self.slice_of(rows), q[rows]
        out = Gathered(rows, direct, dx, all_g, part.zero_totals() if with_params else None)
        own *= self.constants.scale
        if self.states is not None and self.acts is not None:
            part.backward(0, self.n_steps, own, self.states[:, rows], self.acts[:, :, rows], out)
        else:
            states, acts = self.memory(self.every, part.b)
            for start in reversed(range(0, self.n_steps, self.every)):
                steps = self.stop(start) - start
                self._recompute(part, start, states[: steps + 1], acts[:steps])
                part.backward(start, start + steps, own, states[: steps + 1], acts[:steps], out)
        own /= self.constants.scale
        return out.d_params

    def _recompute(self, part: Slice, start: int, states: np.ndarray, acts: np.ndarray | None) -> None:
        """Fill the states and activations of one segment again, for the rows of a slice."""
        assert self.checkpoints is not None
        s = self.checkpoints[start // self.every, part.rows].copy()
        np.multiply(s, self.constants.scale, out=states[0])
        if start == 0:
            states[0] = self.h0[part.rows]
        part.forward(start, self.stop(start), s, states, acts)

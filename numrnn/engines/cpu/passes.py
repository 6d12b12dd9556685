"""One pass of the CPU engine: the arrays that its slices read and write, and the work on one slice from start to end.

A pass is given the rows to work on, either in a thread or, pickled, in another process; its large arrays are then
pickled as references to shared memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from numrnn.engines.cpu import shared_memory, workspace
from numrnn.engines.cpu.slices import BackwardBuffers, Constants, Slice, steps_per_chunk
from numrnn.problem import Problem
from numrnn.subnormals import flush_subnormals

Shape = tuple[int, ...]


class Pass:
    """Forward and backward over all steps, for any rows.

    Its methods are tasks, each for some rows, in any thread or process. They flush subnormal numbers, and an
    interrupted one can be run again: they write only to memory that no task of the same pass reads.

    Parameters
    ----------
    problem : Problem
        The forward pass to run.
    kind : type of Slice
        The slice class of its cell.
    shared : bool
        Whether to use memory that worker processes see, if available.
    rows : int
        Rows per slice, from which the chunk length is chosen; later slices of other sizes keep that length.

    Attributes
    ----------
    every : int
        Steps per segment: T, or the distance between kept states.
    states, acts : numpy.ndarray or None
        All states (T + 1, B, state_size) and activations (T, activations, B, n); None with `recompute_every`.
    checkpoints, final : numpy.ndarray or None
        The state divided by `constants.scale` at the start of every segment, (segments, B, state_size), and h_T.
    """

    def __init__(self, problem: Problem, kind: type[Slice], shared: bool, rows: int) -> None:
        self.kind, self.n_steps, self._share = kind, problem.n_steps, shared
        self.n, self.parts = problem.cell.hidden_size, problem.cell.state_size // problem.cell.hidden_size
        chunk = steps_per_chunk(rows, self.n, problem.h0.dtype)
        # A segment is a multiple of a chunk, so that it has the same chunks as the whole pass.
        whole = problem.every is None
        self.every = self.n_steps if whole else min(-(-(problem.every or 1) // chunk) * chunk, self.n_steps)
        constants, state, segments = kind.prepare(problem), problem.h0.shape, -(-self.n_steps // self.every)
        given = {"A": constants.A, "A_T": constants.A_T, "x": problem.x, "h0": problem.h0, "active": problem.active}
        if whole:
            made = {"acts": self._acts_shape(self.n_steps, len(problem.h0))}
        else:
            made = {"checkpoints": (segments, *state), "final": state}
        own = room(given, made, problem.h0.dtype, shared)
        self.constants: Constants = replace(constants, A=own["A"], A_T=own["A_T"], chunk=chunk)
        self.x, self.h0, self.active = own["x"], own["h0"], own["active"]
        self.acts, self.checkpoints, self.final = (own.get(name) for name in ("acts", "checkpoints", "final"))
        # In their own region: a reference to the states keeps nothing else alive.
        self.states = None
        if whole:
            self.states = self.take((self.n_steps + 1, *state))
            self.states[0] = self.h0

    def visible(self, *others: Any) -> bool:
        """Tell whether worker processes see its arrays and those in `others`; False once the process has forked."""
        if not self._share:
            return False
        held = (self.x, self.states, self.acts, self.checkpoints, *others)
        return shared_memory.visible(array for array in held if isinstance(array, np.ndarray))

    def take(self, shape: Shape) -> np.ndarray:
        """Return an array for results, visible to workers if those of the pass are."""
        return room({}, {"it": shape}, self.h0.dtype, self.visible())["it"]

    def _acts_shape(self, steps: int, batch: int) -> Shape:
        return steps, self.kind.activations, batch, self.n

    def stop(self, start: int) -> int:
        """Return the end of the segment that starts at `start`."""
        return min(start + self.every, self.n_steps)

    def slice_of(self, rows: slice) -> Slice:
        """Return a slice, with its scratch memory, for these rows."""
        return self.kind(self.constants, self.x, self.active, self.n, self.parts, rows)

    def forward(self, rows: slice) -> None:
        """Fill the states and activations of these rows, or their checkpoints and final state."""
        with flush_subnormals():
            part, s = self.slice_of(rows), self.h0[rows] / self.constants.scale
            if self.states is not None and self.acts is not None:
                part.forward(0, self.n_steps, s, self.states[:, rows], self.acts[:, :, rows])
                return
            assert self.checkpoints is not None
            assert self.final is not None
            for i, start in enumerate(range(0, self.n_steps, self.every)):
                self.checkpoints[i, rows] = s
                part.forward(start, self.stop(start), s)
            np.multiply(s, self.constants.scale, out=self.final[rows])

    def segment(self, rows: slice, start: int, states: np.ndarray) -> None:
        """Fill the states of one segment, (steps + 1, B, state_size), for these rows."""
        with flush_subnormals():
            self._recompute(self.slice_of(rows), start, states[:, rows], None)

    def backward(
        self, rows: slice, g: np.ndarray, direct: Any, dx: Any, all_g: Any, with_params: bool
    ) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """Return dL/dh_0 of these rows, and their contributions to the parameter gradients.

        Parameters
        ----------
        rows : slice
            Rows of the batch.
        g : numpy.ndarray, shape (B, state_size)
            dL/dh_T.
        direct : numpy.ndarray, shape (T + 1, B, state_size), or None
            The loss's direct derivatives.
        dx, all_g : numpy.ndarray or None
            Outputs for dL/dx_t and dL/dh_t; None if not requested.
        with_params : bool
            Whether the parameter gradients are requested.
        """
        with flush_subnormals():
            part, q = self.slice_of(rows), g[rows] * self.constants.scale
            out = BackwardBuffers(rows, direct, dx, all_g, part.zero_totals() if with_params else None)
            if self.states is not None and self.acts is not None:
                part.backward(0, self.n_steps, q, self.states[:, rows], self.acts[:, :, rows], out)
            else:
                states = workspace.take((self.every + 1, part.b, self.parts * self.n), q.dtype)
                acts = workspace.take(self._acts_shape(self.every, part.b), q.dtype)
                for start in reversed(range(0, self.n_steps, self.every)):
                    steps = self.stop(start) - start
                    self._recompute(part, start, states[: steps + 1], acts[:steps])
                    part.backward(start, start + steps, q, states[: steps + 1], acts[:steps], out)
            q /= self.constants.scale
            return q, out.d_params

    def _recompute(self, part: Slice, start: int, states: np.ndarray, acts: np.ndarray | None) -> None:
        """Recompute the states and activations of one segment, for the rows of a slice."""
        assert self.checkpoints is not None
        s = self.checkpoints[start // self.every, part.rows].copy()
        np.multiply(s, self.constants.scale, out=states[0])
        if start == 0:
            states[0] = self.h0[part.rows]
        part.forward(start, self.stop(start), s, states, acts)


def room(given: Mapping[str, np.ndarray | None], made: Mapping[str, Shape], dtype: Any, shared: bool) -> dict[str, Any]:
    """Return `given` and uninitialised arrays of the shapes in `made`, by name.

    With `shared` all lie in one region that workers see, the given ones as copies, if such memory is available.
    """
    if shared:
        arrays = {name: array for name, array in given.items() if array is not None}
        shapes = [(array.shape, array.dtype) for array in arrays.values()]
        region = shared_memory.arena([*shapes, *((shape, dtype) for shape in made.values())])
        if region is not None:
            for copy, array in zip(region, arrays.values(), strict=False):
                copy[...] = array
            return {**given, **dict(zip([*arrays, *made], region, strict=True))}
    return {**given, **{name: workspace.take(shape, dtype) for name, shape in made.items()}}

r"""The time loop and its adjoint: backpropagation through time, for every cell.

    forward    h_t = step(params, x_t, h_{t-1}),                                   t = 1..T          (F16)
    backward   g_T = dL/dh_T,   (dparams_t, dx_t, g) = step_vjp(x_t, h_{t-1}, g_t),
               g_{t-1} = g + (the loss's own derivative with respect to h_{t-1}),  t = T..1          (B26)
               dparams = sum over t of dparams_t                                                     (B27)

This is the reference engine: the plainest loops that are right, for any array library. The tape holds states only;
step_vjp computes the rest again. With checkpoints the tape holds every k-th state only, and the backward pass
recomputes k states at a time: the same numbers bit for bit, at the price of one more forward pass.

`numrnn.forward` and `numrnn.backward` check the arguments and come here. Derivation: docs/derivation.md, section 7.

References
----------
P. J. Werbos, "Backpropagation Through Time: What It Does and How to Do It", Proceedings of the IEEE 78(10), 1990.
T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, 2016.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from numrnn.backend import Array, array_namespace, empty, zeros
from numrnn.blas import one_thread_each
from numrnn.cells.base import unchecked
from numrnn.tape import Gradients, Problem, Tape

SMALL_PRODUCT = 2**24  # multiplications of h with a matrix: a tenth of a millisecond on one core


def run(problem: Problem) -> Tape:
    """Run a forward pass and return its tape; `tape.states` are the states.

    Notes
    -----
    Costs T steps, and (T + 1) B state_size numbers of memory, or with checkpoints (T / k + 2) B state_size.
    """
    return FullTape(problem) if problem.every is None else CheckpointTape(problem, problem.every)


def one_blas_thread(problem: Problem) -> AbstractContextManager[Any]:
    """Return a context in which BLAS multiplies in the caller's thread, where products are too small to be shared.

    Its own threads would not flush subnormal numbers, as the caller's does (numrnn/subnormals.py).
    """
    small = problem.h0.shape[0] * problem.cell.hidden_size * problem.cell.state_size <= SMALL_PRODUCT
    return one_thread_each() if small and array_namespace(problem.h0) is np else nullcontext()


class ReferenceTape(Tape):
    """The two loops, over whatever states the tape holds."""

    def advance(self, t: int, h: Array) -> Array:
        """Return h_{t+1} from h_t; a row whose sequence has ended holds its state."""
        cell, params, x, active = self.problem.cell, self.problem.params, self.problem.x, self.problem.active
        h_next = unchecked(cell.step)(params, x[t, ...], h)  # (F16)
        return h_next if active is None else array_namespace(h).where(active[t, ...], h_next, h)

    def retreat(self, t: int, h: Array, g: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, g_t) of step t from h_t and g_{t+1}; a row that holds its state passes g on."""
        cell, params, x, active = self.problem.cell, self.problem.params, self.problem.x, self.problem.active
        if active is None:
            return unchecked(cell.step_vjp)(params, x[t, ...], h, g)  # (B26)
        where = array_namespace(g).where
        dparams, dx, dh = unchecked(cell.step_vjp)(params, x[t, ...], h, where(active[t, ...], g, 0))
        return dparams, dx, where(active[t, ...], dh, g)

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        with one_blas_thread(self.problem):
            return self._propagate(g, direct, wrt)

    def _propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        n_steps, shapes = self.problem.n_steps, self.problem.cell.parameter_shapes
        dparams = {name: zeros(shape, like=g) for name, shape in shapes.items()}
        dx = empty(self.problem.x.shape, like=g) if "x" in wrt else None
        all_g = empty((n_steps + 1, *g.shape), like=g) if "states" in wrt else None
        if all_g is not None:
            all_g[-1, ...] = g
        for start in reversed(self.starts()):
            states = self.segment(start)
            for t in reversed(range(start, start + states.shape[0] - 1)):
                dparams_t, dx_t, g = self.retreat(t, states[t - start, ...], g)
                if direct is not None:
                    g = g + direct[t, ...]
                for name, value in dparams_t.items():
                    dparams[name] += value  # (B27)
                if dx is not None:
                    dx[t, ...] = dx_t
                if all_g is not None:
                    all_g[t, ...] = g
        return Gradients(dparams if "params" in wrt else None, dx, g if "h0" in wrt else None, all_g)


class FullTape(ReferenceTape):
    """A tape that holds all states, in one segment."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, every=problem.n_steps)
        self._states = empty((problem.n_steps + 1, *problem.h0.shape), like=problem.h0)
        self._states[0, ...] = problem.h0
        with one_blas_thread(problem):
            for t in range(problem.n_steps):
                self._states[t + 1, ...] = self.advance(t, self._states[t, ...])

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self._states[-1, ...]

    def segment(self, start: int) -> Array:
        """Return all states: there is one segment."""
        return self._states


class CheckpointTape(ReferenceTape):
    """A tape that holds h_0, h_k, h_2k, ..., and h_T."""

    def __init__(self, problem: Problem, every: int) -> None:
        super().__init__(problem, every)
        self.checkpoints: list[Array] = []
        h = problem.h0
        with one_blas_thread(problem):
            for t in range(problem.n_steps):
                if t % every == 0:
                    self.checkpoints.append(h)
                h = self.advance(t, h)
        self.checkpoints.append(h)

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self.checkpoints[-1]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from the first."""
        h = self.checkpoints[start // self.every]
        end = min(start + self.every, self.problem.n_steps)
        states = empty((end - start + 1, *h.shape), like=h)
        states[0, ...] = h
        with one_blas_thread(self.problem):
            for t in range(start, end):
                states[t + 1 - start, ...] = self.advance(t, states[t - start, ...])
        return states

r"""Backward pass without a tape: each state from the next, by fixed-point iteration.

A step of an Euler cell is y = h + eps f(h), and f is Lipschitz with constant norm_2(A): its Jacobian is diag(d) A, and
|d| <= 1 in every Euler cell, including the gated ones (numrnn/stability/euler.py has the two-line proof). So if
q = eps norm(A) < 1, the map

    h  <-  y - eps f(h)

is a contraction with factor q, the step is a bijection, and the iteration converges from any start to the unique h
before the step. If q >= 1 the step may not be invertible, and the functions here raise an error.

The backward pass then needs no stored states: h_{t-1} is computed from h_t, and the adjoint of step t from h_{t-1}. The
memory does not depend on T, except for the input, and for dL/dx if requested.

The cost is rounding error. Inverting a step can amplify an error by 1 / (1 - q), and does amplify it by about 1 + eps
gamma along directions that the step damps. Over many steps the states drift from those of the forward pass, and so do
the gradients. The drift is measured, always at h_0 and at other times on request, and returned with the gradients:
check it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from numrnn.backend import Array, Params, array_namespace
from numrnn.bptt import ReferenceTape
from numrnn.cells.base import Cell
from numrnn.checks import check_array, check_finite, check_integer, check_same_kind, dtype_name
from numrnn.problem import Problem, check_problem
from numrnn.stability.euler import EulerForm, check_euler
from numrnn.stability.spectra import spectral_norm
from numrnn.subnormals import flush_subnormals
from numrnn.tape import Gradients

__all__ = [
    "Drift",
    "Inverse",
    "ReversibleGradients",
    "ReversibleTape",
    "contraction_factor",
    "forward",
    "invert",
    "invert_step",
]


@dataclass(frozen=True, eq=False)
class Inverse:
    """A state computed from a later one.

    Attributes
    ----------
    h : array, shape (B, n)
        The earlier state.
    contraction : float
        q = eps norm(A) < 1: each iteration reduces the error at least by this factor.
    iterations : int
        The largest number that a step needed.
    """

    h: Array
    contraction: float
    iterations: int


@dataclass(frozen=True)
class Drift:
    """Distance of recomputed states from those of the forward pass.

    Attributes
    ----------
    h0 : float
        max |h_0 recomputed - h_0|.
    checks : dict of int to float
        The same for the other times that the tape kept, by t.
    contraction : float
        q = eps norm(A).
    iterations : int
        The largest number that a step needed.
    """

    h0: float
    checks: dict[int, float]
    contraction: float
    iterations: int


@dataclass(frozen=True)
class ReversibleGradients(Gradients):
    """Gradients computed without a tape, and the drift of their states.

    Attributes
    ----------
    params, x, h0, states
        As for `Gradients`.
    drift : Drift
        Drift of the states from which they were computed.
    """

    drift: Drift


def contraction_factor(cell: Cell, params: Params) -> float:
    """Return q = eps norm_2(A) of an Euler cell; steps can be inverted if it is < 1.

    Raises
    ------
    TypeError, ValueError
        If the cell is not an Euler cell, or as for `Cell.check_params`.
    """
    return check_euler(cell).step_size * spectral_norm(cell, params)


class _Inverter:
    """Inverts steps of one cell with one set of parameters, and records the largest number of iterations."""

    def __init__(self, cell: Cell, params: Params) -> None:
        euler = check_euler(cell)
        self.contraction = contraction_factor(euler, params)
        if not self.contraction < 1:
            norm = self.contraction / euler.step_size
            raise ValueError(
                f"the steps of this {type(cell).__name__} cannot be inverted by fixed-point iteration: that needs "
                f"eps norm(A) < 1, got {self.contraction:.6g} = {euler.step_size:g} * {norm:.6g}; a step size below "
                f"{1 / norm:.6g} works"
            )
        self.form, self.iterations = EulerForm(euler, params), 0
        self._limit: int | None = None

    def undo(self, x: Array, y: Array) -> Array:
        """Return h with h + eps f(h) = y, to rounding."""
        xp, eps = array_namespace(y), self.form.cell.step_size
        unit = float(xp.finfo(y.dtype).eps)
        h, before = y, math.inf
        # After a change the error is at most q / (1 - q) times it; below `small` that is rounding of the largest row.
        small = unit * min(1.0, (1 - self.contraction) / max(self.contraction, unit)) * _longest(y)
        for count in range(1, self._most_iterations(unit) + 1):
            h_new = y - eps * self.form.rate(x, h)
            change = _longest(h_new - h)
            h = h_new
            self.iterations = max(self.iterations, count)
            # In exact arithmetic the change shrinks by q each time: if it does not, it is rounding.
            if change <= small or change >= before:
                break
            before = change
        return h

    def _most_iterations(self, unit: float) -> int:
        """Return the number of iterations after which the error is certainly below rounding: q^k <= unit."""
        q = self.contraction
        return 1 if q == 0 else 2 + math.ceil(math.log(unit) / math.log(q))


def _longest(rows: Array) -> float:
    """Return the largest 2-norm of a row, for numbers whose squares leave the range too."""
    xp = array_namespace(rows)
    size = float(xp.max(xp.abs(rows)))
    if size == 0:
        return 0.0
    scaled = rows / size
    return size * float(xp.max(xp.sqrt(xp.sum(scaled * scaled, axis=-1))))


def invert_step(cell: Cell, params: Params, x: Array, h_next: Array) -> Inverse:
    """Return the state before a step of an Euler cell.

    Parameters
    ----------
    cell : Cell
        One of the four Euler cells, gated or not, with eps norm(A) < 1.
    params : mapping of str to array
        Its parameters, float32 or float64.
    x : array, shape (B, m)
        Input of the step.
    h_next : array, shape (B, n)
        State after the step.

    Returns
    -------
    Inverse

    Raises
    ------
    TypeError
        If the cell is not an Euler cell, or an argument is of a wrong type.
    ValueError
        If eps norm(A) >= 1, with a bound for the step size; or if an argument does not fit.

    Notes
    -----
    At most log(rounding) / log(q) iterations, each as costly as a step; the norm of A once, O(n^3).

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> cell = numrnn.AntisymmetricCell(1, 4, step_size=0.1)
    >>> params = cell.init_params(np.random.default_rng(0), dtype=np.float64)
    >>> x, h = np.ones((2, 1)), np.ones((2, 4))
    >>> found = invert_step(cell, params, x, cell.step(params, x, h))
    >>> bool(np.max(np.abs(found.h - h)) < 1e-15), found.contraction < 0.2
    (True, True)
    """
    check_array("x", x, ("B", "m"))
    inverter = _inverter(cell, params, x[None, ...], h_next, "h_next")
    return Inverse(inverter.undo(x, h_next), inverter.contraction, inverter.iterations)


def invert(cell: Cell, params: Params, x: Array, h_final: Array) -> Inverse:
    """Return the first state of a sequence from the last, step by step.

    Parameters
    ----------
    cell, params
        As for `invert_step`.
    x : array, shape (T, B, m)
        Input of the whole sequence.
    h_final : array, shape (B, n)
        h_T.

    Returns
    -------
    Inverse
        With h = h_0, and the largest number of iterations that a step needed.

    Raises
    ------
    TypeError, ValueError
        As for `invert_step`.
    """
    inverter = _inverter(cell, params, x, h_final, "h_final")
    h = h_final
    for t in reversed(range(x.shape[0])):
        h = inverter.undo(x[t, ...], h)
    return Inverse(h, inverter.contraction, inverter.iterations)


def _inverter(cell: Cell, params: Params, x: Array, h: Array, name: str) -> _Inverter:
    """Check the arguments, of which h has a name of its own, and return an inverter of steps."""
    check_euler(cell)
    arrays = cell.check_params(params)
    check_array("x", x, ("T", "B", "m"), m=cell.input_size)
    check_array(name, h, ("B", "n"), B=x.shape[1], n=cell.state_size)
    check_finite("x", x)
    check_finite(name, h)
    check_same_kind(arrays | {"x": x, name: h})
    _check_real(**arrays, **{"x": x, name: h})
    return _Inverter(cell, params)


def _check_real(**arrays: Array) -> None:
    for name, array in arrays.items():
        if dtype_name(array) not in ("float32", "float64"):
            raise TypeError(f"{name} must be of float32 or float64, got {dtype_name(array)}")


def forward(
    cell: Cell,
    params: Params,
    x: Array,
    h0: Array | None = None,
    *,
    lengths: Any = None,
    check_every: int | None = None,
) -> tuple[Array, ReversibleTape]:
    """Run a cell over a sequence and keep only the last state.

    Parameters
    ----------
    cell : Cell
        One of the four Euler cells, gated or not, with eps norm(A) < 1.
    params, x, h0, lengths
        As for `numrnn.forward`, float32 or float64.
    check_every : int, optional
        Also keep every k-th state, only to measure the drift there; k >= 1. This costs T / k states.

    Returns
    -------
    h_final : array, shape (B, n)
        h_T.
    tape : ReversibleTape
        For `numrnn.backward`, which returns `ReversibleGradients` for it.

    Raises
    ------
    TypeError, ValueError
        As for `numrnn.forward` and `invert_step`.

    Notes
    -----
    Costs T steps. `numrnn.backward` then costs T times as many steps as an inversion needs iterations, and T adjoint
    steps. Memory: two states, the input, and the requested gradients: with `wrt=("params", "h0")` nothing of length T.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> from numrnn import reversible
    >>> cell = numrnn.GatedAntisymmetricCell(1, 4)
    >>> params = cell.init_params(np.random.default_rng(0), dtype=np.float64)
    >>> h, tape = reversible.forward(cell, params, np.ones((100, 2, 1)))
    >>> grads = numrnn.backward(tape, d_final=np.ones((2, 4)), wrt=("params", "h0"))
    >>> grads.drift.h0 < 1e-14
    True
    """
    check_euler(cell)
    if check_every is not None:
        check_every = check_integer("check_every", check_every, at_least=1)
    problem = check_problem(cell, params, x, h0, lengths, check_every)
    _check_real(**cell.check_params(params), **({"x": x} if h0 is None else {"x": x, "h0": h0}))
    tape = ReversibleTape(problem, _Inverter(cell, params))
    with flush_subnormals():
        tape.run()
    return tape.final_state, tape


class ReversibleTape(ReferenceTape):
    """A tape that holds h_0 and h_T, and computes the states between them backwards.

    It also holds every k-th state if the problem says so, only to measure the drift there.
    """

    def __init__(self, problem: Problem, inverter: _Inverter) -> None:
        super().__init__(replace(problem, every=problem.every or problem.n_steps))
        self._inverter = inverter
        self._found: dict[int, float] = {}  # distance of the recomputed states from the kept ones, by t

    def undo(self, t: int, h: Array) -> Array:
        """Return h_t from h_{t+1}; a row whose sequence had ended kept its state."""
        before, active = self._inverter.undo(self.problem.x[t, ...], h), self.problem.active
        return before if active is None else array_namespace(h).where(active[t, ...], before, h)

    def states_backwards(self) -> Iterator[tuple[int, Array]]:
        """Yield t and h_t, each computed from the next, from T - 1 down to 0."""
        h = self.final_state
        for t in reversed(range(self.problem.n_steps)):
            h = self.undo(t, h)
            if t % self.every == 0:
                self._found[t] = _distance(h, self._kept[t // self.every])
            yield t, h

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> ReversibleGradients:
        """Return the gradients and the drift; see `Tape.propagate`."""
        grads, inverter = super().propagate(g, direct, wrt), self._inverter
        checks = {t: distance for t, distance in self._found.items() if t > 0}
        drift = Drift(self._found[0], checks, inverter.contraction, inverter.iterations)
        return ReversibleGradients(grads.params, grads.x, grads.h0, grads.states, drift=drift)


def _distance(found: Array, true: Array) -> float:
    xp = array_namespace(found)
    return float(xp.max(xp.abs(found - true)))

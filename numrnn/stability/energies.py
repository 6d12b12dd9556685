r"""Energy, gradients over time, and saturation: analysis of a trajectory without eigenvalues.

With constant input, u = A h + V x + b and tau = tanh(u), the ungated antisymmetric ODE (8) has the energy

    Phi = sum_i log cosh(u_i),      dPhi/dt = tau^T A tau = -gamma norm(tau)^2

since M cancels in tau^T A tau: without diffusion Phi is conserved, with it Phi decreases. Because log cosh is convex
with a second derivative of at most 1, a step of Euler's method changes it by

    -eps gamma norm(tau)^2  <=  Phi_t - Phi_{t-1}  <=  -eps gamma norm(tau)^2 + eps^2/2 norm(A tau)^2,

so Phi cannot rise if eps <= 2 gamma / (gamma^2 + omega^2), and cannot fall at gamma = 0. Neither holds for the gated
cell, for an unstructured matrix, or if the input changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numrnn.backend import Array, Params, array_namespace, astype, empty
from numrnn.cells import AntisymmetricCell, ElmanCell, LipschitzCell, LSTMCell, Stack
from numrnn.cells.base import Cell
from numrnn.cells.euler import EulerCell
from numrnn.checks import check_array, check_finite, check_numeric, check_same_kind
from numrnn.stability.endtoend import check_linearization, log_or_minus_infinity, rescaled
from numrnn.stability.euler import EulerForm, check_cell, has_euler_step, steps_like
from numrnn.stability.jacobians import check_trajectory
from numrnn.stability.linearization import Linearization, lipschitz_candidates, lstm_gates

__all__ = [
    "Saturation",
    "energy",
    "energy_change_bounds",
    "has_known_gates",
    "log_cosh",
    "log_gradient_norms",
    "saturation",
]

SATURATED = 0.99  # |tanh| above it has a slope below 0.02; a sigmoid within 0.01 of its limits has a slope below 0.01


def log_cosh(u: Array) -> Array:
    """Return log cosh(u), accurate to a few units of rounding for every u, without overflow.

    Parameters
    ----------
    u : array
        Real, of any shape.

    Returns
    -------
    array
        >= 0, with u's shape and dtype.

    Notes
    -----
    Near 0 as log1p(2 sinh(u/2)^2), which has no cancellation; elsewhere as |u| + log1p(exp(-2|u|)) - log 2.

    Examples
    --------
    >>> import numpy as np
    >>> bool(log_cosh(np.array(1e4)) == 1e4 - np.log(2)), float(log_cosh(np.array(1e-9)))
    (True, 5e-19)
    """
    check_numeric("u", u)
    xp = array_namespace(u)
    size = xp.abs(u)
    near = xp.sinh(xp.where(size < 1, size, 0) / 2)
    far = xp.exp(-size)  # its square underflows where -2 size would overflow
    return xp.where(size < 1, xp.log1p(2 * near * near), size + xp.log1p(far * far) - math.log(2))


def _form(cell: Cell, params: Params, x: Array, h: Array) -> EulerForm:
    reason = "an AntisymmetricCell, because the energy law does not hold for other cells, not even the gated one"
    form = EulerForm(check_cell(cell, AntisymmetricCell, reason), params)
    form.check(x, h)
    return form


def energy(cell: Cell, params: Params, x: Array, h: Array) -> Array:
    """Return Phi = sum_i log cosh(u_i) with u = A h + V x + b.

    Parameters
    ----------
    cell : AntisymmetricCell
        Only this class: for other cells Phi is not an energy.
    params : mapping of str to array
        Its parameters.
    x : array, shape (..., m)
        Input.
    h : array, shape (..., n)
        States, with the leading sizes of x.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    TypeError, ValueError
        If the cell is of another class or an argument does not fit.
    """
    form = _form(cell, params, x, h)
    return array_namespace(h).sum(log_cosh(form.pre_activation(x, h)), axis=-1)


def energy_change_bounds(cell: Cell, params: Params, x: Array, h: Array) -> tuple[Array, Array]:
    """Return bounds of Phi(h_next) - Phi(h) for one step from h with constant input, (...) each.

    Arguments and errors as for `energy`. Returns -eps gamma norm(tau)^2 and that plus eps^2/2 norm(A tau)^2.
    """
    form = _form(cell, params, x, h)
    xp, eps = array_namespace(h), form.cell.step_size
    tau = xp.tanh(form.pre_activation(x, h))
    moved = tau @ form.A.T
    lower = -eps * form.cell.diffusion * xp.sum(tau * tau, axis=-1)
    return lower, lower + eps * eps / 2 * xp.sum(moved * moved, axis=-1)


def log_gradient_norms(lin: Linearization, d_final: Array) -> Array:
    """Return log norm_2(dL/dh_t) for t = 0..T, for a loss of the last state only.

    Parameters
    ----------
    lin : Linearization
        From `linearize`.
    d_final : array, shape (B, state_size)
        dL/dh_T.

    Returns
    -------
    array, shape (T + 1, B)
        Natural logarithms, for gradients of any size; -inf where they are 0.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    Costs T products with J_t^T. `numrnn.backward(..., wrt=("states",))` returns the gradients themselves, for any loss,
    while they stay in range.
    """
    check_linearization(lin)
    check_array("d_final", d_final, ("B", "n"), B=lin.batch, n=lin.state_size)
    check_finite("d_final", d_final)
    check_same_kind({"states": lin.states, "d_final": d_final})
    xp = array_namespace(d_final)
    out = empty((lin.n_steps + 1, lin.batch), like=lin.states)
    g, total = rescaled(d_final[:, None, :])
    for t in range(lin.n_steps, -1, -1):
        out[t, :] = log_or_minus_infinity(xp.sqrt(xp.sum(g * g, axis=(1, 2)))) + total
        if t > 0:
            g, log_factor = rescaled(lin.apply_adjoint(t, g))
            total = total + log_factor
    return out


@dataclass(frozen=True)
class Saturation:
    """Fractions, 0 to 1, of units and steps at which a nonlinearity passes almost no gradient.

    Attributes
    ----------
    candidate : float
        |tanh| > 0.99 in the candidate.
    closed, open : float or None
        Gate < 0.01 and > 0.99; None without a gate. For an LSTM, over its three gates together.
    """

    candidate: float
    closed: float | None = None
    open: float | None = None


def saturation(cell: Cell, params: Params, x: Array, states: Array) -> Saturation:
    """Return the fractions of saturated tanh and gates along a trajectory.

    Parameters
    ----------
    cell : Cell
        Any cell of this package.
    params : mapping of str to array
        Its parameters.
    x : array, shape (T, B, m)
        Input.
    states : array, shape (T + 1, B, state_size)
        The states from `numrnn.forward` for x, without lengths.

    Returns
    -------
    Saturation

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    """
    check_trajectory(cell, params, x, states)
    if not has_known_gates(cell):
        raise TypeError(f"cell must use the step of one of numrnn.CELLS, got {type(cell).__name__}, which has its own")
    candidates, gates = _candidates_and_gates(cell, params, x, states)
    count = [array_namespace(c).abs(c) > SATURATED for c in candidates]
    if not gates:
        return Saturation(_mean(count))
    closed, open_ = [z < 1 - SATURATED for z in gates], [z > SATURATED for z in gates]
    return Saturation(_mean(count), _mean(closed), _mean(open_))


def has_known_gates(cell: Cell) -> bool:
    """Tell whether `saturation` supports the cell: one of this package, or a stack of such cells."""
    if isinstance(cell, Stack):
        return steps_like(cell, Stack) and all(map(has_known_gates, cell.cells))
    return has_euler_step(cell) or steps_like(cell, ElmanCell, LSTMCell, LipschitzCell)


def _candidates_and_gates(cell: Cell, params: Params, x: Array, states: Array) -> tuple[list[Any], list[Any]]:
    """Return the outputs of tanh and of the gates along a trajectory, (T, B, n) each; for a stack, of all layers."""
    if isinstance(cell, Stack):
        candidates: list[Any] = []
        gates: list[Any] = []
        for layer, own, part in zip(cell.cells, cell.layer_params(params), cell.split(states), strict=True):
            of_tanh, of_gates = _candidates_and_gates(layer, own, x, part)
            candidates, gates, x = candidates + of_tanh, gates + of_gates, part[1:, :, : layer.hidden_size]
        return candidates, gates
    if isinstance(cell, LSTMCell):
        i, f, g, o = lstm_gates(cell, params, x, states)
        return [g], [i, f, o]
    if isinstance(cell, LipschitzCell):
        return lipschitz_candidates(cell, params, x, states)[1], []
    if isinstance(cell, EulerCell):
        c, z = EulerForm(cell, params).candidate_and_gate(x, states[:-1, ...])
        return [c], [] if z is None else [z]
    return [states[1:, ...]], []


def _mean(flags: list[Array]) -> float:
    xp = array_namespace(flags[0])
    return sum(float(xp.sum(astype(flag, xp.int64))) for flag in flags) / sum(math.prod(flag.shape) for flag in flags)

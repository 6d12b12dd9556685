r"""The Jacobian of one step along a trajectory, and its spectrum.

    dh_t / dh_{t-1} = I + eps J_t,   J_t = diag(d_t) A                                     (9), (11) of the paper

with the slopes d_t of euler.py. For the ungated antisymmetric cell, Re lambda(J_t) lies in [-gamma max d, -gamma min
d]: J_t is similar to D^1/2 A D^1/2, whose symmetric part is -gamma D.

Stability of the gated cell is not guaranteed. Its d may be negative, and then eigenvalues with positive real part exist
(at trained and random states); the functions here find them. For every cell: eigenvalues inside the disc at each fixed
time do not bound a product over time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from numrnn.backend import Array, Params, to_numpy
from numrnn.cells.base import Cell, unchecked
from numrnn.checks import check_array, check_finite, check_integer, check_number, check_numeric, check_same_kind, shown
from numrnn.stability.euler import EulerForm, check_any_cell, check_euler, has_euler_step

__all__ = [
    "check_trajectory",
    "checked_times",
    "flow_eigenvalues",
    "share_outside_disc",
    "slopes",
    "step_eigenvalues",
    "step_jacobians",
]


def slopes(cell: Cell, params: Params, x: Array, h: Array) -> Array:
    """Return d of J = diag(d) A, the Jacobian of the ODE of an Euler cell.

    Parameters
    ----------
    cell : Cell
        One of the four Euler cells.
    params : mapping of str to array
        Its parameters.
    x : array, shape (..., m)
        Input.
    h : array, shape (..., n)
        States, with the leading sizes of x.

    Returns
    -------
    array, shape (..., n)
        1 - c^2, in [0, 1]; for a gated cell z (1 - c^2) + c z (1 - z), in [-1/4, 1].

    Raises
    ------
    TypeError, ValueError
        If the cell is not an Euler cell, or an argument does not fit.
    """
    euler = check_euler(cell)
    form = EulerForm(euler, params)
    form.check(x, h)
    return form.slopes(x, h)


def step_jacobians(cell: Cell, params: Params, x: Array, states: Array) -> Array:
    """Return dh_t / dh_{t-1} for every step of a trajectory.

    Parameters
    ----------
    cell : Cell
        Any cell.
    params : mapping of str to array
        Its parameters.
    x : array, shape (T, B, m)
        Input.
    states : array, shape (T + 1, B, state_size)
        The states from `numrnn.forward` for x, without lengths; the last is not used.

    Returns
    -------
    array, shape (T, B, state_size, state_size)
        Element [t - 1, i] belongs to step t and row i.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    T B state_size^2 numbers of memory: for a long trajectory use `linearize`.
    """
    check_trajectory(cell, params, x, states)
    n_steps, batch, s = x.shape[0], x.shape[1], cell.state_size
    flat_x, flat_h = _flat(x), _flat(states[:-1, ...])
    return unchecked(cell.jacobian)(params, flat_x, flat_h).reshape((n_steps, batch, s, s))


def _flat(array: Array) -> Array:
    return array.reshape((array.shape[0] * array.shape[1], array.shape[2]))


def check_trajectory(cell: Cell, params: Params, x: Array, states: Array) -> None:
    """Check that x is (T, B, m) and states (T + 1, B, state_size), finite and of the parameters' kind."""
    check_any_cell(cell)
    arrays = cell.check_params(params)
    check_array("x", x, ("T", "B", "m"), m=cell.input_size)
    sizes = {"T+1": x.shape[0] + 1, "B": x.shape[1], "n": cell.state_size}
    check_array("states", states, ("T+1", "B", "n"), **sizes)
    check_finite("x", x)
    check_finite("states", states)
    check_same_kind(arrays | {"x": x, "states": states})


def checked_times(times: Sequence[int], n_steps: int) -> list[int]:
    """Return steps as a list after checking that it is not empty and that each is from 1 to T."""
    if not isinstance(times, Iterable) or isinstance(times, str | bytes) or getattr(times, "ndim", 1) == 0:
        raise TypeError(f"times must be a sequence of integers, got {shown(times)}")
    steps = [check_integer(f"times[{i}]", t, at_least=1) for i, t in enumerate(times)]
    if not steps or max(steps) > n_steps:
        raise ValueError(f"times must be from 1 to T={n_steps}, got {list(times)}")
    return steps


def flow_eigenvalues(
    cell: Cell, params: Params, x: Array, states: Array, *, times: Sequence[int] | None = None
) -> np.ndarray:
    """Return the eigenvalues of J_t = diag(d_t) A along a trajectory: the spectrum of Proposition 1 at each time.

    Parameters
    ----------
    cell : Cell
        One of the four Euler cells.
    params, x, states
        As for `step_jacobians`.
    times : sequence of int, optional
        Steps t, 1 to T; all of them by default.

    Returns
    -------
    numpy.ndarray, shape (T, B, n), or (len(times), B, n)
        complex, unordered. Computed on the host, which has the only solver for general eigenvalue problems.

    Raises
    ------
    TypeError, ValueError
        If the cell is not an Euler cell, or an argument does not fit.

    Notes
    -----
    About 10 n^3 flops per step and row. J_t is far from normal if slopes differ much; then rounding moves eigenvalues
    by more than a few units of rounding of norm(A).
    """
    euler = check_euler(cell)
    check_trajectory(cell, params, x, states)
    form = EulerForm(euler, params)
    steps = range(1, x.shape[0] + 1) if times is None else checked_times(times, x.shape[0])
    d, A = np.stack([to_numpy(form.slopes(x[t - 1, ...], states[t - 1, ...])) for t in steps]), to_numpy(form.A)
    return np.linalg.eigvals(d[..., None] * A)


def step_eigenvalues(cell: Cell, params: Params, x: Array, states: Array) -> np.ndarray:
    """Return the eigenvalues of dh_t / dh_{t-1} along a trajectory, for any cell.

    Parameters, errors and cost as for `step_jacobians` and `flow_eigenvalues`; shape (T, B, state_size), complex, on
    the host. For an Euler cell they are computed as 1 + eps lambda(J_t): I + eps J_t would lose digits of lambda.
    """
    if has_euler_step(cell):
        return 1 + cell.step_size * flow_eigenvalues(cell, params, x, states)
    return np.linalg.eigvals(to_numpy(step_jacobians(cell, params, x, states)))


def share_outside_disc(eigenvalues: np.ndarray, step_size: float) -> float:
    """Return the fraction of Jacobians with an eigenvalue outside the disc |1 + eps lambda| <= 1 of Euler's method.

    Parameters
    ----------
    eigenvalues : numpy.ndarray, shape (..., n)
        lambda(J) of some Jacobians, as `flow_eigenvalues` returns them.
    step_size : float
        eps > 0.

    Returns
    -------
    float
        0 to 1. A modulus counts as outside if it exceeds 1 by more than 10 sqrt(n) units of rounding.

    Raises
    ------
    TypeError, ValueError
        If `step_size` is not a finite number > 0, or there are no eigenvalues.
    """
    eps = check_number("step_size", step_size, above=0)
    check_numeric("eigenvalues", eigenvalues)
    if eigenvalues.ndim == 0 or eigenvalues.size == 0:
        raise ValueError(f"eigenvalues must be (..., n) and not empty, got {eigenvalues.shape}")
    margin = 10 * eigenvalues.shape[-1] ** 0.5 * np.finfo(eigenvalues.real.dtype).eps
    return float(np.mean(np.max(np.abs(1 + eps * eigenvalues), axis=-1) > 1 + margin))

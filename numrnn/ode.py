r"""The continuous system of an Euler cell, solved to rounding, and the convergence of Euler's method to it.

    h'(t) = f(h(t), x(t)),            f = tanh(A h + V x + b),   or that times sigmoid(A h + V_z x + b_z)    (8), (13)
    S'(t) = J(t) S(t),  S(0) = I,     J = diag(d) A,   S(t) = dh(t)/dh(0)                                   (6), (7)

for piecewise-constant input: x_t applies for one piece of time, by default of length eps of the cell, so the cell's h_t
is Euler's approximation of h(t eps). Each piece is solved separately, because f jumps between pieces, and a method of
high order that steps across a jump loses its order.

Guaranteed for gamma >= 0 and n units: |h_t - h(t eps)|_2 <= eps/2 sqrt(n) (exp(norm(A) T eps) - 1), so Euler's method
has order 1; `convergence` measures it, for states and for sensitivities. `scipy.integrate.solve_ivp` with DOP853 solves
the system, in float64 on the host; arrays on a device are copied there.

References
----------
E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd ed., Springer 1993, sections I.7
(Euler's method), I.14 (sensitivity) and II.5 (DOP853).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from numrnn.backend import Array, Params, array_namespace, to_numpy
from numrnn.cells import cell_from_config
from numrnn.cells.base import Cell
from numrnn.cells.euler import EulerCell, as_euler
from numrnn.checks import check_array, check_bool, check_finite, check_integer, check_number, dtype_name, shown
from numrnn.stability.endtoend import end_to_end_jacobian
from numrnn.stability.euler import EulerForm, check_euler
from numrnn.stability.linearization import linearize

__all__ = [
    "Convergence",
    "Solution",
    "convergence",
    "forward_and_back_defect",
    "forward_and_back_order",
    "solve",
    "with_step_size",
]

RTOL = 1e-13  # the tightest that DOP853 can meet in float64, some hundreds of units of rounding
ATOL = 1e-14


@dataclass(frozen=True, eq=False)
class Solution:
    """A solution of the ODE at the ends of its pieces.

    Attributes
    ----------
    times : numpy.ndarray, shape (T + 1,)
        0, piece, 2 piece, ...
    states : numpy.ndarray, shape (T + 1, B, n)
        h at these times, float64.
    sensitivity : numpy.ndarray, shape (T + 1, B, n, n), or None
        S at these times: [t, i, j, k] is the derivative of h_j with respect to h_k at time 0.
    evaluations : int
        Number of evaluations of f, over all pieces.
    """

    times: np.ndarray
    states: np.ndarray
    sensitivity: np.ndarray | None
    evaluations: int


@dataclass(frozen=True, eq=False)
class Convergence:
    """Errors of Euler's method at decreasing step sizes, and the orders that fit them.

    Attributes
    ----------
    step_sizes : numpy.ndarray, shape (K,)
    state_errors, sensitivity_errors : numpy.ndarray, shape (K,)
        Largest absolute error over batch and units: of the states at all ends of pieces, of dh_T/dh_0 at the end.
    state_order, sensitivity_order : float
        Slopes of log error over log step size, by least squares.
    """

    step_sizes: np.ndarray
    state_errors: np.ndarray
    sensitivity_errors: np.ndarray
    state_order: float
    sensitivity_order: float


def solve(
    cell: Cell,
    params: Params,
    x: Array,
    h0: Array | None = None,
    *,
    piece: float | None = None,
    sensitivity: bool = False,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> Solution:
    """Solve the ODE of an Euler cell for piecewise-constant input.

    Parameters
    ----------
    cell : Cell
        One of the four Euler cells; its step size matters only as the default of `piece`.
    params : mapping of str to array
        Its parameters, float32 or float64; the solution is float64.
    x : array, shape (T, B, m)
        Input; x[t] applies during the t-th piece.
    h0 : array, shape (B, n), optional
        h at time 0; zero by default.
    piece : float, optional
        Length of a piece in the time of the ODE, > 0; by default the cell's step size.
    sensitivity : bool
        Also solve for dh(t)/dh(0).
    rtol, atol : float
        Tolerances of each step of the solver, > 0.

    Returns
    -------
    Solution

    Raises
    ------
    TypeError, ValueError
        If the cell is not an Euler cell, or an argument does not fit.
    RuntimeError
        If the solver fails; with its message.

    Notes
    -----
    At least 13 evaluations of f per piece, 2 B n (n + m) flops each; with sensitivity 2 B n^3. The error grows with the
    length of the solution, at most by exp(norm(A) time).

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> cell = numrnn.AntisymmetricCell(1, 2, diffusion=0.0)
    >>> params = {"W": np.zeros((2, 2)), "V": np.zeros((2, 1)), "b": np.array([0.0, 1.0])}
    >>> solution = solve(cell, params, np.zeros((3, 1, 1)), piece=2.0)
    >>> bool(np.allclose(solution.states[-1], [[0.0, 6 * np.tanh(1.0)]], rtol=1e-14))
    True
    """
    form, host_x, h = _checked(cell, params, x, h0)
    length = form.cell.step_size if piece is None else check_number("piece", piece, above=0)
    check_bool("sensitivity", sensitivity)
    tolerances = {"rtol": check_number("rtol", rtol, above=0), "atol": check_number("atol", atol, above=0)}
    batch, n = h.shape
    y = h.ravel() if not sensitivity else np.concatenate([h.ravel(), np.tile(np.eye(n).ravel(), batch)])
    ys, evaluations = [y], 0
    for x_t in host_x:
        result = solve_ivp(
            _right_side(form, x_t, sensitivity), (0.0, length), ys[-1], method="DOP853", t_eval=[length], **tolerances
        )
        if not result.success:
            raise RuntimeError(f"solve_ivp failed: {result.message}")
        ys.append(result.y[:, -1])
        evaluations += result.nfev
    rows = np.stack(ys)
    states, S = rows[:, : batch * n].reshape(-1, batch, n), None
    if sensitivity:
        S = rows[:, batch * n :].reshape(-1, batch, n, n)
    return Solution(length * np.arange(len(ys)), states, S, evaluations)


def _right_side(form: EulerForm, x_t: np.ndarray, sensitivity: bool) -> Any:
    """Return the right side of the ODE, (time, y) -> dy/dtime, for input x_t (B, m)."""
    batch, n = x_t.shape[0], form.cell.hidden_size

    def of_state(time: float, y: np.ndarray) -> np.ndarray:
        return form.rate(x_t, y.reshape(batch, n)).ravel()

    def of_both(time: float, y: np.ndarray) -> np.ndarray:
        h, S = y[: batch * n].reshape(batch, n), y[batch * n :].reshape(batch, n, n)
        J_S = form.slopes(x_t, h)[:, :, None] * (form.A @ S)
        return np.concatenate([form.rate(x_t, h).ravel(), J_S.ravel()])

    return of_both if sensitivity else of_state


def _checked(cell: Cell, params: Params, x: Array, h0: Array | None) -> tuple[EulerForm, np.ndarray, np.ndarray]:
    """Return the ODE, the input and the first state, in float64 on the host."""
    euler = check_euler(cell)
    euler.check_params(params)
    check_array("x", x, ("T", "B", "m"), m=euler.input_size)
    check_finite("x", x)
    host = {name: _host(name, array) for name, array in params.items()}
    first = np.zeros((x.shape[1], euler.hidden_size))
    if h0 is not None:
        check_array("h0", h0, ("B", "n"), B=x.shape[1], n=euler.hidden_size)
        check_finite("h0", h0)
        first = _host("h0", h0)
    return EulerForm(euler, host), _host("x", x), first


def _host(name: str, array: Array) -> np.ndarray:
    if dtype_name(array) not in ("float32", "float64"):
        raise TypeError(f"{name} must be of dtype float32 or float64, got {dtype_name(array)}")
    return to_numpy(array).astype(np.float64)


def with_step_size(cell: EulerCell, step_size: float) -> EulerCell:
    """Return a copy of the cell with another step size; raises TypeError or ValueError if an argument is wrong."""
    check_euler(cell)
    return as_euler(cell_from_config(cell.config() | {"step_size": step_size}))


def convergence(
    cell: Cell,
    params: Params,
    x: Array,
    h0: Array | None = None,
    *,
    refinements: tuple[int, ...] = (64, 128, 256, 512),
) -> Convergence:
    """Measure the order at which Euler's method converges to the ODE, for states and for dh_T/dh_0.

    Parameters
    ----------
    cell, params, x, h0
        As for `solve`; a piece of time is the cell's step size.
    refinements : tuple of int
        Steps of Euler's method per piece, ascending, each >= 1; at least two values.

    Returns
    -------
    Convergence

    Raises
    ------
    TypeError, ValueError
        As for `solve`; or if `refinements` are not ascending integers.

    Notes
    -----
    Euler's method is the cell itself, with step size eps / r and every input repeated r times. Costs T max(r) steps of
    n tangents. An order measured at coarse steps has an error of a multiple of the step.
    """
    form, host_x, first = _checked(cell, params, x, h0)
    if not isinstance(refinements, Iterable) or getattr(refinements, "ndim", 1) == 0:
        raise TypeError(f"refinements must be two or more ascending integers, got {shown(refinements)}")
    counts = [check_integer(f"refinements[{i}]", r, at_least=1) for i, r in enumerate(refinements)]
    if len(counts) < 2 or counts != sorted(set(counts)):
        raise ValueError(f"refinements must be two or more ascending integers, got {shown(refinements)}")
    exact = solve(form.cell, form.params, host_x, first, sensitivity=True)
    assert exact.sensitivity is not None
    errors = []
    for r in counts:
        fine = with_step_size(form.cell, form.cell.step_size / r)
        lin = linearize(fine, form.params, np.repeat(host_x, r, axis=0), first)
        product = end_to_end_jacobian(lin)
        J = product.matrix * np.exp(product.log_scale)[:, None, None]
        errors.append((_largest(lin.states[::r] - exact.states), _largest(J - exact.sensitivity[-1])))
    sizes, (of_states, of_sensitivity) = form.cell.step_size / np.array(counts), np.array(errors).T
    return Convergence(sizes, of_states, of_sensitivity, _slope(sizes, of_states), _slope(sizes, of_sensitivity))


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array)))


def _slope(step_sizes: np.ndarray, errors: np.ndarray) -> float:
    """Return the order p of errors ~ step_size^p, by least squares of the logarithms."""
    if not np.all(errors > 0):
        raise ValueError(
            f"an order needs errors > 0, got {errors}: the states do not change, Euler's method is exact, or x, h0 or "
            "params are too large"
        )
    return float(np.polyfit(np.log(step_sizes), np.log(errors), 1)[0])


def forward_and_back_defect(cell: Cell, params: Params, x: Array, h: Array) -> Array:
    """Return the distance by which a step by eps and one back by -eps miss the start.

    Parameters
    ----------
    cell : Cell
        One of the four Euler cells.
    params : mapping of str to array
        Its parameters.
    x : array, shape (B, m)
        Input of both steps.
    h : array, shape (B, n)
        States.

    Returns
    -------
    array, shape (B,)
        norm_2(h' - h), h' = h_1 - eps f(h_1), h_1 = h + eps f(h): at most eps^2 norm(A) sqrt(n), since f has the
        Lipschitz constant norm(A) and no element above 1.

    Raises
    ------
    TypeError, ValueError
        If the cell is not an Euler cell, or an argument does not fit.
    """
    euler = check_euler(cell)
    form = EulerForm(euler, params)
    form.check(x, h)
    return _defect(form, euler.step_size, x, h)


def _defect(form: EulerForm, eps: float, x: Array, h: Array) -> Array:
    xp = array_namespace(h)
    f = form.rate(x, h)
    # eps (f(h) - f(h_1)) is h' - h without the rounding of h.
    return eps * xp.sqrt(xp.sum((f - form.rate(x, h + eps * f)) ** 2, axis=-1))


def forward_and_back_order(
    cell: Cell, params: Params, x: Array, h: Array, *, halvings: int = 6
) -> tuple[np.ndarray, np.ndarray, float]:
    """Measure the order of `forward_and_back_defect` in the step size, which is 2.

    Parameters
    ----------
    cell, params, x, h
        As for `forward_and_back_defect`.
    halvings : int
        Number of step sizes after the cell's own, each half of the one before, >= 1.

    Returns
    -------
    step_sizes, defects : numpy.ndarray, shape (halvings + 1,)
        Decreasing step sizes, and the largest defect of the batch at each.
    order : float
        Slope of log defect over log step size, by least squares.

    Raises
    ------
    TypeError, ValueError
        As for `forward_and_back_defect`.
    """
    euler = check_euler(cell)
    form = EulerForm(euler, params)
    form.check(x, h)
    sizes = euler.step_size / 2.0 ** np.arange(check_integer("halvings", halvings, at_least=1) + 1)
    defects = np.array([float(np.max(to_numpy(_defect(form, float(eps), x, h)))) for eps in sizes])
    return sizes, defects, _slope(sizes, defects)

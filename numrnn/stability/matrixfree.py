r"""Singular values and eigenvalues of the end-to-end Jacobian dh_T/dh_0 for large n, without forming it.

    J v by T tangent steps, J^T g by T adjoint steps    2 T n^2 flops per product; Lanczos, Arnoldi
    sigma_min(J) = 1 / sigma_max(J^-1)                  each step inverted by a Neumann series

As in endtoend.py, results are logarithms. ARPACK, used by scipy.sparse.linalg, runs on the host; the products run where
the arrays live, and vectors are copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigs, svds

from numrnn.backend import Array, array_namespace, asarray, astype, to_numpy
from numrnn.blas import one_thread_each
from numrnn.cells.euler import EulerCell
from numrnn.checks import check_choice, check_integer, check_number
from numrnn.stability.endtoend import check_linearization, log_or_minus_infinity, rescaled, sorted_logs
from numrnn.stability.linearization import Linearization, SlopeLinearization

__all__ = ["jacobian_operator", "log_eigenvalues", "log_singular_values"]

FEW = 8  # size of a state up to which the matrix is formed: on three or four units Lanczos may not converge
LANCZOS_VECTORS = 40  # Krylov vectors beyond twice the requested number: more memory, fewer restarts


def jacobian_operator(lin: Linearization, row: int = 0, *, seed: int = 0) -> tuple[LinearOperator, float]:
    """Return dh_T/dh_0 of one row as a linear operator on the host, and the logarithm of a factor.

    Parameters
    ----------
    lin : Linearization
        From `linearize`.
    row : int
        Row of the batch, 0 to B - 1.
    seed : int
        Seed of the random vector that determines the factor, >= 0.

    Returns
    -------
    operator : scipy.sparse.linalg.LinearOperator, shape (s, s)
        J exp(-log_scale), with matvec, rmatvec, matmat and rmatmat; has the dtype of the states.
    log_scale : float
        log of about norm(J), so that the operator's norm is moderate for any norm of J.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    A product costs T steps. The factor is spread evenly over the steps, so that vectors that shrink or grow at a
    constant rate stay in range.
    """
    check_linearization(lin)
    lin = lin.row(_checked_row(lin, row))
    log_scale = _pilot(lin, check_integer("seed", seed, at_least=0))
    per_step = math.exp(-log_scale / lin.n_steps) if math.isfinite(log_scale) else 1.0

    def product(v: np.ndarray, adjoint: bool) -> np.ndarray:
        rows = asarray(np.ascontiguousarray(v.T), like=lin.states, dtype=lin.states.dtype)[None, :, :]
        return to_numpy(_through(lin, rows, adjoint, per_step))[0].T

    return _operator(lin, product), log_scale


def log_singular_values(
    lin: Linearization,
    k: int = 5,
    *,
    which: Literal["largest", "smallest"] = "largest",
    row: int = 0,
    seed: int = 0,
    tolerance: float = 0.0,
) -> np.ndarray:
    """Return logarithms of singular values of dh_T/dh_0 of one row, matrix-free.

    Parameters
    ----------
    lin : Linearization
        From `linearize`.
    k : int
        Number of values, 1 to state_size - 2.
    which : {"largest", "smallest"}
        "smallest" needs steps that a Neumann series can invert: Euler cells with eps norm(A) < 1.
    row : int
        Row of the batch.
    seed : int
        Seed of the start vector, >= 0; it changes the result only by rounding.
    tolerance : float
        Relative accuracy at which to stop, >= 0; 0 means rounding.

    Returns
    -------
    numpy.ndarray, shape (k,)
        Natural logarithms, descending; -inf where the Jacobian is 0 in floating point.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range, or if the smallest are requested and the Neumann series of a
        step does not converge: use `end_to_end_jacobian` then.
    scipy.sparse.linalg.ArpackNoConvergence
        If the iteration does not converge.

    Notes
    -----
    Lanczos on J^T J: a singular value sigma has a relative error of about (sigma_max / sigma)^2 units of rounding. Each
    product with J or J^T costs T steps; one or two hundred products are usual. For the smallest, each step of a product
    needs log(rounding) / log(eps max|d| norm(A)) products with A.
    """
    check_linearization(lin)
    k = _checked_count(lin, k)
    check_choice("which", which, ("largest", "smallest"))
    seed, tolerance = check_integer("seed", seed, at_least=0), check_number("tolerance", tolerance, at_least=0, below=1)
    if which == "smallest":
        operator, log_scale = _inverse_operator(lin, _checked_row(lin, row), seed)
    else:
        operator, log_scale = jacobian_operator(lin, row, seed=seed)
    if not math.isfinite(log_scale):
        return np.full(k, -math.inf)
    logs = log_or_minus_infinity(_leading_singular_values(operator, k, seed, tolerance)) + log_scale
    return np.sort(-logs if which == "smallest" else logs)[::-1]


def log_eigenvalues(lin: Linearization, k: int = 5, *, row: int = 0, seed: int = 0) -> np.ndarray:
    """Return logarithms of the eigenvalues of dh_T/dh_0 of largest modulus, of one row, matrix-free.

    Parameters
    ----------
    lin, row, seed
        As for `log_singular_values`.
    k : int
        Number of values, 1 to state_size - 2. If k splits a complex pair, only one of the pair is returned.

    Returns
    -------
    numpy.ndarray, shape (k,)
        complex: log |lambda| + i arg lambda, by descending modulus; -inf where the Jacobian is 0 in floating point.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    scipy.sparse.linalg.ArpackNoConvergence
        If the iteration does not converge.

    Notes
    -----
    Arnoldi. Many eigenvalues of nearly equal modulus, as at gamma = 0, make it slow: use `end_to_end_jacobian` then.
    """
    check_linearization(lin)
    k = _checked_count(lin, k)
    operator, log_scale = jacobian_operator(lin, row, seed=seed)
    if not math.isfinite(log_scale):
        return np.full(k, -math.inf + 0j)
    start = np.random.default_rng(seed).standard_normal(lin.state_size).astype(operator.dtype)
    n_vectors = min(lin.state_size, 2 * k + LANCZOS_VECTORS)
    with one_thread_each():
        values = eigs(operator, k, ncv=n_vectors, v0=start, return_eigenvectors=False)
    return sorted_logs(values) + log_scale


def _leading_singular_values(operator: LinearOperator, k: int, seed: int, tolerance: float) -> np.ndarray:
    s = operator.shape[0]
    if s <= FEW:
        return np.linalg.svd(operator.matmat(np.eye(s, dtype=operator.dtype)), compute_uv=False)[:k]
    start = np.random.default_rng(seed).standard_normal(s).astype(operator.dtype)
    n_vectors = min(s - 1, 2 * k + LANCZOS_VECTORS)
    with one_thread_each():  # the products are small: BLAS threads would block each other
        return svds(operator, k, ncv=n_vectors, tol=tolerance, v0=start, return_singular_vectors=False)


def _checked_count(lin: Linearization, k: int) -> int:
    k, most = check_integer("k", k, at_least=1), lin.state_size - 2
    if k > most:
        raise ValueError(f"k must be at most state_size - 2 = {most}, got {k}; for all, use end_to_end_jacobian")
    return k


def _checked_row(lin: Linearization, row: int) -> int:
    row = check_integer("row", row, at_least=0)
    if row >= lin.batch:
        raise ValueError(f"row must be from 0 to B - 1 = {lin.batch - 1}, got {row}")
    return row


def _operator(lin: Linearization, product: Callable[[np.ndarray, bool], np.ndarray]) -> LinearOperator:
    """Return product(v (s, k), adjoint) -> (s, k) as a LinearOperator."""
    s = lin.state_size
    return LinearOperator(
        (s, s),
        matvec=lambda v: product(v.reshape(s, 1), False)[:, 0],
        rmatvec=lambda v: product(v.reshape(s, 1), True)[:, 0],
        matmat=lambda v: product(v, False),
        rmatmat=lambda v: product(v, True),
        dtype=to_numpy(lin.states[:1, :1, :1]).dtype,
    )


def _through(lin: Linearization, v: Array, adjoint: bool, per_step: float) -> Array:
    """Return J v, or J^T v, with each step multiplied by `per_step`."""
    steps = range(1, lin.n_steps + 1)
    for t in reversed(steps) if adjoint else steps:
        v = (lin.apply_adjoint(t, v) if adjoint else lin.apply(t, v)) * per_step
    return v


def _pilot(lin: Linearization, seed: int) -> float:
    """Return log(|J v| / |v|) for a random v: a good estimate of log norm(J), and never out of range."""
    start = np.random.default_rng(seed).standard_normal((1, 1, lin.state_size))
    v, log_start = rescaled(astype(asarray(start, like=lin.states), lin.states.dtype))
    total = -log_start
    for t in range(1, lin.n_steps + 1):
        v, log_factor = rescaled(lin.apply(t, v))
        total = total + log_factor
    return float(total[0] + log_start[0])


def _inverse_operator(lin: Linearization, row: int, seed: int) -> tuple[LinearOperator, float]:
    """Return the inverse of dh_T/dh_0, in the form of `jacobian_operator`."""
    one = lin.row(row)
    q = _contraction(one)
    dtype = to_numpy(one.states[:1, :1, :1]).dtype
    # The series ends when its remainder q^j / (1 - q) is below rounding.
    terms = max(1, math.ceil(math.log(np.finfo(dtype).eps * (1 - q)) / math.log(q))) if q > 0 else 1
    inverse = _Inverse(one, terms)  # type: ignore[arg-type]
    log_scale = _pilot(inverse, seed)
    per_step = math.exp(-log_scale / one.n_steps)

    def product(v: np.ndarray, adjoint: bool) -> np.ndarray:
        rows = asarray(np.ascontiguousarray(v.T), like=one.states, dtype=one.states.dtype)[None, :, :]
        return to_numpy(_through(inverse, rows, adjoint, per_step))[0].T

    return _operator(one, product), log_scale


def _contraction(lin: Linearization) -> float:
    """Return max |S_t| norm(A); raise ValueError unless it is < 1, so that each step's Neumann series converges."""
    name = type(lin.cell).__name__
    if not isinstance(lin.cell, EulerCell) or not isinstance(lin, SlopeLinearization):
        raise ValueError(
            f"which='smallest' needs steps I + eps diag(d) A with eps norm(A) < 1, and a {name} has no such form; "
            "use end_to_end_jacobian"
        )
    xp = array_namespace(lin.slopes)
    q = float(xp.max(xp.abs(lin.slopes))) * float(np.linalg.norm(to_numpy(lin.A), 2))
    if q >= 1:
        raise ValueError(
            f"which='smallest' needs eps max|d| norm(A) < 1, got {q:.3g} for this {name} with eps = "
            f"{lin.cell.step_size:g}; use end_to_end_jacobian"
        )
    return q


class _Inverse(Linearization):
    """The steps of another linearization, inverted in reverse order: step t of this is (J_{T+1-t})^-1.

    (I + N)^-1 v = v - N v + N^2 v - ..., N = diag(S_t) A, summed by Horner's rule y <- v - N y.
    """

    def __init__(self, lin: SlopeLinearization, terms: int) -> None:
        super().__init__(lin.cell, lin.states)
        self.lin, self.terms = lin, terms

    def apply(self, t: int, v: Array) -> Array:
        """Return J^-1 v."""
        y, t = v, self.n_steps + 1 - t
        for _ in range(self.terms):
            y = v - (self.lin.apply(t, y) - y)
        return y

    def apply_adjoint(self, t: int, g: Array) -> Array:
        """Return J^-T g."""
        y, t = g, self.n_steps + 1 - t
        for _ in range(self.terms):
            y = g - (self.lin.apply_adjoint(t, y) - y)
        return y

    def row(self, index: int) -> _Inverse:
        """Return the inverse linearization of one row."""
        return _Inverse(self.lin.row(index), self.terms)

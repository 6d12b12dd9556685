r"""Finite-time Lyapunov exponents, by QR.

    Q_0 = I,   J_t Q_{t-1} = Q_t R_t,   exponent_i = (1/T) sum_t log |R_t|_ii

are mean growth rates along one trajectory: the sum of the first j exponents is the growth rate of the j-dimensional
volume spanned by the first j columns of Q_0. Unlike the eigenvalues of single steps, they include how the Jacobians of
different times combine. They determine gradients over long horizons, where Proposition 1, which is about a Jacobian at
one fixed time, is only a guide.

Guaranteed: the sum of all exponents is log |det dh_T/dh_0| / T. Not guaranteed: a single exponent over a finite time
depends on Q_0, and approaches its limit, and the logarithm of a singular value over T, only as 1/T.

References
----------
G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, "Lyapunov Characteristic Exponents for Smooth Dynamical Systems
and for Hamiltonian Systems; A Method for Computing All of Them", Meccanica 15, 1980.
"""

from __future__ import annotations

import math

from numrnn.backend import Array, array_namespace, eye, zeros
from numrnn.checks import check_integer
from numrnn.stability.endtoend import check_linearization, log_or_minus_infinity
from numrnn.stability.euler import transposed
from numrnn.stability.linearization import Linearization

__all__ = ["lyapunov_exponents"]


def lyapunov_exponents(lin: Linearization, k: int | None = None, *, every: int = 1) -> Array:
    """Return the finite-time Lyapunov exponents of each row of a batch.

    Parameters
    ----------
    lin : Linearization
        From `linearize`.
    k : int or None
        Number of exponents, the largest first, 1 to state_size; None means all.
    every : int
        Steps between two QR decompositions, >= 1. A larger value is faster; if it is too large, directions become
        parallel.

    Returns
    -------
    array, shape (B, k)
        Per step, descending, dimensionless; divide by the step size for the rate in the time of the ODE. -inf if a
        direction is lost completely, as when a slope is 0 in floating point.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    2 T B n^2 k flops for the products and about 4 T B s k^2 / every for the decompositions.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> from numrnn.stability import linearize
    >>> cell = numrnn.AntisymmetricCell(1, 4, step_size=0.1, diffusion=0.5)
    >>> params = cell.init_params(np.random.default_rng(0), dtype=np.float64, weight_std=0.0)
    >>> exponents = lyapunov_exponents(linearize(cell, params, np.zeros((50, 1, 1))))
    >>> bool(np.allclose(exponents, np.log(1 - 0.1 * 0.5)))
    True
    """
    check_linearization(lin)
    k = lin.state_size if k is None else check_integer("k", k, at_least=1)
    every = check_integer("every", every, at_least=1)
    if k > lin.state_size:
        raise ValueError(f"k must be at most state_size={lin.state_size}, got {k}")
    xp, like = array_namespace(lin.states), lin.states
    v = zeros((lin.batch, k, lin.state_size), like=like) + eye(lin.state_size, like=like)[:k, :]
    total = zeros((lin.batch, k), like=like)
    for t in range(1, lin.n_steps + 1):
        v = lin.apply(t, v)
        if t % every == 0 or t == lin.n_steps:
            Q, R = xp.linalg.qr(transposed(v))  # (B, s, k), (B, k, k)
            total = total + log_or_minus_infinity(xp.abs(xp.sum(R * eye(k, like=like), axis=-1)))
            v = transposed(Q)
    return _falling(total / lin.n_steps)


def _falling(values: Array) -> Array:
    xp = array_namespace(values)
    return -xp.sort(-values, axis=-1) if math.prod(values.shape) else values

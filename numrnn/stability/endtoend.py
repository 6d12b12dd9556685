r"""The end-to-end Jacobian dh_T/dh_0 = J_T ... J_1 as an explicit product, in logarithms.

The paper's product of Jacobians shows whether gradients vanish or explode. Its entries can leave the range of floating
point: an LSTM's fall by a factor of 1e34 within a few hundred steps. So a product is stored as a matrix of moderate
size and the logarithm of a factor; singular values and eigenvalues are returned as logarithms.

    J = M exp(s), from n tangents at a time             2 T n^3 flops per row

For large n, matrixfree.py finds singular values and eigenvalues without forming J.

Singular values bound the gradient. For the antisymmetric cell they lie in
[(1 - eps norm(A))^T, (1 + eps norm(A))^T]; nothing sharper follows from the eigenvalues of the single steps, since the
slopes differ from step to step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from numrnn.backend import Array, array_namespace, eye, to_numpy, zeros
from numrnn.stability.euler import transposed
from numrnn.stability.jacobians import checked_times
from numrnn.stability.linearization import Linearization

__all__ = [
    "ScaledMatrix",
    "check_linearization",
    "end_to_end_jacobian",
    "log_or_minus_infinity",
    "log_singular_value_history",
    "rescaled",
    "sorted_logs",
]

RESCALE_EVERY = 8  # steps; float32 can represent eight steps that each change a vector by a factor of 1e4


@dataclass(frozen=True, eq=False)
class ScaledMatrix:
    """A batch of matrices, each equal to matrix times exp(log_scale).

    Attributes
    ----------
    matrix : array, shape (B, s, s)
        Largest entry 1, or all 0.
    log_scale : array, shape (B,)
        Natural logarithm of the factor; -inf where the matrix is 0.
    """

    matrix: Array
    log_scale: Array

    def log_singular_values(self) -> Array:
        """Return the logarithms of the singular values, (B, s), in descending order.

        Values below s units of rounding of the largest are lost in rounding: read them as upper bounds.
        """
        xp = array_namespace(self.matrix)
        if hasattr(xp.linalg, "svdvals"):
            values = xp.linalg.svdvals(self.matrix)
        else:
            values = xp.linalg.svd(self.matrix, compute_uv=False)
        return log_or_minus_infinity(values) + self.log_scale[:, None]

    def log_eigenvalues(self) -> np.ndarray:
        """Return the logarithms of the eigenvalues, (B, s), complex: log |lambda| + i arg lambda.

        By descending modulus, computed on the host. Small ones are lost in rounding as for `log_singular_values`, and
        earlier if the matrix is far from normal.
        """
        values = np.linalg.eigvals(to_numpy(self.matrix))
        return sorted_logs(values) + to_numpy(self.log_scale)[:, None]


def log_or_minus_infinity(values: Array) -> Array:
    """Return log(values), -inf for 0, without a warning."""
    xp = array_namespace(values)
    return xp.where(values > 0, xp.log(xp.where(values > 0, values, 1)), -math.inf)


def sorted_logs(values: np.ndarray) -> np.ndarray:
    """Return log |lambda| + i arg lambda by descending modulus."""
    values = np.take_along_axis(values, np.argsort(-np.abs(values), axis=-1), axis=-1)
    return log_or_minus_infinity(np.abs(values)) + 1j * np.angle(values)


def rescaled(v: Array) -> tuple[Array, Array]:
    """Return v / factor and log(factor), factor = max |v| for each row of (B, k, s); v itself if that is 0."""
    xp = array_namespace(v)
    factor = xp.max(xp.abs(v), axis=(1, 2))
    return v / xp.where(factor > 0, factor, 1)[:, None, None], log_or_minus_infinity(factor)


def end_to_end_jacobian(lin: Linearization) -> ScaledMatrix:
    """Return dh_T/dh_0 of each row as an explicit product.

    Parameters
    ----------
    lin : Linearization
        From `linearize`.

    Returns
    -------
    ScaledMatrix
        matrix[i, j, k] exp(log_scale[i]) is the derivative of h_T[i, j] with respect to h_0[i, k].

    Raises
    ------
    TypeError
        If `lin` is not a Linearization.

    Notes
    -----
    2 T B n^3 flops (eight times that for an LSTM), and a few B s^2 numbers of memory.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> from numrnn.stability import linearize
    >>> cell = numrnn.AntisymmetricCell(1, 4, step_size=0.1, diffusion=0.0)
    >>> params = cell.init_params(np.random.default_rng(0), dtype=np.float64)
    >>> product = end_to_end_jacobian(linearize(cell, params, np.ones((100, 1, 1))))
    >>> product.log_singular_values().shape
    (1, 4)
    """
    check_linearization(lin)
    return next(product for _, product in _products(lin, [lin.n_steps]))


def log_singular_value_history(lin: Linearization, times: Sequence[int]) -> Array:
    """Return the logarithms of all singular values of dh_t/dh_0 at the given times.

    Parameters
    ----------
    lin : Linearization
        From `linearize`.
    times : sequence of int
        Steps t, ascending, 1 to T.

    Returns
    -------
    array, shape (len(times), B, state_size)
        Descending along the last axis; see `ScaledMatrix.log_singular_values` for those lost in rounding.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    Costs `end_to_end_jacobian` up to the last time, and one singular value decomposition per time.
    """
    check_linearization(lin)
    steps = checked_times(times, lin.n_steps)
    if steps != sorted(set(steps)):
        raise ValueError(f"times must be ascending, got {list(times)}")
    out = zeros((len(steps), lin.batch, lin.state_size), like=lin.states)
    for t, product in _products(lin, steps):
        out[steps.index(t), ...] = product.log_singular_values()
    return out


def _products(lin: Linearization, times: Sequence[int]) -> Iterator[tuple[int, ScaledMatrix]]:
    """Yield t and dh_t/dh_0 for ascending times."""
    like, s = lin.states, lin.state_size
    v = zeros((lin.batch, s, s), like=like) + eye(s, like=like)
    total = zeros((lin.batch,), like=like)
    for t in range(1, times[-1] + 1):
        v = lin.apply(t, v)
        if t % RESCALE_EVERY == 0 or t in times:
            v, log_factor = rescaled(v)
            total = total + log_factor
        if t in times:
            yield t, ScaledMatrix(transposed(v), total)  # a tangent is a row of v and a column of J


def check_linearization(lin: object) -> None:
    """Raise TypeError, naming `lin`, unless it is a Linearization."""
    if not isinstance(lin, Linearization):
        raise TypeError(f"lin must be a Linearization, as linearize returns it, got {type(lin).__name__}")

r"""Bounds on the distance of two states of a Lipschitz RNN: in the ODE, and in one step.

Let e = h - h~ for one input. tanh is 1-Lipschitz, so |tanh(W h + p) - tanh(W h~ + p)| <= norm(W) |e|.

    ODE      (1/2) d/dt |e|^2 <= e^T A e + |e| norm(W) |e|
             |e(t)| <= exp(mu t) |e(0)|,    mu = lambda_max((A + A^T) / 2) + norm(W)
    Euler    |e_t| <= rho |e_{t-1}|,        rho = norm(I + eps A) + eps norm(W)
    RK2      |e_t| <= rho |e_{t-1}|,        rho = norm(I + eps A + (eps^2 / 2) A^2)
                                                  + eps norm(W) (norm(I + (eps / 2) A) + (eps / 2) (norm(A) + norm(W)))

mu < 0 is condition (a) of Theorem 1 of Erichson et al. (ICLR 2021, arXiv:2006.12070), which calls an equilibrium of
such a network globally exponentially stable. It has two limits. It is about the ODE: a step may expand although the ODE
contracts, for example Euler's method with only a linear part (W = 0, beta_A = 1) for eps > 2 gamma / (gamma^2 +
omega^2), as in Proposition 2 of Chang et al. And it depends on the current parameters: even with beta_A = 1 it requires
gamma_A > norm(W), some hundred times the paper's value, and training does not preserve it.
"""

from __future__ import annotations

import numpy as np

from numrnn.backend import Params, to_numpy
from numrnn.cells import LipschitzCell
from numrnn.stability.euler import check_cell

__all__ = ["contraction_rate", "step_bound"]


def contraction_rate(cell: LipschitzCell, params: Params) -> float:
    """Return mu: two solutions of the ODE with the same input diverge at most like exp(mu t).

    Parameters
    ----------
    cell : LipschitzCell
    params : mapping of str to array
        Its parameters.

    Returns
    -------
    float
        If negative, any two solutions with the same input converge to each other.

    Raises
    ------
    TypeError, ValueError
        If the cell is not a LipschitzCell, or as for `Cell.check_params`.

    Notes
    -----
    In float64 on the host; O(n^3).

    Examples
    --------
    >>> cell = LipschitzCell(1, 2, beta_A=1.0, beta_W=1.0, diffusion_A=0.5, diffusion_W=0.25)
    >>> none = np.zeros((2, 2))
    >>> contraction_rate(cell, {"M_A": none, "M_W": none, "V": np.zeros((2, 1)), "b": np.zeros(2)})
    -0.25
    """
    A, W = _matrices(cell, params)
    return float(np.linalg.eigvalsh((A + A.T) / 2)[-1] + _norm(W))


def step_bound(cell: LipschitzCell, params: Params) -> float:
    """Return rho: a step multiplies the distance of two states with the same input at most by rho.

    Parameters
    ----------
    cell : LipschitzCell
    params : mapping of str to array
        Its parameters.

    Returns
    -------
    float
        An upper bound of the Lipschitz constant of the step, and of the spectral norm of its Jacobian; below 1 the step
        is a contraction.

    Raises
    ------
    TypeError, ValueError
        If the cell is not a LipschitzCell, or as for `Cell.check_params`.

    Notes
    -----
    In float64 on the host; O(n^3).
    """
    A, W = _matrices(cell, params)
    eps, I, size = cell.step_size, np.eye(cell.hidden_size), _norm(W)
    if cell.method == "euler":
        return _norm(I + eps * A) + eps * size
    linear = _norm(I + eps * A + eps**2 / 2 * (A @ A))
    return linear + eps * size * (_norm(I + eps / 2 * A) + eps / 2 * (_norm(A) + size))


def _matrices(cell: LipschitzCell, params: Params) -> tuple[np.ndarray, np.ndarray]:
    check_cell(cell, LipschitzCell, "a Lipschitz cell")
    cell.check_params(params)
    M_A, M_W = (to_numpy(params[name]).astype(np.float64) for name in ("M_A", "M_W"))
    return cell.matrix_A.value(M_A), cell.matrix_W.value(M_W)


def _norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))

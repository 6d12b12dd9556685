r"""The AntisymmetricRNN, equation (12) of the paper.

    h_t = h_{t-1} + eps tanh(A h_{t-1} + V x_t + b),    A = W - W^T - gamma I

One step of forward Euler, of size eps, through the ODE h' = tanh(A h + V x + b). The antisymmetric part of A has an
imaginary spectrum, so the ODE neither forgets nor explodes; the diffusion gamma pulls the spectrum to the left just
enough to make the Euler steps stable as well.

This file defines the matrix, then the step for any matrix, then the cell that combines them. The paper's ablation
(unstructured.py) uses the same step with another matrix.

Guaranteed: |h_t - h_{t-1}| <= eps in every element. Not guaranteed: stability. Proposition 1 is about the eigenvalues
of the Jacobian at one fixed time; for a Jacobian that changes with t it is a guide, not a theorem.

Derivation: docs/derivation.md, sections 1 and 2.

References
----------
B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks",
ICLR 2019, arXiv:1902.09689.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from numrnn.backend import Array, Params, array_namespace, eye
from numrnn.cells.base import checked
from numrnn.cells.euler import EulerCell, RecurrentMatrix
from numrnn.checks import shown
from numrnn.initializers import block_rotations

__all__ = ["AntisymmetricCell", "AntisymmetricMatrix", "EulerStep"]


class AntisymmetricMatrix(RecurrentMatrix):
    """The matrix A = W - W^T - gamma I, with its tangent and its adjoint.

    Parameters
    ----------
    hidden_size : int
        n >= 1.
    diffusion : float
        gamma >= 0.
    triangular : bool
        True: only the n (n - 1) / 2 entries of W above the diagonal are parameters, as in the paper's counts; the other
        entries are never read and their gradient is zero. False: W is a full matrix, of which only the antisymmetric
        part matters. Both represent every antisymmetric matrix, but they train differently: at the same learning rate
        the full matrix changes A twice as fast, and at the same weight_std its A is larger by a factor sqrt(2).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    turns: ClassVar[bool] = True

    def __init__(self, hidden_size: int, diffusion: float = 0.01, triangular: bool = True) -> None:
        super().__init__(hidden_size, diffusion)
        if not isinstance(triangular, bool):
            raise TypeError(f"triangular must be True or False, got {shown(triangular)}")
        self.triangular = triangular

    def _free(self, W: Array) -> Array:
        """Return W with zeros in the entries that are not parameters."""
        return array_namespace(W).triu(W, k=1) if self.triangular else W

    def value(self, W: Array) -> Array:
        """Return A = W - W^T - gamma I, (n, n); with `triangular`, from the entries of W above the diagonal only."""
        U = self._free(W)
        return U - U.T - self.diffusion * eye(self.hidden_size, like=W)  # (F1)

    def tangent(self, W_dot: Array) -> Array:
        """Return the tangent of A, (n, n)."""
        U_dot = self._free(W_dot)
        return U_dot - U_dot.T  # (T1)

    def adjoint(self, dA: Array) -> Array:
        """Return dW from dA: W[i, j] appears in A[i, j] with +, in A[j, i] with -."""
        return self._free(dA - dA.T)  # (B6)

    def initial_value(self, W: np.ndarray, rotations: Sequence[float] | None) -> np.ndarray:
        """Return the initial W from a normally distributed W (n, n), with `rotations` added."""
        if rotations is not None:
            M = block_rotations(self.hidden_size, *rotations)
            W = W + (M if self.triangular else M / 2)  # the full matrix counts twice in W - W^T
        return np.triu(W, k=1) if self.triangular else W

    def parameter_count(self) -> int:
        """Return the number of free entries of W."""
        n = self.hidden_size
        return n * (n - 1) // 2 if self.triangular else n * n

    def config(self) -> dict[str, Any]:
        """Return the constructor arguments except the size."""
        return super().config() | {"triangular": self.triangular}


class EulerStep(EulerCell):
    """The step of equation (12), for any matrix A that is a function of W."""

    def _candidate(self, params: Params, A: Array, x: Array, h: Array) -> Array:
        """Return c, (B, n); every method of this cell recomputes it from x and h."""
        u = h @ A.T + x @ params["V"].T + params["b"]  # (B, n) (F2)
        return array_namespace(h).tanh(u)  # (F3)

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return h + eps tanh(A h + V x + b), in rows: h + eps tanh(h A^T + x V^T + b).

        Parameters
        ----------
        params : mapping of str to array
            W (n, n), V (n, m), b (n,).
        x : array, shape (B, m)
            Input.
        h : array, shape (B, n)
            State.

        Returns
        -------
        array, shape (B, n)

        Raises
        ------
        TypeError, ValueError
            See `Cell.check_step`.

        Notes
        -----
        Costs 2 B n (n + m) flops.
        """
        A = self.matrix.value(params["W"])
        c = self._candidate(params, A, x, h)
        return h + self.step_size * c  # (F4)

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state, (B, n); see `Cell.step_jvp`. Costs three steps."""
        A = self.matrix.value(params["W"])
        A_dot = self.matrix.tangent(params_dot["W"])
        c = self._candidate(params, A, x, h)
        u_dot = h_dot @ A.T + h @ A_dot.T + x_dot @ params["V"].T + x @ params_dot["V"].T + params_dot["b"]  # (T2)
        c_dot = (1 - c * c) * u_dot  # (T3)
        return h_dot + self.step_size * c_dot  # (T4)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, dh) from dh_next; see `Cell.step_vjp`. Costs three steps, one to recompute c."""
        xp = array_namespace(h)
        A = self.matrix.value(params["W"])
        c = self._candidate(params, A, x, h)
        delta = self.step_size * (1 - c * c) * dh_next  # (B, n) (B1)
        dh = dh_next + delta @ A  # (B2)
        dx = delta @ params["V"]  # (B, m) (B3)
        dV, db = delta.T @ x, xp.sum(delta, axis=0)  # (n, m), (n,) (B4)
        dA = delta.T @ h  # (n, n) (B5)
        dW = self.matrix.adjoint(dA)
        return {"W": dW, "V": dV, "b": db}, dx, dh

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return I + eps diag(1 - c^2) A for each row, (B, n, n)."""
        A = self.matrix.value(params["W"])
        c = self._candidate(params, A, x, h)
        return eye(self.hidden_size, like=A) + self.step_size * (1 - c * c)[:, :, None] * A  # (J1)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: W (n, n), V (n, m), b (n,)."""
        m, n = self.input_size, self.hidden_size
        return {"W": (n, n), "V": (n, m), "b": (n,)}


class AntisymmetricCell(EulerStep):
    """The AntisymmetricRNN, equation (12): h + eps tanh((W - W^T - gamma I) h + V x + b).

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.
    step_size : float
        eps > 0, the step of forward Euler.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A, inside the tanh.
    triangular : bool
        True: the n (n - 1) / 2 entries of W above the diagonal are the parameters, as in the paper. False: all n^2
        entries are, but only the antisymmetric part of W matters. See `AntisymmetricMatrix`.

    Attributes
    ----------
    matrix : AntisymmetricMatrix
        A as a function of W: `cell.matrix.value(params["W"])`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    At h = 0 and without input the Euler steps are stable if eps <= 2 gamma / (gamma^2 + omega^2), where omega is the
    largest eigenvalue modulus of W - W^T. With gamma = 0 no step size is stable.

    Examples
    --------
    >>> import numpy as np
    >>> cell = AntisymmetricCell(input_size=1, hidden_size=128, step_size=0.03, diffusion=0.001)
    >>> params = cell.init_params(np.random.default_rng(0), weight_std=4.0)
    >>> h = np.zeros((32, 128), np.float32)
    >>> x = np.ones((32, 1), np.float32)
    >>> cell.step(params, x, h).shape
    (32, 128)
    >>> cell.parameter_count()
    8384
    """

    name: ClassVar[str] = "antisymmetric"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        step_size: float = 0.01,
        diffusion: float = 0.01,
        triangular: bool = True,
    ) -> None:
        super().__init__(input_size, step_size, AntisymmetricMatrix(hidden_size, diffusion, triangular))

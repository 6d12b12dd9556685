r"""The Lipschitz RNN: a linear part and a tanh, each with a matrix that is partly antisymmetric.

    h' = f(h) = A h + tanh(W h + V x + b)
    A = S(M_A; beta_A, gamma_A),   W = S(M_W; beta_W, gamma_W)
    S(M; beta, gamma) = (1 - beta) (M + M^T) + beta (M - M^T) - gamma I

    Euler's method      h_t = h_{t-1} + eps f(h_{t-1})
    midpoint rule, RK2  h_t = h_{t-1} + eps f(k),   k = h_{t-1} + (eps / 2) f(h_{t-1})

with the same x_t for both evaluations of an RK2 step. The paper writes U for V. beta = 1/2 keeps M, beta = 1 makes it
antisymmetric, and beta in between lets the real parts of eigenvalues spread around -gamma.

Guaranteed: the symmetric part of S is 2 (1 - beta) M_sym - gamma I, so for beta = 1 every eigenvalue has real part
-gamma; and a step multiplies the distance of two states at most by `numrnn.stability.step_bound`. Not guaranteed: that
this bound is 1 or less. Theorem 1 of the paper, global stability, is about the ODE and not its steps, for constant x,
and under a condition on A and W that its choice of beta and gamma does not ensure and that training does not preserve
(`numrnn.stability.contraction_rate`).

Derivation: docs/derivation.md, section 11.

References
----------
N. B. Erichson, O. Azencot, A. Queiruga, L. Hodgkinson, M. W. Mahoney, "Lipschitz Recurrent Neural Networks", ICLR 2021,
arXiv:2006.12070.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from numrnn.backend import Array, Params, array_namespace, eye
from numrnn.cells.base import Cell, checked
from numrnn.cells.euler import RecurrentMatrix
from numrnn.checks import check_choice, check_number
from numrnn.initializers import InitialValues

__all__ = ["LipschitzCell", "Rate", "SymmetricSkewMatrix"]

METHODS = ("euler", "rk2")
INITIAL_STD = 0.1  # standard deviation of the elements of M_A and M_W, times n


class SymmetricSkewMatrix(RecurrentMatrix):
    """The matrix S = (1 - beta) (M + M^T) + beta (M - M^T) - gamma I, with its tangent and its adjoint.

    Parameters
    ----------
    hidden_size : int
        n >= 1.
    beta : float
        From 0 to 1; the paper uses 1/2 to 1. 1/2 gives M - gamma I, 1 an antisymmetric matrix minus gamma I.
    diffusion : float
        gamma >= 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def __init__(self, hidden_size: int, beta: float, diffusion: float) -> None:
        super().__init__(hidden_size, diffusion)
        self.beta = check_number("beta", beta, at_least=0, at_most=1)

    def _linear(self, M: Array) -> Array:
        """Return (1 - beta) (M + M^T) + beta (M - M^T), in fewer operations."""
        return M + (1 - 2 * self.beta) * M.T

    def value(self, M: Array) -> Array:
        """Return S, (n, n)."""
        return self._linear(M) - self.diffusion * eye(self.hidden_size, like=M)  # (F20)

    def tangent(self, M_dot: Array) -> Array:
        """Return the tangent of S, (n, n)."""
        return self._linear(M_dot)  # (T17)

    def adjoint(self, dS: Array) -> Array:
        """Return dM from dS; the linear part is its own adjoint."""
        return self._linear(dS)  # (B41)


@dataclass(frozen=True, eq=False)
class Rate:
    """The right side of the ODE in one step: f(h) = A h + tanh(W h + p), with its tangent, adjoint and Jacobian.

    Attributes
    ----------
    A, W : array, shape (n, n)
    p : array, shape (B, n)
        V x + b, the input's part of the pre-activation.
    """

    A: Array
    W: Array
    p: Array

    def value(self, h: Array) -> tuple[Array, Array]:
        """Return f(h) and c, (B, n) each."""
        u = h @ self.W.T + self.p  # (F21)
        c = array_namespace(h).tanh(u)  # (F22)
        return h @ self.A.T + c, c  # (F23)

    def tangent(self, h: Array, c: Array, dot: Rate, h_dot: Array) -> Array:
        """Return the tangent of f(h), (B, n); `dot` holds those of A, W and p."""
        u_dot = h_dot @ self.W.T + h @ dot.W.T + dot.p  # (T18)
        return h_dot @ self.A.T + h @ dot.A.T + (1 - c * c) * u_dot  # (T19)

    def adjoint(self, c: Array, df: Array) -> tuple[Array, Array]:
        """Return dh and delta, the cotangent of u, (B, n) each, from the cotangent of f(h)."""
        delta = (1 - c * c) * df  # (B35)
        return df @ self.A + delta @ self.W, delta  # (B36)

    def jacobian(self, c: Array) -> Array:
        """Return df/dh for each row, (B, n, n)."""
        return self.A + (1 - c * c)[:, :, None] * self.W  # (J11)


class LipschitzCell(Cell):
    """The Lipschitz RNN: a step of Euler's method, or of the midpoint rule, through h' = A h + tanh(W h + V x + b).

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.
    step_size : float
        eps > 0. The defaults are of the size used in the paper for MNIST pixel by pixel.
    beta_A, beta_W : float
        From 0 to 1: how antisymmetric A and W are; see `SymmetricSkewMatrix`.
    diffusion_A, diffusion_W : float
        gamma_A and gamma_W >= 0, subtracted from the diagonals of A and W.
    method : {"euler", "rk2"}
        Integration method. "rk2", the midpoint rule, has order 2, Euler's method order 1; "rk2" costs twice as much.

    Attributes
    ----------
    matrix_A, matrix_W : SymmetricSkewMatrix
        A and W as functions of M_A and M_W: `cell.matrix_A.value(params["M_A"])`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    M_A and M_W start as N(0, (0.1 weight_std / n)^2): small, as in the paper. With the variance 1 / n of the other
    cells' recurrent weights, A would have eigenvalues with real parts of up to about 2 (1 - beta_A) sqrt(2), and states
    would grow like exp(0.7 eps t).

    Examples
    --------
    >>> import numpy as np
    >>> cell = LipschitzCell(input_size=1, hidden_size=128, method="rk2")
    >>> params = cell.init_params(np.random.default_rng(0))
    >>> cell.step(params, np.ones((32, 1), np.float32), np.zeros((32, 128), np.float32)).shape
    (32, 128)
    >>> cell.parameter_count()
    33024
    """

    name: ClassVar[str] = "lipschitz"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        step_size: float = 0.03,
        beta_A: float = 0.75,
        beta_W: float = 0.75,
        diffusion_A: float = 0.001,
        diffusion_W: float = 0.001,
        method: Literal["euler", "rk2"] = "euler",
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.step_size = check_number("step_size", step_size, above=0)
        for name, beta in (("beta_A", beta_A), ("beta_W", beta_W)):
            check_number(name, beta, at_least=0, at_most=1)
        for name, gamma in (("diffusion_A", diffusion_A), ("diffusion_W", diffusion_W)):
            check_number(name, gamma, at_least=0)
        self.matrix_A = SymmetricSkewMatrix(hidden_size, beta_A, diffusion_A)
        self.matrix_W = SymmetricSkewMatrix(hidden_size, beta_W, diffusion_W)
        check_choice("method", method, METHODS)
        self.method = method

    def draw_params(self, rng: np.random.Generator, initial: InitialValues) -> dict[str, np.ndarray]:
        """Draw as `Cell.draw_params` does, but both recurrent matrices with standard deviation weight_std / (10 n)."""
        values = super().draw_params(rng, initial)
        for name in ("M_A", "M_W"):
            values[name] *= INITIAL_STD / self.hidden_size**0.5
        return values

    def rate(self, params: Params, x: Array) -> Rate:
        """Return f for these parameters and inputs x, (..., m)."""
        A, W = self.matrix_A.value(params["M_A"]), self.matrix_W.value(params["M_W"])
        return Rate(A, W, x @ params["V"].T + params["b"])

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return h + eps f(h), or h + eps f(k) with the midpoint k; f(h) in rows is h A^T + tanh(h W^T + x V^T + b).

        Parameters
        ----------
        params : mapping of str to array
            M_A (n, n), M_W (n, n), V (n, m), b (n,).
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
        Costs 2 B n (2 n + m) flops; 2 B n (4 n + m) with RK2.
        """
        eps, rate = self.step_size, self.rate(params, x)
        k = h
        if self.method == "rk2":
            k = h + eps / 2 * rate.value(h)[0]  # (F24)
        return h + eps * rate.value(k)[0]  # (F25)

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state, (B, n); see `Cell.step_jvp`. Costs three steps."""
        eps, rate = self.step_size, self.rate(params, x)
        dot = Rate(
            self.matrix_A.tangent(params_dot["M_A"]),
            self.matrix_W.tangent(params_dot["M_W"]),
            x_dot @ params["V"].T + x @ params_dot["V"].T + params_dot["b"],
        )
        k, k_dot = h, h_dot
        if self.method == "rk2":
            f, c = rate.value(h)
            k, k_dot = h + eps / 2 * f, h_dot + eps / 2 * rate.tangent(h, c, dot, h_dot)  # (T20)
        _, c = rate.value(k)
        return h_dot + eps * rate.tangent(k, c, dot, k_dot)  # (T21)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, dh) from dh_next; see `Cell.step_vjp`. Costs three steps, one to recompute c and k."""
        eps, rate, k = self.step_size, self.rate(params, x), h
        if self.method == "rk2":
            f, c_h = rate.value(h)
            k = h + eps / 2 * f
        _, c = rate.value(k)
        df = eps * dh_next  # of f(k), (B, n) (B34)
        dk, delta = rate.adjoint(c, df)
        dh, du, dA, dW = dh_next + dk, delta, df.T @ k, delta.T @ k  # (B37)
        if self.method == "rk2":
            df = eps / 2 * dk  # of f(h), (B, n) (B38)
            by_h, delta = rate.adjoint(c_h, df)
            dh, du, dA, dW = dh + by_h, du + delta, dA + df.T @ h, dW + delta.T @ h  # (B39)
        dx, dV, db = du @ params["V"], du.T @ x, array_namespace(h).sum(du, axis=0)  # (B, m), (n, m), (n,) (B40)
        dM_A, dM_W = self.matrix_A.adjoint(dA), self.matrix_W.adjoint(dW)
        return {"M_A": dM_A, "M_W": dM_W, "V": dV, "b": db}, dx, dh

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return I + eps G(h), or with RK2 I + eps G(k) (I + (eps / 2) G(h)), G = df/dh, for each row, (B, n, n)."""
        eps, rate = self.step_size, self.rate(params, x)
        f, c = rate.value(h)
        identity, G = eye(self.hidden_size, like=f), rate.jacobian(c)
        if self.method == "rk2":
            _, c = rate.value(h + eps / 2 * f)
            G = rate.jacobian(c) @ (identity + eps / 2 * G)  # (J12)
        return identity + eps * G  # (J13)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: M_A (n, n), M_W (n, n), V (n, m), b (n,)."""
        m, n = self.input_size, self.hidden_size
        return {"M_A": (n, n), "M_W": (n, n), "V": (n, m), "b": (n,)}

    def config(self) -> dict[str, Any]:
        """Return the cell's name and constructor arguments, JSON-serialisable."""
        return {
            "cell": self.name,
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "step_size": self.step_size,
            "beta_A": self.matrix_A.beta,
            "beta_W": self.matrix_W.beta,
            "diffusion_A": self.matrix_A.diffusion,
            "diffusion_W": self.matrix_W.diffusion,
            "method": self.method,
        }

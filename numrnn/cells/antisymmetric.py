r"""The AntisymmetricRNN, equation (12) of the paper.

    h_t = h_{t-1} + eps tanh(A h_{t-1} + V x_t + b),    A = W - W^T - gamma I

One step of forward Euler, of size eps, through the ODE h' = tanh(A h + V x + b). The antisymmetric part of A has an
imaginary spectrum, so that the ODE neither forgets nor explodes; the diffusion gamma pulls the spectrum to the left by
just enough to make the Euler steps stable as well.

The file has the matrix first, then the step that uses it, then the cell, which is both. The paper's ablation
(unstructured.py) takes another matrix and the same step.

What is guaranteed: |h_t - h_{t-1}| <= eps in every element. What is not: Proposition 1 speaks of the eigenvalues of the
Jacobian frozen at one time; for a Jacobian that moves with t it is a guide, not a theorem.

Derivation: docs/derivation.md, sections 1 and 2.

References
----------
B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks",
ICLR 2019, arXiv:1902.09689.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from numrnn.backend import Array, Params, array_namespace, eye
from numrnn.cells.base import EulerCell, checked
from numrnn.initializers import InitialValues, block_rotations


class AntisymmetricMatrix(EulerCell):
    """The matrix A of the antisymmetric cells, a function of the parameter W, with its tangent and its adjoint.

    Parameters
    ----------
    input_size, hidden_size : int
        m >= 1 and n >= 1.
    step_size : float
        eps > 0, the step of forward Euler.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A, inside the tanh.
    triangular : bool
        True: only the n (n - 1) / 2 entries of W above the diagonal are parameters, as in the paper's counts; the other
        entries are never read and their gradient is zero. False: W is a full matrix, of which only the antisymmetric
        part matters. Both give every antisymmetric matrix, but not the same training: for one learning rate the full
        matrix moves A twice as fast, and for one weight_std its A is larger by sqrt(2).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        step_size: float = 0.01,
        diffusion: float = 0.01,
        triangular: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, step_size=step_size, diffusion=diffusion)
        if not isinstance(triangular, bool):
            raise TypeError(f"triangular must be True or False, got {triangular!r}")
        self.triangular = triangular

    def parameter_count(self) -> int:
        """Return how many numbers the cell may choose freely, without any read-out."""
        n = self.hidden_size
        return super().parameter_count() - (n * (n + 1) // 2 if self.triangular else 0)

    def config(self) -> dict[str, Any]:
        """Return the cell's name and the arguments that make it again, as JSON can hold them."""
        return super().config() | {"triangular": self.triangular}

    def _draw(self, rng: np.random.Generator, initial: InitialValues) -> dict[str, np.ndarray]:
        values = super()._draw(rng, initial)
        if self.triangular:
            values["W"] = np.triu(values["W"], k=1)
        return values

    def _rotations(self, slowest: float, fastest: float) -> np.ndarray:
        M = block_rotations(self.hidden_size, slowest, fastest)
        return M if self.triangular else M / 2  # the full matrix counts twice in W - W^T

    def _free(self, W: Array) -> Array:
        """Return W without the entries that are no parameters."""
        return array_namespace(W).triu(W, k=1) if self.triangular else W

    def recurrent_matrix(self, W: Array) -> Array:
        """Return A = W - W^T - gamma I, shape (n, n); of a triangular cell, W above its diagonal only."""
        U = self._free(W)
        return U - U.T - self.diffusion * eye(self.hidden_size, like=W)  # (F1)

    def recurrent_matrix_jvp(self, W_dot: Array) -> Array:
        """Return the tangent of A."""
        U_dot = self._free(W_dot)
        return U_dot - U_dot.T  # (T1)

    def recurrent_matrix_vjp(self, dA: Array) -> Array:
        """Return dW from dA: what stands at (i, j) in W stands in A at (i, j), and with a minus at (j, i)."""
        return self._free(dA - dA.T)  # (B6)


class EulerStep(EulerCell):
    """The step of equation (12), for whatever matrix A the cell makes of its W."""

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: W (n, n), V (n, m), b (n,)."""
        m, n = self.input_size, self.hidden_size
        return {"W": (n, n), "V": (n, m), "b": (n,)}

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
            As `Cell.check_step`.

        Notes
        -----
        Costs 2 B n (n + m) flops.
        """
        tanh = array_namespace(h).tanh
        A = self.recurrent_matrix(params["W"])
        u = h @ A.T + x @ params["V"].T + params["b"]  # (B, n) (F2)
        c = tanh(u)  # (F3)
        return h + self.step_size * c  # (F4)

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state, (B, n); see `Cell.step_jvp`. Costs three steps."""
        tanh = array_namespace(h).tanh
        A = self.recurrent_matrix(params["W"])
        A_dot = self.recurrent_matrix_jvp(params_dot["W"])
        c = tanh(h @ A.T + x @ params["V"].T + params["b"])
        u_dot = h_dot @ A.T + h @ A_dot.T + x_dot @ params["V"].T + x @ params_dot["V"].T + params_dot["b"]  # (T2)
        c_dot = (1 - c * c) * u_dot  # (T3)
        return h_dot + self.step_size * c_dot  # (T4)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, dh) from dh_next; see `Cell.step_vjp`. Costs three steps, one for c."""
        xp = array_namespace(h)
        A = self.recurrent_matrix(params["W"])
        c = xp.tanh(h @ A.T + x @ params["V"].T + params["b"])
        delta = self.step_size * (1 - c * c) * dh_next  # (B, n) (B1)
        dh = dh_next + delta @ A  # (B2)
        dx = delta @ params["V"]  # (B, m) (B3)
        dV, db = delta.T @ x, xp.sum(delta, axis=0)  # (n, m), (n,) (B4)
        dA = delta.T @ h  # (n, n) (B5)
        dW = self.recurrent_matrix_vjp(dA)
        return {"W": dW, "V": dV, "b": db}, dx, dh

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return I + eps diag(1 - c^2) A for each row, (B, n, n)."""
        tanh = array_namespace(h).tanh
        A = self.recurrent_matrix(params["W"])
        c = tanh(h @ A.T + x @ params["V"].T + params["b"])
        return eye(self.hidden_size, like=A) + self.step_size * (1 - c * c)[:, :, None] * A  # (J1)


class AntisymmetricCell(AntisymmetricMatrix, EulerStep):
    """The AntisymmetricRNN, equation (12): h + eps tanh((W - W^T - gamma I) h + V x + b).

    The arguments are those of `AntisymmetricMatrix`; step, step_jvp, step_vjp and jacobian are those of `EulerStep`.

    Notes
    -----
    At h = 0 and without input the Euler steps are stable if eps <= 2 gamma / (gamma^2 + omega^2), where omega is the
    largest eigenvalue modulus of W - W^T. With gamma = 0 no step is.

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

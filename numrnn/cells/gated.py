r"""The gated AntisymmetricRNN, equation (13) of the paper.

    z_t = sigmoid(A h_{t-1} + V_z x_t + b_z)
    h_t = h_{t-1} + eps z_t * tanh(A h_{t-1} + V x_t + b),    A = W - W^T - gamma I

The gate z scales the step of each unit. It shares A with the candidate, so it adds an input matrix and a bias, but no
second product with h.

Stability is not guaranteed. The Jacobian of the ODE is diag(d) A with d = z ((1 - c^2) + c (1 - z)), where c is the
candidate. Since d lies in [-1/4, 1] and may be negative, the paper's argument for an imaginary spectrum in (12) does
not apply.

Derivation: docs/derivation.md, sections 1 and 3.

References
----------
B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks",
ICLR 2019, arXiv:1902.09689.
"""

from __future__ import annotations

from typing import ClassVar

from numrnn.backend import Array, Params, array_namespace, eye
from numrnn.cells.antisymmetric import AntisymmetricMatrix
from numrnn.cells.base import checked, sigmoid
from numrnn.cells.euler import EulerCell

__all__ = ["GatedAntisymmetricCell", "GatedEulerStep"]


class GatedEulerStep(EulerCell):
    """The step of equation (13), for any matrix A that is a function of W."""

    def _candidate_and_gate(self, params: Params, A: Array, x: Array, h: Array) -> tuple[Array, Array]:
        """Return c and z, (B, n) each; every method of this cell recomputes them from x and h."""
        recurrent = h @ A.T  # one product serves both
        u = recurrent + x @ params["V"].T + params["b"]  # (B, n) (F5)
        u_z = recurrent + x @ params["V_z"].T + params["b_z"]  # (B, n) (F6)
        return array_namespace(h).tanh(u), sigmoid(u_z)  # (F7)

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return h + eps sigmoid(A h + V_z x + b_z) * tanh(A h + V x + b).

        Parameters
        ----------
        params : mapping of str to array
            W (n, n), V (n, m), b (n,), V_z (n, m), b_z (n,).
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
        Costs 2 B n (n + 2 m) flops.
        """
        A = self.matrix.value(params["W"])
        c, z = self._candidate_and_gate(params, A, x, h)
        return h + self.step_size * z * c  # (F8)

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state, (B, n); see `Cell.step_jvp`."""
        A = self.matrix.value(params["W"])
        A_dot = self.matrix.tangent(params_dot["W"])
        c, z = self._candidate_and_gate(params, A, x, h)
        recurrent_dot = h_dot @ A.T + h @ A_dot.T
        u_dot = recurrent_dot + x_dot @ params["V"].T + x @ params_dot["V"].T + params_dot["b"]  # (T5)
        u_z_dot = recurrent_dot + x_dot @ params["V_z"].T + x @ params_dot["V_z"].T + params_dot["b_z"]  # (T6)
        c_dot, z_dot = (1 - c * c) * u_dot, z * (1 - z) * u_z_dot  # (T7)
        return h_dot + self.step_size * (z_dot * c + z * c_dot)  # (T8)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, dh) from dh_next; see `Cell.step_vjp`. Costs three steps, one to recompute c and z."""
        xp = array_namespace(h)
        A = self.matrix.value(params["W"])
        c, z = self._candidate_and_gate(params, A, x, h)
        delta = self.step_size * z * (1 - c * c) * dh_next  # dL/du, (B, n) (B7)
        delta_z = self.step_size * z * (1 - z) * c * dh_next  # dL/du_z, (B, n) (B8)
        both = delta + delta_z  # A enters both u and u_z (B9)
        dh = dh_next + both @ A  # (B10)
        dx = delta @ params["V"] + delta_z @ params["V_z"]  # (B, m) (B11)
        dV, db = delta.T @ x, xp.sum(delta, axis=0)  # (n, m), (n,) (B12)
        dV_z, db_z = delta_z.T @ x, xp.sum(delta_z, axis=0)  # (n, m), (n,) (B13)
        dA = both.T @ h  # (n, n) (B14)
        dW = self.matrix.adjoint(dA)
        return {"W": dW, "V": dV, "b": db, "V_z": dV_z, "b_z": db_z}, dx, dh

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return I + eps diag(d) A with d = z (1 - c^2) + c z (1 - z), for each row, (B, n, n)."""
        A = self.matrix.value(params["W"])
        c, z = self._candidate_and_gate(params, A, x, h)
        d = z * (1 - c * c) + c * z * (1 - z)  # (J2)
        return eye(self.hidden_size, like=A) + self.step_size * d[:, :, None] * A  # (J3)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: W (n, n), V (n, m), b (n,), and of the gate V_z (n, m), b_z (n,)."""
        m, n = self.input_size, self.hidden_size
        return {"W": (n, n), "V": (n, m), "b": (n,), "V_z": (n, m), "b_z": (n,)}


class GatedAntisymmetricCell(GatedEulerStep):
    """The gated AntisymmetricRNN, equation (13): h + eps z * tanh((W - W^T - gamma I) h + V x + b), with a gate z.

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.
    step_size : float
        eps > 0, the step of forward Euler.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A, inside the tanh and inside the gate.
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

    Examples
    --------
    >>> import numpy as np
    >>> cell = GatedAntisymmetricCell(input_size=1, hidden_size=128)
    >>> params = cell.init_params(np.random.default_rng(0))
    >>> cell.step(params, np.ones((32, 1), np.float32), np.zeros((32, 128), np.float32)).shape
    (32, 128)
    >>> cell.parameter_count()
    8640
    """

    name: ClassVar[str] = "gated"

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

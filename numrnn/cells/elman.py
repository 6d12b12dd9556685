r"""The Elman network, the standard recurrent network.

    h_t = tanh(W h_{t-1} + V x_t + b)

A baseline: its Jacobian over many steps is a product of factors diag(1 - c^2) W, so gradients vanish or explode. Only
|h_t| <= 1 is guaranteed.

Derivation: docs/derivation.md, section 5.

References
----------
J. L. Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990.
"""

from __future__ import annotations

from typing import ClassVar

from numrnn.backend import Array, Params, array_namespace
from numrnn.cells.base import Cell, checked

__all__ = ["ElmanCell"]


class ElmanCell(Cell):
    """The Elman network: tanh(W h + V x + b).

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> cell = ElmanCell(input_size=3, hidden_size=8)
    >>> params = cell.init_params(np.random.default_rng(0))
    >>> cell.step(params, np.ones((2, 3), np.float32), np.zeros((2, 8), np.float32)).shape
    (2, 8)
    """

    name: ClassVar[str] = "elman"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)

    def _output(self, params: Params, x: Array, h: Array) -> Array:
        """Return c, (B, n): the next state, which the derivatives need too."""
        u = h @ params["W"].T + x @ params["V"].T + params["b"]  # (B, n) (F10)
        return array_namespace(h).tanh(u)  # (F11)

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return tanh(W h + V x + b), (B, n), in rows tanh(h W^T + x V^T + b); see `Cell.step`.

        Costs 2 B n (n + m) flops.
        """
        return self._output(params, x, h)

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next state, (B, n); see `Cell.step_jvp`."""
        W, V = params["W"], params["V"]
        c = self._output(params, x, h)
        u_dot = h_dot @ W.T + h @ params_dot["W"].T + x_dot @ V.T + x @ params_dot["V"].T + params_dot["b"]  # (T10)
        return (1 - c * c) * u_dot  # (T11)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, dh) from dh_next; see `Cell.step_vjp`. Costs three steps, one to recompute c."""
        xp = array_namespace(h)
        W, V = params["W"], params["V"]
        c = self._output(params, x, h)
        delta = (1 - c * c) * dh_next  # (B, n) (B16)
        dh, dx = delta @ W, delta @ V  # (B, n), (B, m) (B17)
        dW, dV, db = delta.T @ h, delta.T @ x, xp.sum(delta, axis=0)  # (n, n), (n, m), (n,) (B18)
        return {"W": dW, "V": dV, "b": db}, dx, dh

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return diag(1 - c^2) W for each row, (B, n, n)."""
        W = params["W"]
        c = self._output(params, x, h)
        return (1 - c * c)[:, :, None] * W  # (J4)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: W (n, n), V (n, m), b (n,)."""
        m, n = self.input_size, self.hidden_size
        return {"W": (n, n), "V": (n, m), "b": (n,)}

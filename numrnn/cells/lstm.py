r"""The long short-term memory, with one bias per gate.

    [u_i | u_f | u_g | u_o] = W h_{t-1} + V x_t + b
    i, f, o = sigmoid(u_i), sigmoid(u_f), sigmoid(u_o);    g = tanh(u_g)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

The state of this cell is the row [h | c], of width 2n. A baseline: along c the Jacobian is diag(f), so memory decays
with the product of the forget gates.

Derivation: docs/derivation.md, section 6.

References
----------
S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation 12(10),
2000.
C. Tallec, Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, arXiv:1804.11188 (forget_bias="chrono").
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from numrnn.backend import Array, Params, array_namespace, empty, eye, zeros
from numrnn.cells.base import Cell, checked, sigmoid
from numrnn.initializers import CHRONO, InitialValues

__all__ = ["LSTMCell"]

FORGET_BIAS = 1.0  # as in the paper: keeps memory at the start of training


class LSTMCell(Cell):
    """The LSTM; gates in the order input, forget, candidate, output; the initial forget bias is 1 by default.

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units; the state is 2n wide.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> cell = LSTMCell(input_size=1, hidden_size=128)
    >>> params = cell.init_params(np.random.default_rng(0))
    >>> cell.step(params, np.ones((32, 1), np.float32), np.zeros((32, 256), np.float32)).shape
    (32, 256)
    >>> cell.parameter_count()
    66560
    """

    name: ClassVar[str] = "lstm"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)

    def _quarters(self, u: Array) -> tuple[Array, Array, Array, Array]:
        """Return the four blocks of n columns."""
        n = self.hidden_size
        return u[:, :n], u[:, n : 2 * n], u[:, 2 * n : 3 * n], u[:, 3 * n :]

    def _gates(self, params: Params, x: Array, h: Array) -> tuple[Array, Array, Array, Array]:
        """Return i, f, g, o, (B, n) each, from the hidden part h (B, n) of the state."""
        u = h @ params["W"].T + x @ params["V"].T + params["b"]  # (B, 4n) (F12)
        u_i, u_f, u_g, u_o = self._quarters(u)
        return sigmoid(u_i), sigmoid(u_f), array_namespace(h).tanh(u_g), sigmoid(u_o)  # (F13)

    def _join(self, left: Array, right: Array) -> Array:
        """Return [left | right], (B, 2n)."""
        n = self.hidden_size
        both = empty((left.shape[0], 2 * n), like=left)
        both[:, :n], both[:, n:] = left, right
        return both

    @checked
    def step(self, params: Params, x: Array, h: Array) -> Array:
        """Return the next [h | c], (B, 2n); see `Cell.step`. Costs 8 B n (n + m) flops."""
        tanh, n = array_namespace(h).tanh, self.hidden_size
        i, f, g, o = self._gates(params, x, h[:, :n])
        c_next = f * h[:, n:] + i * g  # (F14)
        return self._join(o * tanh(c_next), c_next)  # (F15)

    @checked
    def step_jvp(self, params: Params, x: Array, h: Array, params_dot: Params, x_dot: Array, h_dot: Array) -> Array:
        """Return the tangent of the next [h | c], (B, 2n); see `Cell.step_jvp`."""
        tanh, n = array_namespace(h).tanh, self.hidden_size
        W, V = params["W"], params["V"]
        i, f, g, o = self._gates(params, x, h[:, :n])
        u_dot = h_dot[:, :n] @ W.T + h[:, :n] @ params_dot["W"].T  # (T12)
        u_dot = u_dot + x_dot @ V.T + x @ params_dot["V"].T + params_dot["b"]
        u_i_dot, u_f_dot, u_g_dot, u_o_dot = self._quarters(u_dot)
        i_dot, f_dot, o_dot = i * (1 - i) * u_i_dot, f * (1 - f) * u_f_dot, o * (1 - o) * u_o_dot  # (T13)
        g_dot = (1 - g * g) * u_g_dot
        c_next_dot = f_dot * h[:, n:] + f * h_dot[:, n:] + i_dot * g + i * g_dot  # (T14)
        s = tanh(f * h[:, n:] + i * g)
        return self._join(o_dot * s + o * (1 - s * s) * c_next_dot, c_next_dot)  # (T15)

    @checked
    def step_vjp(self, params: Params, x: Array, h: Array, dh_next: Array) -> tuple[dict[str, Array], Array, Array]:
        """Return (dparams, dx, d[h | c]) from the cotangent of the next [h | c]; see `Cell.step_vjp`."""
        xp, n = array_namespace(h), self.hidden_size
        h_part, c_part = h[:, :n], h[:, n:]
        i, f, g, o = self._gates(params, x, h_part)
        s = xp.tanh(f * c_part + i * g)
        dc = dh_next[:, n:] + o * (1 - s * s) * dh_next[:, :n]  # total dL/dc_t, (B, n) (B19)
        delta = empty((x.shape[0], 4 * n), like=dc)
        delta[:, :n] = i * (1 - i) * g * dc  # (B20)
        delta[:, n : 2 * n] = f * (1 - f) * c_part * dc  # (B21)
        delta[:, 2 * n : 3 * n] = (1 - g * g) * i * dc  # (B22)
        delta[:, 3 * n :] = o * (1 - o) * s * dh_next[:, :n]  # (B23)
        dh, dx = self._join(delta @ params["W"], f * dc), delta @ params["V"]  # (B24)
        dW, dV, db = delta.T @ h_part, delta.T @ x, xp.sum(delta, axis=0)  # (4n, n), (4n, m), (4n,) (B25)
        return {"W": dW, "V": dV, "b": db}, dx, dh

    @checked
    def jacobian(self, params: Params, x: Array, h: Array) -> Array:
        """Return the derivative of [h_t | c_t] with respect to [h_{t-1} | c_{t-1}] for each row, (B, 2n, 2n)."""
        xp, n = array_namespace(h), self.hidden_size
        i, f, g, o = self._gates(params, x, h[:, :n])
        s = xp.tanh(f * h[:, n:] + i * g)
        W_i, W_f, W_g, W_o = (params["W"][k * n : (k + 1) * n, :] for k in range(4))
        to_c = (
            (i * (1 - i) * g)[:, :, None] * W_i
            + (f * (1 - f) * h[:, n:])[:, :, None] * W_f
            + ((1 - g * g) * i)[:, :, None] * W_g
        )  # d c_t / d h_{t-1} (J5)
        slope = o * (1 - s * s)  # d h_t / d c_t
        J = zeros((x.shape[0], 2 * n, 2 * n), like=to_c)
        J[:, :n, :n] = slope[:, :, None] * to_c + (o * (1 - o) * s)[:, :, None] * W_o  # (J6)
        J[:, :n, n:] = (slope * f)[:, :, None] * eye(n, like=to_c)  # (J7)
        J[:, n:, :n] = to_c
        J[:, n:, n:] = f[:, :, None] * eye(n, like=to_c)  # (J8)
        return J

    @property
    def state_size(self) -> int:
        """Width of the state [h | c], 2n."""
        return 2 * self.hidden_size

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter: W (4n, n), V (4n, m), b (4n,)."""
        m, n = self.input_size, self.hidden_size
        return {"W": (4 * n, n), "V": (4 * n, m), "b": (4 * n,)}

    def unused_initial_values(self) -> set[str]:
        """Return the arguments of `init_params` that do not apply to this cell and must keep their defaults."""
        return super().unused_initial_values() - {"forget_bias", "t_max"} | {"input_gains", "bias_std"}

    def draw_params(self, rng: np.random.Generator, initial: InitialValues) -> dict[str, np.ndarray]:
        """Draw as `Cell.draw_params` does, then set the biases of the gates by `forget_bias`."""
        values, n = super().draw_params(rng, initial), self.hidden_size
        b_i, b_f = values["b"][:n], values["b"][n : 2 * n]
        if initial.forget_bias == CHRONO:
            assert initial.t_max is not None
            b_f[...] = np.log(rng.uniform(1, initial.t_max - 1, n))
            b_i[...] = -b_f
        else:
            b_f[...] = FORGET_BIAS if initial.forget_bias is None else initial.forget_bias
        return values

r"""A trajectory and the linear map of each of its steps, with repeated quantities computed once.

    dh_t / dh_{t-1} = J_t,   tangents  v -> J_t v,   cotangents  g -> J_t^T g

    Euler cells   J_t = I + eps diag(d_t) A                      (J1), (J3) of docs/derivation.md
    Elman         J_t = diag(1 - h_t^2) W                        (J4)
    LSTM          J_t = [ P_t W_h   diag(o (1 - s^2) f) ]        (J5) to (J8), P_t and Q_t combine the four blocks of W
                        [ Q_t W     diag(f)             ]

A stack of layers has the blocks (J9) and (J10). For any other cell, J_t is the result of its `jacobian`.

A cell's step_jvp and step_vjp recompute A and tanh at every call. Here A and the slopes are computed once for all
steps, and a step costs one product, so hundreds of products with the end-to-end Jacobian are affordable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from numrnn.backend import Array, Params, array_namespace, empty
from numrnn.bptt import forward
from numrnn.cells import ElmanCell, LipschitzCell, LSTMCell
from numrnn.cells.base import Cell, sigmoid, unchecked
from numrnn.cells.lipschitz import Rate
from numrnn.checks import dtype_name
from numrnn.stability.euler import EulerForm, has_euler_step, steps_like, transposed
from numrnn.typing import Engine

__all__ = [
    "JacobianLinearization",
    "LSTMLinearization",
    "Linearization",
    "LipschitzLinearization",
    "SlopeLinearization",
    "linearize",
    "lipschitz_candidates",
    "lstm_gates",
]


class Linearization(ABC):
    """The Jacobians of all steps of a trajectory, as linear maps. Created by `linearize`.

    Tangents and cotangents are rows: v is (B, k, state_size), k directions for each row of the batch.

    Attributes
    ----------
    cell : Cell
    states : array, shape (T + 1, B, state_size)
        The trajectory.
    """

    def __init__(self, cell: Cell, states: Array) -> None:
        self.cell, self.states = cell, states

    @property
    def n_steps(self) -> int:
        """T."""
        return self.states.shape[0] - 1

    @property
    def batch(self) -> int:
        """B."""
        return self.states.shape[1]

    @property
    def state_size(self) -> int:
        """Width of the state."""
        return self.states.shape[2]

    @abstractmethod
    def apply(self, t: int, v: Array) -> Array:
        """Return J_t v for t = 1..T; v and the result are (B, k, state_size)."""

    @abstractmethod
    def apply_adjoint(self, t: int, g: Array) -> Array:
        """Return J_t^T g for t = 1..T; g and the result are (B, k, state_size)."""

    @abstractmethod
    def row(self, index: int) -> Linearization:
        """Return the linearization of one row of the batch, B = 1."""


class SlopeLinearization(Linearization):
    """J_t = carry I + diag(S_t) A: carry = 1 and S_t = eps d_t for an Euler cell; carry = 0 and A = W for Elman's.

    Attributes
    ----------
    slopes : array, shape (T, B, n)
        S_t, including the step size.
    A : array, shape (n, n)
    carry : int
    """

    def __init__(self, cell: Cell, states: Array, slopes: Array, A: Array, carry: int) -> None:
        super().__init__(cell, states)
        self.slopes, self.A, self.carry = slopes, A, carry
        self._A_T = empty(A.shape, like=A)  # C-contiguous, so that both products run along rows
        self._A_T[...] = A.T

    def apply(self, t: int, v: Array) -> Array:
        """Return J_t v."""
        moved = self.slopes[t - 1, :, None, :] * (v @ self._A_T)
        return v + moved if self.carry else moved

    def apply_adjoint(self, t: int, g: Array) -> Array:
        """Return J_t^T g."""
        moved = (self.slopes[t - 1, :, None, :] * g) @ self.A
        return g + moved if self.carry else moved

    def row(self, index: int) -> SlopeLinearization:
        """Return the linearization of one row."""
        i = slice(index, index + 1)
        return SlopeLinearization(self.cell, self.states[:, i, :], self.slopes[:, i, :], self.A, self.carry)


class LSTMLinearization(Linearization):
    """The blocks (J5) to (J8) of the LSTM's Jacobian.

    Attributes
    ----------
    factors : array, shape (T, B, 6, n)
        dc_t with respect to the pre-activations of i, f and g; dh_t with respect to that of o; dh_t/dc_t; f.
    W : array, shape (4n, n)
    """

    def __init__(self, cell: Cell, states: Array, factors: Array, W: Array) -> None:
        super().__init__(cell, states)
        self.factors, self.W = factors, W

    def apply(self, t: int, v: Array) -> Array:
        """Return J_t v."""
        n = self.cell.hidden_size
        by_i, by_f, by_g, by_o, dh_dc, f = (self.factors[t - 1, :, None, k, :] for k in range(6))
        u = v[..., :n] @ self.W.T  # (B, k, 4n)
        c = f * v[..., n:] + by_i * u[..., :n] + by_f * u[..., n : 2 * n] + by_g * u[..., 2 * n : 3 * n]
        return _joined(dh_dc * c + by_o * u[..., 3 * n :], c)

    def apply_adjoint(self, t: int, g: Array) -> Array:
        """Return J_t^T g."""
        n = self.cell.hidden_size
        by_i, by_f, by_g, by_o, dh_dc, f = (self.factors[t - 1, :, None, k, :] for k in range(6))
        dc = g[..., n:] + dh_dc * g[..., :n]
        delta = _joined(by_i * dc, by_f * dc, by_g * dc, by_o * g[..., :n])  # (B, k, 4n)
        return _joined(delta @ self.W, f * dc)

    def row(self, index: int) -> LSTMLinearization:
        """Return the linearization of one row."""
        i = slice(index, index + 1)
        return LSTMLinearization(self.cell, self.states[:, i, :], self.factors[:, i, ...], self.W)


class LipschitzLinearization(Linearization):
    """J_t = I + eps G(h), or with RK2 I + eps G(k) (I + (eps / 2) G(h)), G = A + diag(S) W  (J11) to (J13).

    Attributes
    ----------
    slopes : list of array, shape (T, B, n)
        S at h; with RK2 also at k.
    A, W : array, shape (n, n)
    """

    cell: LipschitzCell

    def __init__(self, cell: LipschitzCell, states: Array, slopes: list[Array], A: Array, W: Array) -> None:
        super().__init__(cell, states)
        self.slopes, self.A, self.W = slopes, A, W
        self._factors = [cell.step_size / (2 if k + 1 < len(slopes) else 1) for k in range(len(slopes))]

    def apply(self, t: int, v: Array) -> Array:
        """Return J_t v."""
        moved = v
        for factor, S in zip(self._factors, self.slopes, strict=True):
            moved = v + factor * (moved @ self.A.T + S[t - 1, :, None, :] * (moved @ self.W.T))
        return moved

    def apply_adjoint(self, t: int, g: Array) -> Array:
        """Return J_t^T g."""
        total = g
        for factor, S in reversed(list(zip(self._factors, self.slopes, strict=True))):
            g = factor * (g @ self.A + (S[t - 1, :, None, :] * g) @ self.W)
            total = total + g
        return total

    def row(self, index: int) -> LipschitzLinearization:
        """Return the linearization of one row."""
        i = slice(index, index + 1)
        return LipschitzLinearization(
            self.cell, self.states[:, i, :], [S[:, i, :] for S in self.slopes], self.A, self.W
        )


class JacobianLinearization(Linearization):
    """The cell's own Jacobian, (J9) and (J10) for a stack, recomputed for each product.

    Attributes
    ----------
    params : mapping of str to array
    x : array, shape (T, B, m)
    """

    def __init__(self, cell: Cell, states: Array, params: Params, x: Array) -> None:
        super().__init__(cell, states)
        self.params, self.x = params, x

    def _jacobian(self, t: int) -> Array:
        return unchecked(self.cell.jacobian)(self.params, self.x[t - 1, ...], self.states[t - 1, ...])

    def apply(self, t: int, v: Array) -> Array:
        """Return J_t v."""
        return v @ transposed(self._jacobian(t))

    def apply_adjoint(self, t: int, g: Array) -> Array:
        """Return J_t^T g."""
        return g @ self._jacobian(t)

    def row(self, index: int) -> JacobianLinearization:
        """Return the linearization of one row."""
        i = slice(index, index + 1)
        return JacobianLinearization(self.cell, self.states[:, i, :], self.params, self.x[:, i, :])


def _defining_class(cell: Cell, name: str) -> type:
    """Return the class that defines a cell's method."""
    return next(kind for kind in type(cell).__mro__ if name in vars(kind))


def _joined(*blocks: Array) -> Array:
    """Return blocks of n columns side by side."""
    n = blocks[0].shape[-1]
    out = empty((*blocks[0].shape[:-1], len(blocks) * n), like=blocks[0])
    for k, block in enumerate(blocks):
        out[..., k * n : (k + 1) * n] = block
    return out


def linearize(
    cell: Cell, params: Params, x: Array, h0: Array | None = None, *, engine: Engine = "auto"
) -> Linearization:
    """Run a cell over a sequence and return the linear map of each step.

    Parameters
    ----------
    cell : Cell
        Any cell.
    params : mapping of str to array
        Its parameters, float32 or float64.
    x : array, shape (T, B, m)
        Input; every row has T steps.
    h0 : array, shape (B, state_size), optional
        First state; zero by default.
    engine : {"auto", "reference", "fused"}
        As for `numrnn.forward`.

    Returns
    -------
    Linearization

    Raises
    ------
    TypeError, ValueError
        As for `numrnn.forward`; also for complex arrays, or a cell of your own without a Jacobian of its step.

    Notes
    -----
    Costs a forward pass and one more product with all states; 2 T B n numbers of memory, 8 T B n for an LSTM. Each
    product J_t v then costs 2 B k n^2 flops, four times that for an LSTM; for a stack and for a cell of your own, also
    one call of `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import numrnn
    >>> cell = numrnn.AntisymmetricCell(1, 4)
    >>> params = cell.init_params(np.random.default_rng(0), dtype=np.float64)
    >>> lin = linearize(cell, params, np.ones((10, 2, 1)))
    >>> lin.n_steps, lin.apply(1, np.ones((2, 3, 4))).shape
    (10, (2, 3, 4))
    """
    states, _ = forward(cell, params, x, h0, engine=engine)
    if dtype_name(states) not in ("float32", "float64"):
        raise TypeError(f"params, x and h0 must be of float32 or float64, got {dtype_name(states)}")
    if has_euler_step(cell):
        form = EulerForm(cell, params)
        return SlopeLinearization(cell, states, cell.step_size * form.slopes(x, states[:-1, ...]), form.A, carry=1)
    if steps_like(cell, ElmanCell):
        c = states[1:, ...]
        return SlopeLinearization(cell, states, 1 - c * c, params["W"], carry=0)
    if isinstance(cell, LSTMCell) and steps_like(cell, LSTMCell):
        return LSTMLinearization(cell, states, _lstm_factors(cell, params, x, states), params["W"])
    if isinstance(cell, LipschitzCell) and steps_like(cell, LipschitzCell):
        rate, cs = lipschitz_candidates(cell, params, x, states)
        return LipschitzLinearization(cell, states, [1 - c * c for c in cs], rate.A, rate.W)
    by, of = _defining_class(cell, "jacobian"), _defining_class(cell, "step")
    if not issubclass(by, of):
        raise TypeError(
            f"cell must have a jacobian of its own step: {type(cell).__name__} takes its step from {of.__name__}, "
            f"and its jacobian from {by.__name__}"
        )
    return JacobianLinearization(cell, states, params, x)


def lstm_gates(cell: LSTMCell, params: Params, x: Array, states: Array) -> tuple[Array, Array, Array, Array]:
    """Return i, f, g, o, (T, B, n) each, along a trajectory."""
    n = cell.hidden_size
    u: Any = states[:-1, :, :n] @ params["W"].T + x @ params["V"].T + params["b"]  # (T, B, 4n)
    u_i, u_f, u_g, u_o = (u[..., k * n : (k + 1) * n] for k in range(4))
    return sigmoid(u_i), sigmoid(u_f), array_namespace(u).tanh(u_g), sigmoid(u_o)


def lipschitz_candidates(cell: LipschitzCell, params: Params, x: Array, states: Array) -> tuple[Rate, list[Array]]:
    """Return f along a trajectory, and c at h, with RK2 also at k, (T, B, n) each."""
    rate, h = cell.rate(params, x), states[:-1, ...]
    f, c = rate.value(h)
    if cell.method == "euler":
        return rate, [c]
    return rate, [c, rate.value(h + cell.step_size / 2 * f)[1]]


def _lstm_factors(cell: LSTMCell, params: Params, x: Array, states: Array) -> Array:
    n = cell.hidden_size
    i, f, g, o = lstm_gates(cell, params, x, states)
    s = array_namespace(x).tanh(states[1:, :, n:])
    out = empty((*i.shape[:2], 6, n), like=i)
    parts = (i * (1 - i) * g, f * (1 - f) * states[:-1, :, n:], (1 - g * g) * i, o * (1 - o) * s, o * (1 - s * s), f)
    for k, part in enumerate(parts):
        out[:, :, k, :] = part
    return out

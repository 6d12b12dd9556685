r"""Basis of every analysis of an Euler cell: the matrix A, built once, the rate of the ODE, and the slopes.

    h' = f(h),   f = tanh(u)  or  sigmoid(u_z) tanh(u),   u = A h + V x + b,   u_z = A h + V_z x + b_z        (8), (13)
    df/dh = diag(d) A,   d = 1 - c^2   or   d = z (1 - c^2) + c z (1 - z)                                        (9)

with c = tanh(u) and z = sigmoid(u_z): (J1) to (J3) of docs/derivation.md without the step. The cells build A in every
step; an analysis runs thousands of steps with one A.

The slopes of the ungated cells lie in [0, 1]. Those of the gated ones lie in [-1/4, 1]:

    z (1 - c^2) <= z   and   c z (1 - z) <= 1 - z   add up to 1,   z (1 - c^2) >= 0   and   c z (1 - z) >= -1/4.

Hence |d| <= 1 in every Euler cell, and f is Lipschitz with constant norm(A).
"""

from __future__ import annotations

from typing import TypeGuard, TypeVar

from numrnn.backend import Array, Params, array_namespace
from numrnn.cells.antisymmetric import AntisymmetricMatrix, EulerStep
from numrnn.cells.base import Cell, sigmoid
from numrnn.cells.euler import EulerCell, as_euler
from numrnn.cells.gated import GatedEulerStep
from numrnn.checks import check_array, check_finite, check_same_kind

__all__ = [
    "EulerForm",
    "check_any_cell",
    "check_cell",
    "check_euler",
    "has_antisymmetric_matrix",
    "has_euler_step",
    "is_gated",
    "steps_like",
    "transposed",
]

C = TypeVar("C", bound=Cell)


def check_any_cell(cell: object) -> Cell:
    """Return `cell`; raise TypeError unless it is a cell."""
    if not isinstance(cell, Cell):
        raise TypeError(f"cell must be a numrnn cell, got {type(cell).__name__}")
    return cell


def check_cell(cell: object, kind: type[C], wanted: str) -> C:
    """Return `cell`; raise TypeError unless it is of `kind`; `wanted` says what is expected and why."""
    check_any_cell(cell)
    if not isinstance(cell, kind):
        raise TypeError(f"cell must be {wanted}, got {type(cell).__name__}")
    return cell


def steps_like(cell: object, *kinds: type[Cell]) -> bool:
    """Tell whether the cell uses the `step` of one of the classes `kinds`; a subclass may override it."""
    return any(isinstance(cell, kind) and type(cell).step is kind.step for kind in kinds)


def has_euler_step(cell: object) -> TypeGuard[EulerCell]:
    """Tell whether the step of a cell is (12) or (13), with any matrix."""
    return steps_like(cell, EulerStep, GatedEulerStep)


def check_euler(cell: Cell) -> EulerCell:
    """Return `cell`; raise TypeError unless its step is (12) or (13), with any matrix."""
    if not isinstance(check_any_cell(cell), EulerCell):
        reason = "because no other cell is a step of an ODE"
        raise TypeError(f"cell must be an Euler cell, h + eps f(h), {reason}, got {type(cell).__name__}")
    if not has_euler_step(cell):
        raise TypeError(f"cell must use the step of (12) or (13), got {type(cell).__name__}, which has its own")
    return as_euler(cell)


def has_antisymmetric_matrix(cell: object) -> bool:
    """Tell whether the cell has a matrix A = W - W^T - gamma I."""
    return isinstance(cell, EulerCell) and isinstance(cell.matrix, AntisymmetricMatrix)


def is_gated(cell: object) -> bool:
    """Tell whether `cell` is an Euler cell with a gate."""
    return isinstance(cell, GatedEulerStep)


def transposed(M: Array) -> Array:
    """Return M with its last two axes exchanged; not every CuPy has mT, and the standard has no swapaxes."""
    return M.mT if hasattr(M, "mT") else M.swapaxes(-1, -2)


class EulerForm:
    """The ODE h' = f(h) of an Euler cell with given parameters.

    Parameters
    ----------
    cell : EulerCell
        Antisymmetric or unstructured, gated or not.
    params : mapping of str to array
        Its parameters.

    Attributes
    ----------
    A : array, shape (n, n)
    gated : bool

    Raises
    ------
    TypeError, ValueError
        If the cell is not an Euler cell, or as for `Cell.check_params`.
    """

    def __init__(self, cell: EulerCell, params: Params) -> None:
        check_euler(cell)
        self._named = cell.check_params(params)
        check_same_kind(self._named)
        self.cell, self.params, self.gated = cell, params, is_gated(cell)
        self.A = cell.matrix.value(params["W"])  # (F1) (F9)

    def check(self, x: Array, h: Array) -> None:
        """Check that x is (..., m) and h (..., n), with the same leading sizes, finite, and of the parameters' kind."""
        lead = tuple(h.shape[:-1]) if hasattr(h, "shape") else ()
        check_array("h", h, (*lead, self.cell.hidden_size))
        check_array("x", x, (*lead, self.cell.input_size))
        check_finite("h", h)
        check_finite("x", x)
        check_same_kind(self._named | {"x": x, "h": h})

    def pre_activation(self, x: Array, h: Array, *, gate: bool = False) -> Array:
        """Return u = A h + V x + b, or with `gate` u_z, (..., n)."""
        V, b = ("V_z", "b_z") if gate else ("V", "b")
        return h @ self.A.T + x @ self.params[V].T + self.params[b]  # (F2) (F5) (F6)

    def candidate_and_gate(self, x: Array, h: Array) -> tuple[Array, Array | None]:
        """Return c and z, (..., n) each; z is None without a gate."""
        c = array_namespace(h).tanh(self.pre_activation(x, h))
        return c, sigmoid(self.pre_activation(x, h, gate=True)) if self.gated else None

    def rate(self, x: Array, h: Array) -> Array:
        """Return f(h), (..., n)."""
        c, z = self.candidate_and_gate(x, h)
        return c if z is None else z * c

    def slopes(self, x: Array, h: Array) -> Array:
        """Return d of df/dh = diag(d) A, (..., n); in [0, 1], or in [-1/4, 1] with a gate."""
        c, z = self.candidate_and_gate(x, h)
        return 1 - c * c if z is None else z * (1 - c * c) + c * z * (1 - z)  # (J2)

r"""The paper's ablation: the same two steps with an unstructured matrix.

    A = W - gamma I

replaces W - W^T - gamma I, and everything else is unchanged: the cells below use the steps of antisymmetric.py and
gated.py with another matrix. If they do worse, the matrix is the reason.

Their stability is not guaranteed: the spectrum of A may lie anywhere.

Derivation: docs/derivation.md, section 4.

References
----------
B. Chang, M. Chen, E. Haber, E. H. Chi, "AntisymmetricRNN: A Dynamical System View on Recurrent Neural Networks",
ICLR 2019, arXiv:1902.09689, section 5.3 and Table 2.
"""

from __future__ import annotations

from typing import ClassVar

from numrnn.backend import Array, eye
from numrnn.cells.antisymmetric import EulerStep
from numrnn.cells.euler import RecurrentMatrix
from numrnn.cells.gated import GatedEulerStep

__all__ = ["GatedUnstructuredCell", "UnstructuredCell", "UnstructuredMatrix"]


class UnstructuredMatrix(RecurrentMatrix):
    """The matrix A = W - gamma I, with its tangent and its adjoint.

    Parameters
    ----------
    hidden_size : int
        n >= 1.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def value(self, W: Array) -> Array:
        """Return A = W - gamma I, (n, n)."""
        return W - self.diffusion * eye(self.hidden_size, like=W)  # (F9)

    def tangent(self, W_dot: Array) -> Array:
        """Return the tangent of A, which is W_dot."""
        return W_dot  # (T9)

    def adjoint(self, dA: Array) -> Array:
        """Return dW, which is dA."""
        return dA  # (B15)


class UnstructuredCell(EulerStep):
    """The ablation without gate: h + eps tanh((W - gamma I) h + V x + b).

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.
    step_size : float
        eps > 0, the step of forward Euler.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A.

    Attributes
    ----------
    matrix : UnstructuredMatrix
        A as a function of W: `cell.matrix.value(params["W"])`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    name: ClassVar[str] = "unstructured"

    def __init__(self, input_size: int, hidden_size: int, *, step_size: float = 0.01, diffusion: float = 0.0) -> None:
        super().__init__(input_size, step_size, UnstructuredMatrix(hidden_size, diffusion))


class GatedUnstructuredCell(GatedEulerStep):
    """The ablation of the paper's Table 2: equation (13) with W - gamma I in place of W - W^T - gamma I.

    Parameters
    ----------
    input_size : int
        m >= 1, the number of features of x.
    hidden_size : int
        n >= 1, the number of units.
    step_size : float
        eps > 0, the step of forward Euler.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A.

    Attributes
    ----------
    matrix : UnstructuredMatrix
        A as a function of W: `cell.matrix.value(params["W"])`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    name: ClassVar[str] = "gated-unstructured"

    def __init__(self, input_size: int, hidden_size: int, *, step_size: float = 0.01, diffusion: float = 0.0) -> None:
        super().__init__(input_size, step_size, UnstructuredMatrix(hidden_size, diffusion))

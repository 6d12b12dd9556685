r"""The paper's ablation: the same two steps with an unstructured matrix.

    A = W - gamma I

in place of W - W^T - gamma I, and everything else as it is: the classes below take the steps of antisymmetric.py and
gated.py and change the matrix only. Whatever they do worse is therefore due to the matrix.

Nothing is guaranteed of their stability: the spectrum of A is anywhere.

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
from numrnn.cells.base import EulerCell
from numrnn.cells.gated import GatedEulerStep


class UnstructuredMatrix(EulerCell):
    """The matrix A = W - gamma I, with its tangent and its adjoint.

    Parameters
    ----------
    input_size, hidden_size : int
        m >= 1 and n >= 1.
    step_size : float
        eps > 0, the step of forward Euler.
    diffusion : float
        gamma >= 0, subtracted from the diagonal of A.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def __init__(self, input_size: int, hidden_size: int, *, step_size: float = 0.01, diffusion: float = 0.0) -> None:
        super().__init__(input_size, hidden_size, step_size=step_size, diffusion=diffusion)

    def recurrent_matrix(self, W: Array) -> Array:
        """Return A = W - gamma I, shape (n, n)."""
        return W - self.diffusion * eye(self.hidden_size, like=W)  # (F9)

    def recurrent_matrix_jvp(self, W_dot: Array) -> Array:
        """Return the tangent of A, which is W_dot."""
        return W_dot  # (T9)

    def recurrent_matrix_vjp(self, dA: Array) -> Array:
        """Return dW, which is dA."""
        return dA  # (B15)


class UnstructuredCell(UnstructuredMatrix, EulerStep):
    """The ablation without gate: h + eps tanh((W - gamma I) h + V x + b)."""

    name: ClassVar[str] = "unstructured"


class GatedUnstructuredCell(UnstructuredMatrix, GatedEulerStep):
    """The ablation of the paper's Table 2: equation (13) with W - gamma I in place of W - W^T - gamma I."""

    name: ClassVar[str] = "gated-unstructured"

"""Base of the four Euler cells: h + eps f(A h, x), where the matrix A is a function of the parameter W.

Such a cell combines a step, (12) or (13), which is its class, and a matrix, which is its attribute. If one of the
paper's ablations does worse, only the matrix can be the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from numrnn.backend import Array
from numrnn.cells.base import Cell
from numrnn.checks import check_integer, check_number
from numrnn.initializers import InitialValues

__all__ = ["EulerCell", "RecurrentMatrix", "as_euler"]


class RecurrentMatrix(ABC):
    """The matrix A (n, n) as a function of the parameter W (n, n), with its tangent and its adjoint.

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

    turns: ClassVar[bool] = False  # whether `initial_value` accepts rotations

    def __init__(self, hidden_size: int, diffusion: float) -> None:
        self.hidden_size = check_integer("hidden_size", hidden_size, at_least=1)
        self.diffusion = check_number("diffusion", diffusion, at_least=0)

    @abstractmethod
    def value(self, W: Array) -> Array:
        """Return A, (n, n)."""

    @abstractmethod
    def tangent(self, W_dot: Array) -> Array:
        """Return the derivative of A, (n, n), along W_dot (n, n)."""

    @abstractmethod
    def adjoint(self, dA: Array) -> Array:
        """Return dL/dW, (n, n), from dL/dA (n, n)."""

    def initial_value(self, W: np.ndarray, rotations: Sequence[float] | None) -> np.ndarray:
        """Return the initial W from a normally distributed W (n, n), with `rotations` added if `turns`."""
        return W

    def parameter_count(self) -> int:
        """Return the number of free entries of W."""
        return self.hidden_size**2

    def config(self) -> dict[str, Any]:
        """Return the constructor arguments except the size."""
        return {"diffusion": self.diffusion}


class EulerCell(Cell):
    """A cell that is one step of forward Euler through an ODE.

    Parameters
    ----------
    input_size : int
        m >= 1.
    step_size : float
        eps > 0.
    matrix : RecurrentMatrix
        Computes A from W, and gives the number of units, n.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def __init__(self, input_size: int, step_size: float, matrix: RecurrentMatrix) -> None:
        super().__init__(input_size, matrix.hidden_size)
        self.step_size = check_number("step_size", step_size, above=0)
        self.matrix = matrix

    @property
    def diffusion(self) -> float:
        """Gamma >= 0, subtracted from the diagonal of A."""
        return self.matrix.diffusion

    def parameter_count(self) -> int:
        """Return the number of free parameters, without read-out."""
        return super().parameter_count() - self.hidden_size**2 + self.matrix.parameter_count()

    def config(self) -> dict[str, Any]:
        """Return the cell's name and constructor arguments, JSON-serialisable."""
        own = {"input_size": self.input_size, "hidden_size": self.hidden_size, "step_size": self.step_size}
        return {"cell": self.name} | own | self.matrix.config()

    def unused_initial_values(self) -> set[str]:
        """Return the arguments of `init_params` that do not apply to this cell and must keep their defaults."""
        return super().unused_initial_values() - ({"rotations"} if self.matrix.turns else set())

    def draw_params(self, rng: np.random.Generator, initial: InitialValues) -> dict[str, np.ndarray]:
        """Draw as `Cell.draw_params` does, then let the matrix set the initial W."""
        values = super().draw_params(rng, initial)
        values["W"] = self.matrix.initial_value(values["W"], initial.rotations)
        return values


def as_euler(cell: Cell) -> EulerCell:
    """Return `cell`, typed as an EulerCell.

    Raises
    ------
    TypeError
        If it is not an EulerCell.
    """
    if not isinstance(cell, EulerCell):
        raise TypeError(f"cell must be an Euler cell, h + eps f(h), got {type(cell).__name__}")
    return cell

"""The paper's figures, and three that it does not have; one module per figure, with a `Config`, `run` and `main`."""

from __future__ import annotations

from collections.abc import Sequence

from numrnn.commands import dispatch

FIGURES = {
    "simulation": (f"{__name__}.simulation", "Figure 1: two units, fifty steps, without input"),
    "jacobian": (f"{__name__}.jacobian", "Figure 2: eigenvalues of the end-to-end Jacobian"),
    "gradient-flow": (f"{__name__}.gradient_flow", "how far the gradient travels back in time"),
    "stability-region": (f"{__name__}.stability_region", "eigenvalues over Euler's disc as a cell is trained"),
    "unit-memory": (f"{__name__}.unit_memory", "how long each unit remembers"),
}


def main(arguments: Sequence[str] | None = None, *, program: str = "numrnn figure") -> int:
    """Draw a figure and return the exit status; `arguments` are those of the process unless given."""
    return dispatch(FIGURES, arguments, program=program, description="Draw a figure, and write its numbers.")

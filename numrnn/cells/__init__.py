"""The cells: one file a cell, and in it the equation, its step, its tangent, its adjoint and its Jacobian."""

from numrnn.cells.antisymmetric import AntisymmetricCell
from numrnn.cells.base import Cell
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedAntisymmetricCell
from numrnn.cells.lstm import LSTMCell
from numrnn.cells.unstructured import GatedUnstructuredCell, UnstructuredCell

CELLS: dict[str, type[Cell]] = {
    cell.name: cell
    for cell in (
        AntisymmetricCell,
        GatedAntisymmetricCell,
        UnstructuredCell,
        GatedUnstructuredCell,
        ElmanCell,
        LSTMCell,
    )
}

__all__ = [
    "CELLS",
    "AntisymmetricCell",
    "Cell",
    "ElmanCell",
    "GatedAntisymmetricCell",
    "GatedUnstructuredCell",
    "LSTMCell",
    "UnstructuredCell",
]

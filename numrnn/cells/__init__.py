"""The cells: one file per cell, with its equation, step, tangent, adjoint and Jacobian."""

from numrnn.cells.antisymmetric import AntisymmetricCell
from numrnn.cells.base import Cell
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedAntisymmetricCell
from numrnn.cells.lipschitz import LipschitzCell
from numrnn.cells.lstm import LSTMCell
from numrnn.cells.registry import CELLS, cell_from_config, load_cells, register_cell
from numrnn.cells.stack import Stack
from numrnn.cells.unstructured import GatedUnstructuredCell, UnstructuredCell

__all__ = [
    "CELLS",
    "AntisymmetricCell",
    "Cell",
    "ElmanCell",
    "GatedAntisymmetricCell",
    "GatedUnstructuredCell",
    "LSTMCell",
    "LipschitzCell",
    "Stack",
    "UnstructuredCell",
    "cell_from_config",
    "load_cells",
    "register_cell",
]

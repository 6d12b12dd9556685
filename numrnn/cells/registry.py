"""The cells by name, and the reconstruction of a cell from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numrnn.cells.antisymmetric import AntisymmetricCell
from numrnn.cells.base import Cell
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedAntisymmetricCell
from numrnn.cells.lipschitz import LipschitzCell
from numrnn.cells.lstm import LSTMCell
from numrnn.cells.stack import Stack
from numrnn.cells.unstructured import GatedUnstructuredCell, UnstructuredCell

# Cells made from input_size and hidden_size. A stack is made from cells, so it is not included.
CELLS: dict[str, type[Cell]] = {
    cell.name: cell
    for cell in (
        AntisymmetricCell,
        GatedAntisymmetricCell,
        UnstructuredCell,
        GatedUnstructuredCell,
        ElmanCell,
        LSTMCell,
        LipschitzCell,
    )
}


def cell_from_config(config: Mapping[str, Any]) -> Cell:
    """Return the cell that `config` describes.

    Parameters
    ----------
    config : mapping
        From `Cell.config`, also after conversion to JSON and back: the cell's name under "cell", and its arguments.

    Returns
    -------
    Cell

    Raises
    ------
    TypeError, ValueError
        If `config` is not such a mapping, does not name a cell of this package, or has arguments that the cell does not
        take.

    Examples
    --------
    >>> cell_from_config(ElmanCell(3, 8).config())
    ElmanCell(input_size=3, hidden_size=8)
    >>> cell_from_config(Stack([ElmanCell(3, 8), LSTMCell(8, 2)]).config())
    Stack([ElmanCell(input_size=3, hidden_size=8), LSTMCell(input_size=8, hidden_size=2)])
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping, what config() of a cell returns, got {type(config).__name__}")
    arguments = dict(config)
    name = arguments.pop("cell", None)
    if name == Stack.name:
        return _stack(arguments)
    if name not in CELLS:
        raise ValueError(f"config must name one of {', '.join(CELLS)}, {Stack.name} as its cell, got {name!r}")
    return CELLS[name](**arguments)


def _stack(arguments: Mapping[str, Any]) -> Stack:
    layers = arguments.get("cells")
    if set(arguments) != {"cells"} or not isinstance(layers, list | tuple):
        raise ValueError(f"config of a stack must have a list under 'cells', and nothing else, got {dict(arguments)!r}")
    return Stack([cell_from_config(layer) for layer in layers])

"""Cells by name, including user-defined ones, and reconstruction of a cell from its configuration."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from numrnn.cells.antisymmetric import AntisymmetricCell
from numrnn.cells.base import Cell, constructor_arguments
from numrnn.cells.elman import ElmanCell
from numrnn.cells.gated import GatedAntisymmetricCell
from numrnn.cells.lipschitz import LipschitzCell
from numrnn.cells.lstm import LSTMCell
from numrnn.cells.stack import Stack
from numrnn.cells.unstructured import GatedUnstructuredCell, UnstructuredCell
from numrnn.checks import shown

__all__ = ["cell_from_config", "load_cells", "register_cell"]

Kind = TypeVar("Kind", bound=type[Cell])

# Cells made from input_size and hidden_size; `register_cell` adds others. A stack is made from cells: not included.
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


def register_cell(kind: Kind) -> Kind:
    """Register a cell class under its name, like the cells of this package.

    `numrnn.training.load_model`, `numrnn.estimators` and the command lines then find it. A checkpoint stores the name
    of its cell, but not which code to import. A process that reads the checkpoint must therefore register the class
    first: import its module, or start the command with `numrnn --cells FILE`.

    Parameters
    ----------
    kind : type
        A cell class that has a `name` and is made from input_size, hidden_size, and further arguments with defaults. A
        class that is defined again, as in a notebook, replaces the earlier one.

    Returns
    -------
    type
        The same class, so that `register_cell` can be used as a decorator.

    Raises
    ------
    TypeError
        If `kind` is not a cell class, has abstract methods, or cannot be made from input_size and hidden_size.
    ValueError
        If it has no name, or the name belongs to another cell.

    Examples
    --------
    >>> @register_cell
    ... class SlowElmanCell(ElmanCell):
    ...     name = "slow-elman"
    >>> cell_from_config({"cell": "slow-elman", "input_size": 3, "hidden_size": 8})
    SlowElmanCell(input_size=3, hidden_size=8)
    """
    if not (isinstance(kind, type) and issubclass(kind, Cell)):
        raise TypeError(f"kind must be a cell class, got {shown(kind)}")
    if missing := sorted(kind.__abstractmethods__):
        raise TypeError(f"kind must define {', '.join(missing)}: {kind.__name__} does not")
    arguments = inspect.signature(kind).parameters
    needed = [name for name in constructor_arguments(kind) if arguments[name].default is inspect.Parameter.empty]
    if needed != ["input_size", "hidden_size"]:
        raise TypeError(
            f"kind must be made from input_size and hidden_size, and further arguments with defaults; "
            f"{kind.__name__} takes {', '.join(needed) or 'none'} without defaults"
        )
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not name:
        raise ValueError(f"kind must have a name: a string as the attribute `name` of {kind.__name__}, got {name!r}")
    known = Stack if name == Stack.name else CELLS.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"kind must have a name of its own: {name!r} belongs to {known.__qualname__}")
    CELLS[name] = kind
    return kind


def load_cells(source: str) -> list[type[Cell]]:
    """Import a module or a file and register the cells that it defines.

    Parameters
    ----------
    source : str
        Name of a module, such as "mypackage.cells", or the path of a .py file. Its code runs.

    Returns
    -------
    list of type
        The cell classes of the module that have no abstract methods and define a `name` of their own.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `source` is not a string.
    ValueError
        If there is no such module, its code raises an exception or calls sys.exit, or it defines no cell.
    TypeError, ValueError
        As for `register_cell`.
    """
    if not isinstance(source, str):
        raise TypeError(f"source must be the name of a module or the path of a .py file, got {type(source).__name__}")
    name = Path(source).stem
    is_new = Path(source).suffix == ".py" and name not in sys.modules
    try:
        return _registered(source)
    except BaseException:
        if is_new:  # a file that was refused is read again after it was corrected
            sys.modules.pop(name, None)
        raise


def _registered(source: str) -> list[type[Cell]]:
    module = _module_of(source)
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Cell)
        and kind.__module__ == module.__name__
        and "name" in vars(kind)
        and not kind.__abstractmethods__
    ]
    if not found:
        raise ValueError(
            f"source must define a cell, a complete subclass of numrnn.Cell with a name: {source} does not"
        )
    return [register_cell(kind) for kind in found]


def _module_of(source: str) -> ModuleType:
    """Return the module with this name or path; a file is imported only once."""
    path = Path(source)
    try:
        if path.suffix != ".py":
            return importlib.import_module(source)
        if not path.is_file():
            raise FileNotFoundError(f"source must be the path of an existing file, got {source}")
        if path.stem in sys.modules and _is_from(sys.modules[path.stem], path):
            return sys.modules[path.stem]
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError("it is not a Python file")
        module = importlib.util.module_from_spec(spec)
        if path.stem not in sys.modules:
            sys.modules[path.stem] = module  # so that its classes can be pickled, to the workers of a sweep
        spec.loader.exec_module(module)
        return module
    except FileNotFoundError:
        raise
    except (Exception, SystemExit) as error:  # a script that calls sys.exit would end the command, as if all were well
        text = f"source must be importable, but {source} raised {type(error).__name__}: {error}"
        raise ValueError(text) from error


def _is_from(module: ModuleType, path: Path) -> bool:
    own = getattr(module, "__file__", None)
    return own is not None and Path(own).resolve() == path.resolve()


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
        If `config` is not such a mapping, does not name a known cell, or has arguments that the cell does not accept.

    Examples
    --------
    >>> cell_from_config(ElmanCell(3, 8).config())
    ElmanCell(input_size=3, hidden_size=8)
    >>> cell_from_config(Stack([ElmanCell(3, 8), LSTMCell(8, 2)]).config())
    Stack([ElmanCell(input_size=3, hidden_size=8), LSTMCell(input_size=8, hidden_size=2)])
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a mapping, as returned by Cell.config, got {type(config).__name__}")
    arguments = dict(config)
    name = arguments.pop("cell", None)
    if name == Stack.name:
        return _stack(arguments)
    if name not in CELLS:
        raise ValueError(
            f"config must name one of {', '.join(CELLS)}, {Stack.name} as its cell, got {name!r}; register "
            f"a cell of your own by numrnn.register_cell or numrnn --cells FILE"
        )
    return CELLS[name](**arguments)


def _stack(arguments: Mapping[str, Any]) -> Stack:
    layers = arguments.get("cells")
    if set(arguments) != {"cells"} or not isinstance(layers, list | tuple):
        raise ValueError(f"config of a stack must have a list under 'cells', and nothing else, got {dict(arguments)!r}")
    return Stack([cell_from_config(layer) for layer in layers])

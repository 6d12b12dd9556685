"""The arguments from which a cell was made, for configurations, checkpoints and command lines."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["complete_config", "constructor_arguments"]


def constructor_arguments(kind: type) -> tuple[str, ...]:
    """Return the names of the arguments that a class of cells is made from."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(name for name, argument in inspect.signature(kind).parameters.items() if argument.kind in named)


def complete_config(cell: Any) -> dict[str, Any]:
    """Return `cell.config()` if it has the cell's name and every argument of its constructor.

    A run is resumed, and a network made again, from what it says: a forgotten argument would silently take its default.

    Raises
    ------
    TypeError
        If it lacks one.
    """
    config = cell.config()
    if missing := [name for name in ("cell", *constructor_arguments(type(cell))) if name not in config]:
        kind = type(cell).__name__
        raise TypeError(f"{kind}.config() must have {', '.join(map(repr, missing))}, got only {', '.join(config)}")
    return config

"""The constructor arguments of a cell, for configurations, checkpoints and command lines."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["complete_config", "constructor_arguments"]


def constructor_arguments(kind: type) -> tuple[str, ...]:
    """Return the names of the constructor arguments of a cell class."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(name for name, argument in inspect.signature(kind).parameters.items() if argument.kind in named)


def complete_config(cell: Any) -> dict[str, Any]:
    """Return `cell.config()` after checking that it has the cell's name and every constructor argument.

    Runs are resumed and networks rebuilt from it: a missing argument would silently take its default.

    Raises
    ------
    TypeError
        If the name or an argument is missing.
    """
    config = cell.config()
    if missing := [name for name in ("cell", *constructor_arguments(type(cell))) if name not in config]:
        kind = type(cell).__name__
        raise TypeError(f"{kind}.config() must have {', '.join(map(repr, missing))}, got only {', '.join(config)}")
    return config

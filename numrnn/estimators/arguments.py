"""Conversion of arguments of estimators: to a cell, and to a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from numrnn.cells import CELLS
from numrnn.cells.base import Cell, constructor_arguments
from numrnn.checks import check_integer

__all__ = ["default_step_size", "make_cell", "seed_of"]

SPAN = 5.0  # eps T: the time span of an Euler cell's ODE in a sequence


def default_step_size(steps: float) -> float:
    """Return eps for sequences of `steps` steps: min(1, SPAN / steps)."""
    return min(1.0, SPAN / steps)


def make_cell(
    cell: Any,
    n_channels: int,
    hidden_size: Any,
    *,
    steps: float,
    step_size: Any,
    diffusion: Any,
    options: Any,
) -> Cell:
    """Return the cell that the arguments of an estimator describe, for sequences of a median number of steps.

    Raises
    ------
    TypeError, ValueError
        If there is no such cell, or it does not take an argument.
    """
    if isinstance(cell, str):
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)} or a class of cells, got {cell!r}")
        cell = CELLS[cell]
    if not (isinstance(cell, type) and issubclass(cell, Cell)):
        raise TypeError(f"cell must be a name in numrnn.CELLS or a class of cells, got {cell!r}")
    taken = constructor_arguments(cell)
    if "input_size" not in taken or "hidden_size" not in taken:
        raise TypeError(f"cell must be a class that takes input_size and hidden_size, got {cell.__name__}")
    if not isinstance(options, Mapping | None):
        raise TypeError(f"cell_options must be None or a dict, got {options!r}")
    given = {} if options is None else dict(options)
    if "step_size" in taken and step_size is None and "step_size" not in given:
        step_size = default_step_size(steps)
    given |= {name: one for name, one in (("step_size", step_size), ("diffusion", diffusion)) if one is not None}
    for name, value in given.items():
        if name not in taken or name in ("input_size", "hidden_size"):
            raise ValueError(f"{cell.__name__} takes no {name} from an estimator, got {value!r}")
    return cell(input_size=n_channels, hidden_size=hidden_size, **given)


def seed_of(random_state: Any) -> int:
    """Return a seed for `TrainingConfig`; a generator draws it, None takes a new one from the system.

    Raises
    ------
    TypeError, ValueError
        If it is neither None, an integer >= 0, a Generator nor a RandomState.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**32))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**32, dtype=np.uint32))
    return check_integer("random_state", random_state, at_least=0)

"""Checks of options: each raises one error that names the option, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

METHOD_NAMES = ("auto", "complex", "elements", "richardson", "central")


def check_arguments(
    method: str, directions: int, rtol: float | None, seed: int, budget: int, sizes: Mapping[str, int] | None
) -> None:
    """Check the options of `check_gradient`.

    Raises
    ------
    TypeError
        If one has the wrong type.
    ValueError
        If one is out of range, or the method unknown.
    """
    if method not in METHOD_NAMES:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHOD_NAMES))}, got {method!r}")
    check_integer("directions", directions, at_least=1)
    check_integer("seed", seed, at_least=0)
    check_integer("budget", budget, at_least=0)
    if rtol is not None:
        check_positive("rtol", rtol)
    for name, size in (sizes or {}).items():
        check_integer(f"sizes[{name!r}]", size, at_least=1)


def check_integer(name: str, value: Any, *, at_least: int) -> None:
    """Raise unless `value` is an integer (True and 3.0 are none) not below `at_least`."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer >= {at_least}, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be an integer >= {at_least}, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise unless `value` is a finite real number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a finite number > 0, got {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")

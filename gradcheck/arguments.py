"""Checks of options: each raises one error that names the option, what was expected and what was given."""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

LONGEST_SHOWN = 80  # characters of a value in an error
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
    check_method(method, METHOD_NAMES)
    check_integer("directions", directions, at_least=1)
    check_integer("seed", seed, at_least=0)
    check_integer("budget", budget, at_least=0)
    if rtol is not None:
        check_positive("rtol", rtol)
    if not isinstance(sizes, Mapping | None):
        raise TypeError(f"sizes must be a mapping of names to integers, got {shown(sizes)}")
    for name, size in (sizes or {}).items():
        check_integer(f"sizes[{name!r}]", size, at_least=1)


def check_method(method: Any, names: tuple[str, ...]) -> None:
    """Raise unless `method` is one of some words."""
    if not isinstance(method, str) or method not in names:
        error = ValueError if isinstance(method, str) else TypeError
        raise error(f"method must be one of {', '.join(map(repr, names))}, got {shown(method)}")


def check_integer(name: str, value: Any, *, at_least: int) -> None:
    """Raise unless `value` is an integer (not True, not 3.0) of at least `at_least`."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer >= {at_least}, got {shown(value)}") from None
    if not at_least <= number < 2**63:
        raise ValueError(f"{name} must be an integer >= {at_least}, got {shown(value)}")


def check_bool(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")


def check_callables(**functions: Any) -> None:
    """Raise TypeError unless each is callable."""
    for name, function in functions.items():
        if not callable(function):
            raise TypeError(f"{name} must be a function, got {shown(function)}")


def shown(value: Any) -> str:
    """Return a value as error messages show it, shortened to one line."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of too many digits, or an object whose repr is broken
        text = f"{type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def check_positive(name: str, value: Any) -> None:
    """Raise unless `value` is a finite real number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a finite number > 0, got {shown(value)}")
    if not 0 < value <= sys.float_info.max:  # False for NaN; exact for integers of any size
        raise ValueError(f"{name} must be a finite number > 0, got {shown(value)}")

"""Inputs and outputs of operators as structures of arrays: names, random draws, inner products."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.arrays import Host, dtype_name, to_host
from gradcheck.directions import gaussian
from gradcheck.report import Report
from gradcheck.tree import Tree, parameters


class Arguments:
    """The inputs of an operator, named as the function names them.

    Parameters
    ----------
    function : callable
        Gives the names; ``input0``, ... where it tells none.
    inputs : tuple, list or array
        Its positional arguments, each an array or a structure of arrays; a single array stands for itself.
    """

    def __init__(self, function: Callable[..., Any], inputs: Any) -> None:
        self.values = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        self.names = _names(function, len(self.values))
        self.tree = parameters(dict(zip(self.names, self.values, strict=True)), "inputs")

    def unpack(self, named: Mapping[str, Any]) -> list[Any]:
        """Return the positional arguments from a mapping by name."""
        return [named[name] for name in self.names]

    def pack(self, found: Any, what: str) -> dict[str, Any]:
        """Return what a vjp returned as a mapping by name.

        Raises
        ------
        ValueError
            If it is not one structure an input.
        """
        if len(self.names) == 1 and not (isinstance(found, tuple | list) and len(found) == 1):
            found = (found,)
        if not isinstance(found, tuple | list) or len(found) != len(self.names):
            count = len(found) if isinstance(found, tuple | list) else 1
            raise ValueError(f"{what} must return {len(self.names)} values ({', '.join(self.names)}), got {count}")
        return dict(zip(self.names, found, strict=True))


def _names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        found = [p.name for p in inspect.signature(function).parameters.values() if p.kind in (0, 1)]
    except (TypeError, ValueError):
        found = []
    return found[:count] if len(found) >= count else [f"input{position}" for position in range(count)]


def inner(cotangent: Mapping[str, Host], output: Any) -> Any:
    """Return <w, y>, complex if y is, after checking that y has the structure of w."""
    found = Tree.of(output, "output").arrays
    if tuple(found) != tuple(cotangent):
        raise ValueError(f"output must hold {', '.join(cotangent)}, got {', '.join(found)}")
    return sum(np.sum(to_host(found[name]) * w) for name, w in cotangent.items())


def draw(tree: Tree, seed: int, *key: int) -> dict[str, Host]:
    """Return Gaussian arrays of the shapes in `tree`."""
    return {name: gaussian(tuple(a.shape), seed, *key, k) for k, (name, a) in enumerate(tree.arrays.items())}


def cast(values: Mapping[str, Host], dtype: str) -> dict[str, Host]:
    """Return the arrays in another dtype."""
    return {name: value.astype(dtype) for name, value in values.items()}


def dtype_of(tree: Tree) -> str:
    """Return the dtype that all arrays of a checked tree share."""
    return dtype_name(next(iter(tree.arrays.values())))


def renamed(report: Report, title: str, extra: int) -> Report:
    """Return the report under another title, with `extra` evaluations added."""
    return replace(report, title=title, n_evaluations=report.n_evaluations + extra)

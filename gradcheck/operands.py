"""The inputs and outputs of operators: named, packed and unpacked, drawn at random, reduced to a scalar."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck.arrays import Host
from gradcheck.directions import gaussian
from gradcheck.evaluate import SINGLE
from gradcheck.report import Report
from gradcheck.structures import walk
from gradcheck.tree import FLOATING, Tree, first_bad, kind_of, parameters, values_of


class Arguments:
    """The inputs of an operator, named as the function names them.

    Parameters
    ----------
    function : callable
        Gives the names; ``input0``, ... if it has none.
    inputs : tuple, list or array
        Its positional arguments, each an array or a structure of arrays; a single array need not be in a tuple.
    constants : bool
        Whether arguments without float arrays (integers, strings, masks, None) are allowed, and passed unchanged.

    Attributes
    ----------
    names : list of str
        Names of the arguments with respect to which derivatives are taken.
    tree : Tree
        These arguments by name.
    """

    def __init__(self, function: Callable[..., Any], inputs: Any, constants: bool = False) -> None:
        self.given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        every = _names(function, len(self.given))
        self.varied = [not constants or _has_floats(value) for value in self.given]
        self.names = [name for name, varied in zip(every, self.varied, strict=True) if varied]
        self.values = [value for value, varied in zip(self.given, self.varied, strict=True) if varied]
        self.tree = parameters(dict(zip(self.names, self.values, strict=True)), "inputs")

    def unpack(self, named: Mapping[str, Any]) -> list[Any]:
        """Return the positional arguments, constants included, from a mapping by name."""
        found = iter([named[name] for name in self.names])
        return [next(found) if varied else value for value, varied in zip(self.given, self.varied, strict=True)]

    def pack(self, found: Any, what: str) -> dict[str, Any]:
        """Return what a vjp returned as a mapping by name; values for constants may be omitted or None.

        Raises
        ------
        ValueError
            If it is not one structure per input.
        """
        if len(self.names) == 1 and not (isinstance(found, tuple | list) and len(found) in (1, len(self.given))):
            found = (found,)
        count = len(found) if isinstance(found, tuple | list) else 1
        if isinstance(found, tuple | list) and count == len(self.given) > len(self.names):
            found = [value for value, varied in zip(found, self.varied, strict=True) if varied]
            count = len(found)
        if not isinstance(found, tuple | list) or count != len(self.names):
            raise ValueError(f"{what} must return {len(self.names)} values ({', '.join(self.names)}), got {count}")
        return dict(zip(self.names, found, strict=True))


def _has_floats(value: Any) -> bool:
    try:
        return any(kind_of(array) in FLOATING for _, array in walk(value, "", "input"))
    except TypeError:
        return False


def _names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        found = [p.name for p in inspect.signature(function).parameters.values() if p.kind in (0, 1)]
    except (TypeError, ValueError):
        found = []
    return found[:count] if len(found) >= count else [f"input{position}" for position in range(count)]


def inner(cotangent: Mapping[str, Host], output: Any, what: str = "output") -> Any:
    """Return <w, y>, complex if y is and in single precision if y is, after checking that y has the structure of w."""
    found = Tree.of(output, what)
    match_shapes(found, {name: w.shape for name, w in cotangent.items()}, what)
    product = sum(np.sum(values_of(found.arrays[name]) * w) for name, w in cotangent.items())
    if any(kind_of(array) in SINGLE for array in found.arrays.values()):
        return product.astype(np.complex64 if np.iscomplexobj(product) else np.float32)
    return product


def match_shapes(found: Tree, shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raise ValueError unless `found` holds arrays of these names and shapes: products would broadcast others."""
    if set(found.names) != set(shapes):
        raise ValueError(f"{what} must hold {', '.join(shapes)}, got {', '.join(found.names) or 'no arrays'}")
    for name, shape in shapes.items():
        if found.shapes[name] != shape:
            raise ValueError(f"{_place(what, name)} must have shape {shape}, got {found.shapes[name]}")


def _place(what: str, name: str) -> str:
    return what if name == "params" else f"{what}: {name}"  # the name of a single array


def real_values(found: Tree, shapes: Mapping[str, tuple[int, ...]], what: str) -> dict[str, Host]:
    """Return the arrays of an operator's result in float64, in the order of `shapes`.

    Raises
    ------
    TypeError
        If an array is complex.
    ValueError
        If names or shapes differ from `shapes`, or a number is NaN or infinite.
    """
    match_shapes(found, shapes, what)
    for name, array in found.arrays.items():
        if values_of(array).dtype.kind == "c":
            raise TypeError(f"{_place(what, name)} must hold real numbers, got {kind_of(array)}")
    values = found.host(np.float64)
    for name, array in values.items():
        if not np.all(np.isfinite(array)):
            raise ValueError(f"{_place(what, name)} must be finite, {first_bad(array)}")
    return {name: values[name] for name in shapes}


def draw(tree: Tree, seed: int, *key: int) -> dict[str, Host]:
    """Return Gaussian arrays of the shapes in `tree`."""
    return {name: gaussian(shape, seed, *key, k) for k, (name, shape) in enumerate(tree.shapes.items())}


def cast(values: Mapping[str, Host], dtype: str) -> dict[str, Host]:
    """Return the arrays in another dtype."""
    return {name: value.astype(dtype) for name, value in values.items()}


def renamed(report: Report, title: str, extra: int) -> Report:
    """Return the report under another title, with `extra` evaluations added."""
    return replace(report, title=title, n_evaluations=report.n_evaluations + extra)

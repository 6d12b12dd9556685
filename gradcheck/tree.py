"""Parameters as users hold them, as named arrays; and gradients, matched with them.

A `Tree` names every array by its place (`gradcheck.structures`); a single array is called ``params``. It rebuilds the
same structure from new values, always from fresh copies in the layout of the user's own arrays: a function under check
never gets those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arrays import Array, Host, dtype_name, library, to_host
from gradcheck.structures import is_number, is_record, leaf, rebuild, walk

FLOATING = ("float32", "float64")


class NarrowedError(TypeError):
    """A gradient is float32 for float64 parameters."""


def values_of(array: Array) -> Host:
    """Return an array, or a Python number, as an array in host memory."""
    return np.asarray(array) if is_number(array) else to_host(array)


def kind_of(array: Array) -> str:
    """Return the name of the dtype of an array or a Python number."""
    return values_of(array).dtype.name if is_number(array) else dtype_name(array)


@dataclass(frozen=True)
class Tree:
    """Named arrays, and the structure that held them.

    Attributes
    ----------
    template : object
        What the user gave.
    arrays : dict of str to array
        Its arrays by name, in the order of the structure.
    """

    template: Any
    arrays: dict[str, Array]

    @classmethod
    def of(cls, structure: Any, what: str = "params") -> Tree:
        """Name the arrays of `structure`.

        Raises
        ------
        TypeError
            If something in it is not an array, float, mapping, dataclass or sequence.
        ValueError
            If two places have the same name.
        """
        arrays: dict[str, Array] = {}
        for name, array in walk(structure, "", what):
            if name in arrays:
                raise ValueError(f"{what} has two arrays named {name!r}: rename a key")
            arrays[name] = array
        return cls(structure, arrays)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self.arrays)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays by name; that of a number is ()."""
        return {name: tuple(np.shape(array)) for name, array in self.arrays.items()}

    @property
    def dtype(self) -> str:
        """The dtype that all arrays of checked parameters share."""
        return kind_of(next(iter(self.arrays.values())))

    def host(self, dtype: Any = None) -> dict[str, Host]:
        """Return copies of the arrays in host memory, cast to `dtype` if one is given."""
        return {name: np.array(values_of(array), dtype=dtype) for name, array in self.arrays.items()}

    def build(self, values: Mapping[str, Host]) -> Any:
        """Return the same structure with copies of `values` in the library and on the device of the user's arrays."""
        return rebuild(self.template, iter([leaf(values[name], array) for name, array in self.arrays.items()]))

    def narrows(self) -> str | None:
        """Return the name of the library that narrows float64 values to float32 arrays; None if none does."""
        for array in self.arrays.values():
            if kind_of(leaf(np.ones(np.shape(array)), array)) == "float32":
                return library(array)
        return None


def parameters(params: Any, what: str = "params") -> Tree:
    """Return the tree of `params` after checking that derivatives with respect to them can be taken.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or if both occur.
    ValueError
        If there is no array, an array has no elements, or holds NaN or infinity.
    """
    tree = Tree.of(params, what)
    if not tree.arrays:
        raise ValueError(f"{what} must hold at least one array, got {params!r}")
    for name, array in tree.arrays.items():
        if kind_of(array) not in FLOATING:
            raise TypeError(f"{what}: {name} must be float32 or float64, got {kind_of(array)}")
        host = values_of(array)
        if host.size == 0:
            raise ValueError(f"{what}: {name} must have at least one element, got shape {tuple(host.shape)}")
        if not np.all(np.isfinite(host)):
            raise ValueError(f"{what}: {name} must be finite, {first_bad(host)}")
    kinds = {kind_of(array) for array in tree.arrays.values()}
    if len(kinds) > 1:
        listed = ", ".join(f"{name} {kind_of(array)}" for name, array in tree.arrays.items())
        raise TypeError(f"{what} must all have one dtype, got {listed}")
    return tree


def first_bad(host: Host) -> str:
    """Say which number that is NaN or infinite comes first, and where."""
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
    return f"got {host[index]} at index {index}"


def match_names(found: Mapping[str, Array], tree: Tree, what: str) -> None:
    """Raise ValueError unless `found` has the names of the parameters, in any order."""
    missing = [name for name in tree.names if name not in found]
    extra = [name for name in found if name not in tree.arrays]
    if missing or extra:
        parts = [
            f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has unexpected", extra)) if names
        ]
        raise ValueError(f"{what} {' and '.join(parts)}; the parameters are {', '.join(tree.names)}")


def match_gradient(gradient: Any, tree: Tree, dtype: str, what: str = "gradient") -> dict[str, Host]:
    """Return the arrays of a gradient on the host, in float64, after comparing them with the parameters.

    Parameters
    ----------
    gradient : structure of arrays
        What the user claims to be the derivative; for a named tuple or a dataclass also its fields in a plain tuple.
    tree : Tree
        The parameters.
    dtype : str
        The dtype of the parameters for which the gradient was computed.
    what : str
        Its name in errors.

    Raises
    ------
    TypeError
        If it is not a structure of arrays, or an array's dtype differs from its parameter's.
    ValueError
        If a name is missing or unexpected, a shape differs, or a value is NaN or infinite.
    """
    found = Tree.of(gradient, what).arrays
    named = is_record(tree.template) or hasattr(type(tree.template), "_fields")
    if named and type(gradient) in (tuple, list) and len(found) == len(tree.names):
        found = dict(zip(tree.names, found.values(), strict=True))
    match_names(found, tree, what)
    return {name: _match_array(found[name], tree.arrays[name], dtype, f"{what} of {name}") for name in tree.names}


def _match_array(array: Array, parameter: Array, dtype: str, what: str) -> Host:
    host = values_of(array)
    shape = np.shape(parameter)
    if host.shape != tuple(shape):
        raise ValueError(f"{what} must have the parameter's shape {tuple(shape)}, got {host.shape}")
    if kind_of(array) != dtype:
        text = f"{what} must be {dtype} like its parameter, got {kind_of(array)}"
        if (kind_of(array), dtype) == ("float32", "float64"):
            hint = "a library narrowed it; enable 64-bit numbers there (in JAX jax_enable_x64) or give float32 params"
            raise NarrowedError(f"{text}: {hint}")
        raise TypeError(text)
    host = np.array(host, dtype=np.float64)
    if not np.all(np.isfinite(host)):
        raise ValueError(f"{what} must be finite, {first_bad(host)}")
    return host

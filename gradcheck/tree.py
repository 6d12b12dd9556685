"""Parameters as users hold them: one array, a mapping, or nested mappings and sequences of arrays.

A `Tree` gives every array a name by its place: ``W``, ``layers[0].W``; an array that comes alone is called ``params``.
It rebuilds the same structure from new values, always from fresh copies: a function under check never holds the
user's own arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arrays import Array, Host, beside, dtype_name, is_array, to_host

FLOATING = ("float32", "float64")


@dataclass(frozen=True)
class Tree:
    """Named arrays together with the structure they came in.

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
            If something in it is neither array, mapping nor sequence.
        ValueError
            If two places have the same name.
        """
        arrays: dict[str, Array] = {}
        for name, array in _walk(structure, "", what):
            if name in arrays:
                raise ValueError(f"{what} has two arrays named {name!r}: rename a key")
            arrays[name] = array
        return cls(structure, arrays)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self.arrays)

    def host(self, dtype: Any = None) -> dict[str, Host]:
        """Return copies of the arrays in host memory, cast to `dtype` where one is given."""
        return {name: np.array(to_host(array), dtype=dtype) for name, array in self.arrays.items()}

    def build(self, values: Mapping[str, Host]) -> Any:
        """Return the structure again, with copies of `values` in the library and on the device of the user's arrays."""
        return _rebuild(self.template, iter([beside(values[name], self.arrays[name]) for name in self.arrays]))


def _walk(structure: Any, name: str, what: str) -> Iterator[tuple[str, Array]]:
    if is_array(structure):
        yield name or "params", structure
    elif isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from _walk(value, f"{name}.{key}" if name else str(key), what)
    elif isinstance(structure, Sequence) and not isinstance(structure, str | bytes):
        for position, value in enumerate(structure):
            yield from _walk(value, f"{name}[{position}]", what)
    else:
        place = f"{what}{'' if not name else ' at ' + name}"
        raise TypeError(f"{place} must be an array, a mapping or a sequence of arrays, got {type(structure).__name__}")


def _rebuild(template: Any, leaves: Iterator[Array]) -> Any:
    if is_array(template):
        return next(leaves)
    if isinstance(template, Mapping):
        return {key: _rebuild(value, leaves) for key, value in template.items()}
    items = [_rebuild(value, leaves) for value in template]
    if isinstance(template, tuple):
        return type(template)(*items) if hasattr(template, "_fields") else tuple(items)
    return items


def parameters(params: Any, what: str = "params") -> Tree:
    """Return the tree of `params` after checking that a derivative by them can be taken.

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
        if dtype_name(array) not in FLOATING:
            raise TypeError(f"{what}: {name} must be float32 or float64, got {dtype_name(array)}")
        host = to_host(array)
        if host.size == 0:
            raise ValueError(f"{what}: {name} must have at least one element, got shape {tuple(host.shape)}")
        if not np.all(np.isfinite(host)):
            raise ValueError(f"{what}: {name} must be finite, {_first_bad(host)}")
    kinds = {dtype_name(array) for array in tree.arrays.values()}
    if len(kinds) > 1:
        listed = ", ".join(f"{name} {dtype_name(array)}" for name, array in tree.arrays.items())
        raise TypeError(f"{what} must all have one dtype, got {listed}")
    return tree


def _first_bad(host: Host) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
    return f"got {host[index]} at index {index}"


def match_gradient(gradient: Any, tree: Tree, dtype: str, what: str = "gradient") -> dict[str, Host]:
    """Return the arrays of a gradient on the host, in float64, after comparing them with the parameters.

    Parameters
    ----------
    gradient : structure of arrays
        What the user claims to be the derivative.
    tree : Tree
        The parameters.
    dtype : str
        The dtype that the parameters had where the gradient was computed.
    what : str
        What errors call it.

    Raises
    ------
    TypeError
        If it is no structure of arrays, or an array has another dtype than its parameter.
    ValueError
        If a name is missing or unexpected, a shape differs, or a value is NaN or infinite.
    """
    found = Tree.of(gradient, what).arrays
    missing = [name for name in tree.names if name not in found]
    extra = [name for name in found if name not in tree.arrays]
    if missing or extra:
        parts = [
            f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has unexpected", extra)) if names
        ]
        raise ValueError(f"{what} {' and '.join(parts)}; the parameters are {', '.join(tree.names)}")
    return {name: _match_array(found[name], tree.arrays[name], dtype, f"{what} of {name}") for name in tree.names}


def _match_array(array: Array, parameter: Array, dtype: str, what: str) -> Host:
    if tuple(array.shape) != tuple(parameter.shape):
        raise ValueError(f"{what} must have the parameter's shape {tuple(parameter.shape)}, got {tuple(array.shape)}")
    if dtype_name(array) != dtype:
        raise TypeError(f"{what} must be {dtype} like its parameter, got {dtype_name(array)}")
    host = np.array(to_host(array), dtype=np.float64)
    if not np.all(np.isfinite(host)):
        raise ValueError(f"{what} must be finite, {_first_bad(host)}")
    return host

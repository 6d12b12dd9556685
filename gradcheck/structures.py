"""Structures of parameters: how their arrays are named, and how the same structure is rebuilt from other values.

A structure is an array, a Python float, a mapping, a dataclass, a named tuple, or a sequence of structures. Arrays are
named by their place: ``W``, ``layers[0].W``. Fields of a dataclass that hold neither arrays nor floats (a size, a name,
a function) belong to the structure and are passed unchanged.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradcheck.arrays import Array, beside, is_array

__all__ = ["is_number", "is_record", "leaf", "rebuild", "walk"]

ACCEPTED = "an array, a float, a mapping, a dataclass or a sequence of arrays"


def is_number(obj: Any) -> bool:
    """Tell whether `obj` is a float or complex number of Python."""
    return type(obj) in (float, complex)


def is_record(obj: Any) -> bool:
    """Tell whether `obj` is an instance of a dataclass."""
    return dataclasses.is_dataclass(obj) and not isinstance(obj, type)


def walk(structure: Any, name: str, what: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays and floats of a structure by name; mappings are checked first.

    Raises
    ------
    TypeError
        If something in it is not part of a structure.
    """
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from walk(value, f"{name}.{key}" if name else str(key), what)
    elif is_array(structure) or is_number(structure):
        if isinstance(structure, np.ma.MaskedArray | np.matrix):
            place = f"{what}{'' if not name else ' at ' + name}"
            raise TypeError(f"{place} must not be a {type(structure).__name__}: give a plain array, with masks filled")
        yield name or "params", structure
    elif is_record(structure):
        for key, value in _fields(structure).items():
            yield from walk(value, f"{name}.{key}" if name else key, what)
    elif isinstance(structure, Sequence) and not isinstance(structure, str | bytes):
        fields = getattr(type(structure), "_fields", None)  # of a named tuple
        for position, value in enumerate(structure):
            place = f"[{position}]" if fields is None else f".{fields[position]}"
            yield from walk(value, f"{name}{place}" if name or fields is None else place[1:], what)
    else:
        place = f"{what}{'' if not name else ' at ' + name}"
        raise TypeError(f"{place} must be {ACCEPTED}, got {type(structure).__name__}")


def rebuild(template: Any, leaves: Iterator[Array]) -> Any:
    """Return the structure of `template` with its arrays replaced, in order, by `leaves`."""
    if isinstance(template, Mapping):
        return _mapping(template, {key: rebuild(value, leaves) for key, value in template.items()})
    if is_array(template) or is_number(template):
        return next(leaves)
    if is_record(template):
        made = copy.copy(template)
        for key, value in _fields(template).items():
            object.__setattr__(made, key, rebuild(value, leaves))  # a frozen dataclass allows no other way
        return made
    items = [rebuild(value, leaves) for value in template]
    if isinstance(template, tuple):
        return type(template)(*items) if hasattr(template, "_fields") else tuple(items)
    return items


def leaf(values: Any, like: Array) -> Array:
    """Return `values` as a leaf of the kind of `like`: a Python number, or an array of its library."""
    return values.item() if is_number(like) else beside(values, like)


def _fields(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that hold parameters."""
    found = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {key: value for key, value in found.items() if _holds_parameters(value)}


def _holds_parameters(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_parameters(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return any(_holds_parameters(item) for item in value)
    return is_array(value) or is_number(value) or is_record(value)


def _mapping(template: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """Return a mapping of the type of `template`, or a dict if that type cannot be created."""
    if type(template) is dict:
        return items
    with contextlib.suppress(Exception):  # some cannot be changed, and odd ones answer anything when asked for a method
        made: Any = copy.copy(template)
        for key, value in items.items():
            made[key] = value
        return made
    with contextlib.suppress(Exception):
        return type(template)(items)  # type: ignore[call-arg]
    return items

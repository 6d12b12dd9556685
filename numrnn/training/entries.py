"""The entries of a checkpoint: named arrays and one JSON string, and conversion back.

What is saved loads equal, or is refused when it is saved: allowed are arrays of plain numbers, and values that JSON
does not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from numrnn.backend import Array, is_array, to_numpy
from numrnn.checks import check_plain

ARRAY = "__array__"  # replaces an array of the optimiser's state in the metadata


def named_arrays(part: str, arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Return a mapping of arrays as entries "PART/NAME".

    Raises
    ------
    TypeError
        If it is not a mapping of names to arrays of numbers.
    ValueError
        If a name cannot name an entry, or a number is NaN or infinite.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{part} must be a mapping of names to arrays, got {type(arrays).__name__}")
    return {f"{part}/{_checked_name(part, name)}": _numbers(f"{part}/{name}", array) for name, array in arrays.items()}


def _checked_name(part: str, name: Any) -> str:
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise ValueError(f"names in {part} must be printable strings, got {name!r}")
    return name


def _numbers(name: str, array: Any) -> np.ndarray:
    if not is_array(array):
        raise TypeError(f"{name} must be an array, got {type(array).__name__}")
    check_plain(name, array)
    host = to_numpy(array)
    if host.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold numbers, got dtype {host.dtype}")
    if not np.all(np.isfinite(host)):
        raise ValueError(f"a checkpoint must hold finite numbers only, got NaN or infinity in {name}")
    return host


def split(state: Mapping[str, Any], part: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the numbers of a nested state, with marks in place of arrays, and the arrays by slash-joined names.

    Raises
    ------
    TypeError, ValueError
        If the state would not load equal.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"{part} must be a mapping, got {type(state).__name__}")
    tree: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for key, value in state.items():
        name = f"{part}/{_checked_name(part, key)}"
        if isinstance(value, Mapping):
            tree[key], found = split(value, name)
        elif is_array(value):
            tree[key], found = ARRAY, {name: _numbers(name, value)}
        elif value == ARRAY:
            raise ValueError(f"{name} must not be {ARRAY!r}, which stands for an array in the file")
        else:
            tree[key], found = value, {}
        if twice := arrays.keys() & found.keys():
            raise ValueError(f"two arrays in {part} have the same name {min(twice)} in the file")
        arrays |= found
    return tree, arrays


def join(tree: Mapping[str, Any], arrays: Mapping[str, Array], part: str) -> dict[str, Any]:
    """Undo `split`."""
    return {
        key: join(value, arrays, f"{part}/{key}")
        if isinstance(value, Mapping)
        else arrays[f"{part}/{key}"]
        if value == ARRAY
        else value
        for key, value in tree.items()
    }


def as_json(metadata: Mapping[str, Any]) -> bytes:
    """Return metadata as a JSON string.

    Raises
    ------
    TypeError
        If JSON cannot hold a part, or would change it. A tuple may stand for a list.
    ValueError
        If a number is NaN or infinite.
    """
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    again = json.loads(text)
    for name, value in metadata.items():
        if (path := _changed(name, value, again[name])) is not None:
            raise TypeError(f"{path} must be values that JSON keeps unchanged: string keys, numbers, strings, lists")
    return text.encode()


def _changed(path: str, before: Any, after: Any) -> str | None:
    """Return the path of the first part that JSON would change."""
    if isinstance(before, Mapping):
        if set(before) != set(after):
            return path
        return next(filter(None, (_changed(f"{path}.{k}", v, after[k]) for k, v in before.items())), None)
    if isinstance(before, list | tuple):
        pairs = enumerate(zip(before, after, strict=True))
        return next(filter(None, (_changed(f"{path}[{i}]", *pair) for i, pair in pairs)), None)
    return None if before == after else path


def under(part: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of the entries "PART/NAME" by their names."""
    return {name.removeprefix(f"{part}/"): array for name, array in arrays.items() if name.startswith(f"{part}/")}


def checksum(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the SHA-256 of names, dtypes, shapes and bytes, 32 numbers of uint8."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        # The header fixes the number of bytes that follow, so different arrays never give the same stream of bytes.
        digest.update(json.dumps([name, array.dtype.str, arrays[name].shape]).encode() + b"\n")
        digest.update(array.data if array.size else b"")
    return np.frombuffer(digest.digest(), np.uint8)

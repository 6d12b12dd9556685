"""Sequences in an .npz file: in one array, or one by one under numbered keys."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from numrnn.archives import check_archive


def parts_of(path: Any, stream: BinaryIO) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by their names."""
    try:
        check_archive(stream)
        archive = np.load(stream, allow_pickle=False)
    except Exception as error:
        raise ValueError(f"{path} must be a file that numpy.savez wrote, without pickled objects: {error}") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} must be an .npz file with the key x, got a single array")
    parts = {}
    with archive:
        for name in archive.files:
            try:
                parts[name] = archive[name]
            except ValueError as error:
                raise TypeError(f"{path}: {name} must be an array of numbers: {error}") from None
            except Exception as error:  # a damaged archive makes zipfile, zlib and numpy raise a dozen different types
                raise ValueError(f"{path}: {name} is damaged: {error}") from None
    return parts


def one_or_many(path: Any, parts: dict[str, np.ndarray], key: str) -> Any:
    """Remove `key`, or key_0, key_1, ..., from the parts and return the array or the list; None if there is neither."""
    numbered = sorted(
        (name for name in parts if name.startswith(f"{key}_") and name[len(key) + 1 :].isdecimal()),
        key=lambda name: int(name[len(key) + 1 :]),
    )
    if not numbered:
        return parts.pop(key, None)
    wanted = [f"{key}_{i}" for i in range(len(numbered))]
    if key in parts or numbered != wanted:
        raise ValueError(
            f"{path}: {key} must be one key or {key}_0 to {key}_N without a gap, got {numbered[-1]} and more"
        )
    return [parts.pop(name) for name in numbered]

"""Checks of the arguments of `Sequences`: x, lengths, targets and mask, in one array or one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from numrnn.checks import as_host_array, check_plain
from numrnn.typing import Targets

CHECKED_BYTES = 2**26  # of x that are checked at once, so that a check of a large x needs little memory


def checked_x(x: Any) -> Any:
    """Return x as one array (N, T, m) or as a list of arrays (T_i, m)."""
    if isinstance(x, np.ndarray) and x.dtype.kind != "O":
        array = _real("x", x)
        if array.ndim != 3 or 0 in array.shape:
            hint = "; give x[:, :, None] if there is one feature" if array.ndim == 2 else ""
            raise ValueError(f"x must be (N, T, m) with N, T, m >= 1, got {array.shape}{hint}")
        return array
    if isinstance(x, np.ndarray) or not isinstance(x, Sequence) or isinstance(x, str | bytes):
        kind = f"an array of dtype {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"x must be an array (N, T, m) or a list of arrays (T_i, m), got {kind}")
    if not len(x):
        raise ValueError("x must hold at least one sequence, got an empty list")
    arrays = [_real(f"x[{i}]", one) for i, one in enumerate(x)]
    for i, one in enumerate(arrays):
        m = arrays[0].shape[-1] if arrays[0].ndim == 2 else "m"
        if one.ndim != 2 or 0 in one.shape or one.shape[1] != m:
            hint = f"; give x[{i}][:, None] if there is one feature" if one.ndim == 1 else ""
            raise ValueError(f"x[{i}] must be (T_i, m={m}) with T_i, m >= 1, got {one.shape}{hint}")
    return _of_one_dtype(arrays)


def checked_lengths(x: Any, lengths: Any) -> np.ndarray:
    """Return the length of each sequence, int64."""
    if isinstance(x, list):
        if lengths is not None:
            raise ValueError("lengths must be None if x is a list: each array has its own")
        return np.array([len(one) for one in x], np.int64)
    n, steps = x.shape[:2]
    if lengths is None:
        return np.full(n, steps, np.int64)
    array = as_host_array("lengths", lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, got dtype {array.dtype}")
    if array.shape != (n,):
        raise ValueError(f"lengths must be (N={n},), got {array.shape}")
    if array.min() < 1 or array.max() > steps:
        row = int(np.argmax((array < 1) | (array > steps)))
        raise ValueError(f"lengths must be from 1 to T={steps}, got {array[row]} for sequence {row}")
    return array.astype(np.int64)


def checked_y(y: Any, x: Any, lengths: np.ndarray) -> tuple[Any, Targets]:
    """Return the targets and their kind."""
    n = len(lengths)
    if isinstance(x, list) and isinstance(y, Sequence) and not isinstance(y, str) and len(y) and np.ndim(y[0]) > 0:
        rows = [_real(f"y[{i}]", one) for i, one in enumerate(y)]
        if rows[0].ndim == 1 and rows[0].dtype.kind == "f":  # a list of vectors: numbers for each whole sequence
            return checked_y(np.stack(rows), x, lengths) if len({r.shape for r in rows}) == 1 else _no_targets(rows, n)
        if len(rows) != n:
            raise ValueError(f"y must have a target for each of the {n} sequences, got {len(rows)}")
        labels = rows[0].ndim == 1
        for i, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            wanted = (length,) if labels else (length, *rows[0].shape[1:])
            if row.shape != wanted or row.ndim > 2 or (row.dtype.kind == "f") is labels:
                what = "integer labels" if labels else "floating-point numbers"
                raise ValueError(f"y[{i}] must be {what} of shape {wanted}, got {row.dtype} of {row.shape}")
            _check_values(row, f"y[{i}]")
        return _of_one_dtype(rows, labels=labels), "labels at every step" if labels else "numbers at every step"
    array = _real("y", y)
    if array.shape[:1] != (n,):
        raise ValueError(f"y must have a target for each of the {n} sequences, got shape {array.shape}")
    labels, steps = array.dtype.kind in "iu", None if isinstance(x, list) else x.shape[1]
    shape = array.shape[1:]
    if shape == ():
        if not labels:
            raise TypeError(
                f"y of shape (N,) must be integer labels, got {array.dtype}; numbers are (N, k): y[:, None]"
            )
        _check_values(array, "y")
        return array, "label"
    if len(shape) == 1 and not labels:
        _check_values(array, "y")
        return array, "numbers"
    if steps is not None and shape[0] == steps and len(shape) == (1 if labels else 2):
        for i, length in enumerate(lengths):
            _check_values(array[i, :length], f"y[{i}]")
        return array, "labels at every step" if labels else "numbers at every step"
    raise ValueError(
        f"y must be labels (N,) or (N, T), integers, or numbers (N, k) or (N, T, k), floating point, with "
        f"N={n}{'' if steps is None else f' and T={steps}'}; got {array.dtype} of shape {array.shape}"
    )


def checked_mask(mask: Any, x: Any, lengths: np.ndarray) -> Any:
    """Return the mask, one row for each sequence."""
    rows = as_host_array("mask", mask) if not isinstance(x, list) else mask
    if not isinstance(rows, np.ndarray | Sequence):
        raise TypeError(f"mask must be a list of arrays, one for each sequence, got {type(mask).__name__}")
    wanted = f"N={len(lengths)} arrays of their lengths" if isinstance(x, list) else f"(N={len(x)}, T={x.shape[1]})"
    if isinstance(rows, np.ndarray) and rows.shape != x.shape[:2]:
        raise ValueError(f"mask must be {wanted}, got {rows.shape}")
    if len(rows) != len(lengths):
        raise ValueError(f"mask must be {wanted}, got {len(rows)}")
    checked = []
    for i, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
        row = as_host_array(f"mask[{i}]", row)
        if row.dtype != np.bool_:
            raise TypeError(f"mask must hold True and False, got dtype {row.dtype}")
        if isinstance(x, list) and row.shape != (length,):
            raise ValueError(f"mask[{i}] must be ({length},), got {row.shape}")
        if not row[:length].any():
            raise ValueError(f"mask[{i}] must have a True before the length {length}: no target of it would count")
        checked.append(row)
    return checked


def _real(name: str, array: Any) -> np.ndarray:
    """Return an argument as an array of real numbers."""
    check_plain(name, array)
    if not isinstance(array, np.ndarray):
        array = as_host_array(name, array)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def _of_one_dtype(arrays: list[np.ndarray], *, labels: bool = False) -> list[np.ndarray]:
    """Return arrays in the dtype that holds the values of all: a batch has one dtype, whichever rows are in it."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1:
        return arrays
    common = np.result_type(*dtypes)
    if labels and common.kind == "f":  # of int64 and uint64; no label is negative
        common = np.dtype(np.uint64)
    return [array if array.dtype == common else array.astype(common) for array in arrays]


def _no_targets(rows: list[np.ndarray], n: int) -> Any:
    raise ValueError(f"y must hold {n} vectors of one length, got shapes {rows[0].shape} and others")


def _check_values(array: np.ndarray, name: str) -> None:
    """Check that numbers are finite, and labels not negative."""
    if array.dtype.kind == "f":
        good = np.isfinite(array)
        if not good.all():
            index = tuple(int(i) for i in np.argwhere(~good)[0])
            raise ValueError(f"{name} must be finite, got {array[index]} at index {index}")
    elif array.min(initial=0) < 0:
        raise ValueError(f"{name} must hold labels >= 0, got {array.min()}")


def is_mapped(x: Any) -> bool:
    """Tell whether an array, or an array that it is a view of, is a memory map."""
    while x is not None:
        if isinstance(x, np.memmap):
            return True
        x = getattr(x, "base", None)
    return False


def portions(x: Any) -> Iterable[range]:
    """Return ranges of rows that are checked at once."""
    size = max(1, x[0].nbytes)
    step = max(1, CHECKED_BYTES // size)
    return (range(first, min(first + step, len(x))) for first in range(0, len(x), step))

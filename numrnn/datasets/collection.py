"""Sequences of one's own, of one length or of many, with their targets.

Data sets put the batch first, as files do: x is (N, T, m), and a target at every step (N, T) or (N, T, k). Batches put
time first, as `numrnn.forward` wants it: (T, B, m). The class does the one and the method `batch` the other, so that an
axis never has to be guessed.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from numrnn.archives import check_archive
from numrnn.checks import as_host_array, check_path, check_plain, check_rows

__all__ = ["Batch", "Sequences", "Targets"]

Targets = Literal["label", "numbers", "labels at every step", "numbers at every step"]
CHECKED_BYTES = 2**26  # of x that are looked at together, so that a check of a large x needs little memory


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a data set, time first and padded to the longest of them.

    Attributes
    ----------
    x : numpy.ndarray, shape (T, B, m)
        Zero after a row's length.
    y : numpy.ndarray or None
        Targets (B,), (B, k), (T, B) or (T, B, k); zero after a row's length.
    lengths : numpy.ndarray, shape (B,), or None
        None where every row has T steps.
    mask : numpy.ndarray of bool, shape (T, B), or None
        The steps whose targets count; None where the targets are not at every step.
    """

    x: np.ndarray
    y: np.ndarray | None
    lengths: np.ndarray | None
    mask: np.ndarray | None


class Sequences:
    """Sequences of one's own, with or without targets.

    Parameters
    ----------
    x : numpy.ndarray, shape (N, T, m), or sequence of N arrays (T_i, m)
        Real numbers. A memory map may be larger than memory: its rows are read, and checked, when a batch needs them.
    y : numpy.ndarray or sequence, optional
        Labels (N,), integers; numbers (N, k), floating point; at every step, labels (N, T), integers, or numbers
        (N, T, k), floating point. Where x is a sequence of arrays, targets at every step are one too, of (T_i,) or
        (T_i, k).
    lengths : array of int, shape (N,), optional
        Only with an x of one array: 1 <= lengths <= T. What stands behind them is neither read nor checked.
    mask : array of bool, shape (N, T), or sequence of (T_i,), optional
        Only with targets at every step: False where a target does not count. Each row needs a True.

    Attributes
    ----------
    n_features : int
        m.
    lengths : numpy.ndarray of int64, shape (N,)
    targets : str or None
        "label", "numbers", "labels at every step", "numbers at every step"; None without y.
    n_outputs : int or None
        k of numbers; for labels, one more than the largest.

    Raises
    ------
    TypeError
        If an argument is of a wrong type or dtype; an array of objects is never taken.
    ValueError
        If a shape or a length does not fit, a label is negative, or a number is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> data = Sequences([np.ones((3, 2)), np.ones((5, 2))], [0, 1])
    >>> len(data), data.n_features, data.lengths.tolist(), data.targets
    (2, 2, [3, 5], 'label')
    >>> batch = data.batch([0, 1])
    >>> batch.x.shape, batch.lengths.tolist()
    ((5, 2, 2), [3, 5])
    """

    def __init__(self, x: Any, y: Any = None, *, lengths: Any = None, mask: Any = None) -> None:
        self._x = _checked_x(x)
        first = self._x[0]
        self.n_features = int(first.shape[-1])
        self.lengths = _checked_lengths(self._x, lengths)
        for rows in _portions(self._x) if not _is_mapped(x) else ():
            self._check_finite(rows)
        self._y: Any = None
        self.targets: Targets | None = None
        if y is not None:
            self._y, self.targets = _checked_y(y, self._x, self.lengths)
        self._mask = None
        if mask is not None:
            if self.targets is None or "every" not in self.targets:
                raise ValueError("mask is only for targets at every step; y has none")
            self._mask = _checked_mask(mask, self._x, self.lengths)

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> Sequences:
        """Read a file that numpy.savez wrote.

        Parameters
        ----------
        path : path
            With x (N, T, m), and lengths (N,) if they differ; or x_0, x_1, ..., one (T_i, m) for each sequence. With
            y, and mask, if there are any: in one array, or y_0, y_1, ... where targets stand at every step of
            sequences of their own length. Other keys are refused, and so are pickled objects.

        Returns
        -------
        Sequences

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there is no such file, it is none of numpy.savez, a key is missing or unknown, or as the class.
        """
        path = check_path("path", path)
        with open(path, "rb") as stream:  # which numpy.load would leave open where it cannot read the file
            parts = _parts_of(path, stream)
        found = {key: _one_or_many(path, parts, key) for key in ("x", "y", "mask")}
        found["lengths"] = parts.pop("lengths", None)
        if parts:
            raise ValueError(
                f"{path}: keys must be x or x_0, ..., y or y_0, ..., lengths, mask; got {', '.join(parts)}"
            )
        if found["x"] is None:
            raise ValueError(f"{path}: the key x, or x_0, x_1, ..., is missing")
        try:
            return cls(found["x"], found["y"], lengths=found["lengths"], mask=found["mask"])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from None

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        low, high = int(self.lengths.min()), int(self.lengths.max())
        steps = f"{low}" if low == high else f"{low} to {high}"
        return f"Sequences({len(self)} of {steps} steps, {self.n_features} features, y: {self.targets})"

    @property
    def x(self) -> list[np.ndarray]:
        """The sequences one by one, (T_i, m), without padding; no copies where x is an array or a list of arrays."""
        return [self.sequence(row) for row in range(len(self))]

    @property
    def y(self) -> Any:
        """The targets, as an array, or as a list where they stand at every step of sequences in a list."""
        return self._y

    @property
    def n_outputs(self) -> int | None:
        """Numbers k of a target; for labels, one more than the largest; None without targets."""
        if self.targets is None:
            return None
        if self.targets.startswith("numbers"):
            return int(self._y[0].shape[-1])
        if self.targets == "label":
            return 1 + int(self._y.max())
        # What stands behind the length of a row is not a label.
        return 1 + max(int(row[:length].max()) for row, length in zip(self._y, self.lengths, strict=True))

    def sequence(self, row: int) -> np.ndarray:
        """Return one sequence, (T_i, m), without padding."""
        row = int(check_rows("row", [row], len(self))[0])
        return np.asarray(self._x[row][: self.lengths[row]])

    def with_x(self, x: list[np.ndarray]) -> Sequences:
        """Return sequences with the same lengths, targets and mask, but another x: a list of N arrays (T_i, m).

        Raises
        ------
        TypeError, ValueError
            If it is none, a length differs, or a number is NaN or infinite.
        """
        other = copy.copy(self)
        other._x = _checked_x(list(x))
        other.n_features = int(other._x[0].shape[-1])
        lengths = [len(one) for one in other._x]
        if lengths != self.lengths.tolist():
            raise ValueError(f"x must have sequences of the same lengths, {self.lengths.tolist()}, got {lengths}")
        other._check_finite(range(len(other)))
        return other

    def batch(self, rows: Iterable[int] | np.ndarray) -> Batch:
        """Return some rows, in this order, time first and padded with zeros to the longest of them.

        Parameters
        ----------
        rows : sequence of int, shape (B,)
            B >= 1.

        Returns
        -------
        Batch

        Raises
        ------
        TypeError
            If the rows are no integers.
        IndexError
            If a row is not there.
        ValueError
            If x is a memory map, and a row of it holds NaN or infinity.
        """
        index = check_rows("rows", rows, len(self))
        lengths = self.lengths[index]
        steps = int(lengths.max())
        if isinstance(self._x, list):
            x = _padded([self._x[row] for row in index], steps)
        else:
            # Sorted, and so read in the order in which a memory map lies in its file.
            order = np.argsort(index, kind="stable")
            x = np.empty((steps, len(index), self.n_features), self._x.dtype)
            x[:, order] = np.asarray(self._x[index[order], :steps]).swapaxes(0, 1)
        inside = np.arange(steps)[:, None] < lengths
        if not inside.all():
            x[~inside] = 0
        if _is_mapped(self._x) and not np.isfinite(x).all():
            self._check_finite(index)  # reads the rows again, to name the first bad number
        y, mask = None, None
        if self._y is not None:
            every = self.targets is not None and "every" in self.targets
            if not every:
                y = self._y[index]
            else:
                y = _padded([self._y[row][: self.lengths[row]] for row in index], steps)
                mask = inside
                if self._mask is not None:
                    mask = inside & _padded([self._mask[row][: self.lengths[row]] for row in index], steps)
        return Batch(x, y, None if inside.all() else lengths, mask)

    def digest(self) -> str:
        """Return the SHA-256 of all that stands in it: sequences without padding, targets, mask. Reads x once."""
        total = hashlib.sha256(np.ascontiguousarray(self.lengths).tobytes())
        for row in range(len(self)):
            parts = [self._x[row]]
            if self._y is not None and isinstance(self.targets, str) and "every" in self.targets:
                parts.append(self._y[row])
            if self._mask is not None:
                parts.append(self._mask[row])
            for part in parts:
                array = np.ascontiguousarray(part[: self.lengths[row]])
                total.update(array.dtype.str.encode())
                total.update(array.tobytes())
        if self._y is not None and not isinstance(self._y, list) and self.targets in ("label", "numbers"):
            total.update(np.ascontiguousarray(self._y).tobytes())
        return total.hexdigest()

    def _check_finite(self, rows: Iterable[int]) -> None:
        """Raise ValueError if a sequence holds NaN or infinity before its length."""
        for row in rows:
            good = np.isfinite(self._x[row][: self.lengths[row]])
            if not good.all():
                step, feature = np.argwhere(~good)[0]
                value = self._x[row][step, feature]
                raise ValueError(f"x must be finite, got {value} at sequence {row}, step {step}, feature {feature}")


def _parts_of(path: Any, stream: BinaryIO) -> dict[str, np.ndarray]:
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


def _one_or_many(path: Any, parts: dict[str, np.ndarray], key: str) -> Any:
    """Take `key`, or the list key_0, key_1, ..., out of the parts; None if neither is there."""
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


def _is_mapped(x: Any) -> bool:
    """Tell whether an array, or an array that it is a view of, is a memory map."""
    while x is not None:
        if isinstance(x, np.memmap):
            return True
        x = getattr(x, "base", None)
    return False


def _portions(x: Any) -> Iterable[range]:
    """Yield ranges of rows of a size that is checked together."""
    size = max(1, x[0].nbytes)
    step = max(1, CHECKED_BYTES // size)
    return (range(first, min(first + step, len(x))) for first in range(0, len(x), step))


def _real(name: str, array: Any) -> np.ndarray:
    """Return an argument as an array of real numbers."""
    check_plain(name, array)
    if not isinstance(array, np.ndarray):
        array = as_host_array(name, array)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def _checked_x(x: Any) -> Any:
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
    return arrays


def _checked_lengths(x: Any, lengths: Any) -> np.ndarray:
    """Return the length of each sequence, int64."""
    if isinstance(x, list):
        if lengths is not None:
            raise ValueError("lengths must be None where x is a list: each array has its own")
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


def _checked_y(y: Any, x: Any, lengths: np.ndarray) -> tuple[Any, Targets]:
    """Return the targets, and of what kind they are."""
    n = len(lengths)
    if isinstance(x, list) and isinstance(y, Sequence) and not isinstance(y, str) and len(y) and np.ndim(y[0]) > 0:
        rows = [_real(f"y[{i}]", one) for i, one in enumerate(y)]
        if rows[0].ndim == 1 and rows[0].dtype.kind == "f":  # a list of vectors: numbers for each whole sequence
            return _checked_y(np.stack(rows), x, lengths) if len({r.shape for r in rows}) == 1 else _no_targets(rows, n)
        if len(rows) != n:
            raise ValueError(f"y must have a target for each of the {n} sequences, got {len(rows)}")
        labels = rows[0].ndim == 1
        for i, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            wanted = (length,) if labels else (length, *rows[0].shape[1:])
            if row.shape != wanted or row.ndim > 2 or (row.dtype.kind == "f") is labels:
                what = "integer labels" if labels else "floating-point numbers"
                raise ValueError(f"y[{i}] must be {what} of shape {wanted}, got {row.dtype} of {row.shape}")
            _check_values(row, f"y[{i}]")
        return rows, "labels at every step" if labels else "numbers at every step"
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


def _checked_mask(mask: Any, x: Any, lengths: np.ndarray) -> Any:
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


def _padded(rows: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """Return rows (T_i, ...) as one array (steps, B, ...), zero where a row has ended."""
    out = np.zeros((steps, len(rows), *rows[0].shape[1:]), rows[0].dtype)
    for i, row in enumerate(rows):
        out[: len(row), i] = row
    return out

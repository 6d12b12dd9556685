"""Your own sequences, of equal or different lengths, with their targets.

Data sets put the batch first, as files do: x is (N, T, m), and a target at every step (N, T) or (N, T, k). Batches put
time first, as `numrnn.forward` requires: (T, B, m). The class takes the first form and its method `batch` returns the
second, so no axis has to be guessed.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numrnn.checks import check_path, check_rows
from numrnn.datasets.npz import one_or_many, parts_of
from numrnn.datasets.sequence_checks import checked_lengths, checked_mask, checked_x, checked_y, is_mapped, portions
from numrnn.typing import Targets

__all__ = ["Batch", "Sequences", "Targets"]


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
        None if every row has T steps.
    mask : numpy.ndarray of bool, shape (T, B), or None
        The steps whose targets count; None if the targets are not at every step.
    """

    x: np.ndarray
    y: np.ndarray | None
    lengths: np.ndarray | None
    mask: np.ndarray | None


class Sequences:
    """Your own sequences, with or without targets.

    Parameters
    ----------
    x : numpy.ndarray, shape (N, T, m), or sequence of N arrays (T_i, m)
        Real numbers; arrays of different dtypes are converted to their common dtype. A memory map may be larger than
        memory: its rows are read, and checked, when a batch needs them.
    y : numpy.ndarray or sequence, optional
        Labels (N,), integers; numbers (N, k), floating point; at every step, labels (N, T), integers, or numbers
        (N, T, k), floating point. If x is a sequence of arrays, so are targets at every step, of shapes (T_i,) or (T_i,
        k).
    lengths : array of int, shape (N,), optional
        Only with an x of one array: 1 <= lengths <= T. Values beyond them are neither read nor checked.
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
        If an argument is of a wrong type or dtype; arrays of objects are never accepted.
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
        self._x = checked_x(x)
        first = self._x[0]
        self.n_features = int(first.shape[-1])
        self.lengths = checked_lengths(self._x, lengths)
        for rows in portions(self._x) if not is_mapped(x) else ():
            self._check_finite(rows)
        self._y: Any = None
        self.targets: Targets | None = None
        if y is not None:
            self._y, self.targets = checked_y(y, self._x, self.lengths)
        self._mask = None
        if mask is not None:
            if self.targets is None or "every" not in self.targets:
                raise ValueError("mask is only for targets at every step; y has none")
            self._mask = checked_mask(mask, self._x, self.lengths)

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> Sequences:
        """Read a file that numpy.savez wrote.

        Parameters
        ----------
        path : path
            With x (N, T, m), and lengths (N,) if they differ; or x_0, x_1, ..., one (T_i, m) for each sequence. With y
            and mask if there are any: in one array, or y_0, y_1, ... for targets at every step of sequences of
            different lengths. Other keys are refused, and so are pickled objects.

        Returns
        -------
        Sequences

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there is no such file, `numpy.savez` did not write it, a key is missing or unknown, or as for the class.
        """
        path = check_path("path", path)
        with open(path, "rb") as stream:  # numpy.load would leave it open if it cannot read it
            parts = parts_of(path, stream)
        found = {key: one_or_many(path, parts, key) for key in ("x", "y", "mask")}
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
        """The sequences one by one, (T_i, m), without padding; no copies of an array, or of arrays of one dtype."""
        return [self.sequence(row) for row in range(len(self))]

    @property
    def y(self) -> Any:
        """The targets: an array, or a list for targets at every step of a list of sequences."""
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
        # Values beyond the length of a row are not labels.
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
            If x is not such a list, a length differs, or a number is NaN or infinite.
        """
        other = copy.copy(self)
        other._x = checked_x(list(x))
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
            If the rows are not integers.
        IndexError
            If there is no such row.
        ValueError
            If x is a memory map, and a row of it holds NaN or infinity.
        """
        index = check_rows("rows", rows, len(self))
        lengths = self.lengths[index]
        steps = int(lengths.max())
        if isinstance(self._x, list):
            x = _padded([self._x[row] for row in index], steps)
        else:
            # Sorted, so that a memory map is read in the order of its file.
            order = np.argsort(index, kind="stable")
            x = np.empty((steps, len(index), self.n_features), self._x.dtype)
            x[:, order] = np.asarray(self._x[index[order], :steps]).swapaxes(0, 1)
        inside = np.arange(steps)[:, None] < lengths
        if not inside.all():
            x[~inside] = 0
        if is_mapped(self._x) and not np.isfinite(x).all():
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
        """Return the SHA-256 of the content: sequences without padding, targets, mask. Reads x once."""
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


def _padded(rows: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """Return rows (T_i, ...) as one array (steps, B, ...), zero where a row has ended."""
    out = np.zeros((steps, len(rows), *rows[0].shape[1:]), rows[0].dtype)
    for i, row in enumerate(rows):
        out[: len(row), i] = row
    return out

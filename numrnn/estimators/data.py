"""Arguments X and y of estimators: conversion to `Sequences`, and of predictions to the form of y.

X is one array (N, T, m); or a list of arrays (T_i, m), or (T_i,) with one feature per step; or an array (N, T), whose
rows are series of one feature per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from numrnn.checks import check_plain, shown
from numrnn.training.readout import Output
from numrnn.typing import Precision

__all__ = ["Input", "check_labels", "check_numbers", "cut", "joined", "read_input", "split"]


@dataclass(frozen=True, eq=False)
class Input:
    """Sequences as given: x for `Sequences`, and their form, which determines the form of the predictions.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, T, m), or list of numpy.ndarray, shape (T_i, m)
    ndim : int
        2 if X was (N, T), else 3.
    """

    x: Any
    ndim: int

    @property
    def n_channels(self) -> int:
        """The number m of features of a step."""
        return int(self.x[0].shape[-1])

    @property
    def n_features(self) -> int:
        """The features as scikit-learn counts them: the columns T of an X (N, T), else m."""
        return int(self.x.shape[1]) if self.ndim == 2 else self.n_channels

    @property
    def lengths(self) -> list[int]:
        """T_i of every sequence."""
        return [len(row) for row in self.x]


def read_input(X: Any, dtype: Precision) -> Input:
    """Return X after a check of its shape, dtype and values.

    Raises
    ------
    TypeError
        If X is sparse or holds anything but numbers.
    ValueError
        If its shape is none of the three, it is empty or complex, or holds NaN, infinity or a value too large for
        `dtype`.
    """
    if scipy.sparse.issparse(X):
        raise TypeError("X must be dense, got a sparse matrix; sparse X is not supported: X.toarray()")
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1 and all(np.ndim(row) for row in X):
        X = list(X)  # as selections of rows of different lengths may give
    ragged = isinstance(X, list | tuple) and len(X) > 0 and _is_list_of_sequences(X)
    found = _list_input(X) if ragged else _array_input(_real("X", X))
    for number, row in enumerate(found.x):
        good = np.abs(row) <= np.finfo(dtype).max  # False of NaN
        if not good.all():
            step, feature = np.argwhere(~good)[0].tolist()
            value, where = row[step, feature], f"sequence {number}, step {step}, feature {feature}"
            raise ValueError(f"X must not hold NaN, infinity or a value too large for {dtype}, got {value} at {where}")
    return found


def _is_list_of_sequences(X: Any) -> bool:
    """Tell whether a list holds arrays (T_i, m), or series (T_i,) of different lengths; equal rows are (N, T)."""
    depths = {np.ndim(row) if hasattr(row, "ndim") else 1 + np.ndim(row[0]) if _has_items(row) else 0 for row in X}
    if depths == {1}:
        return len({len(row) for row in X}) > 1
    return max(depths) > 1


def _has_items(row: Any) -> bool:
    return isinstance(row, list | tuple) and len(row) > 0


def _list_input(X: Any) -> Input:
    rows = [_real(f"X[{number}]", row) for number, row in enumerate(X)]
    rows = [row[:, None] if row.ndim == 1 else row for row in rows]
    m = rows[0].shape[-1] if rows[0].ndim == 2 else "m"
    for number, row in enumerate(rows):
        if row.ndim != 2 or 0 in row.shape or row.shape[1] != m:
            raise ValueError(f"X[{number}] must be (T_i, m={m}) with T_i, m >= 1, got {row.shape}")
    return Input(rows, 3)


def _array_input(array: np.ndarray) -> Input:
    if array.ndim not in (2, 3):
        raise ValueError(
            f"X must be (N, T, m), (N, T) or a list of arrays (T_i, m), got shape {array.shape}. "
            "Reshape your data: X[None, :] is one series, X[:, None] are series of one step"
        )
    for axis, what in ((0, "sample(s)"), (1, "feature(s)" if array.ndim == 2 else "step(s)"), (2, "feature(s)")):
        if axis < array.ndim and array.shape[axis] == 0:
            raise ValueError(f"X is empty: 0 {what} (shape={array.shape}) while a minimum of 1 is required.")
    return Input(array[:, :, None] if array.ndim == 2 else array, array.ndim)


def _real(name: str, values: Any) -> np.ndarray:
    """Return an argument as an array of real numbers; no copy if it is one."""
    check_plain(name, values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must hold rows of equal shapes, or be a list of arrays (T_i, m): {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} must hold real numbers, got {array.dtype}")
    if array.dtype.kind in "fiu":
        return array
    if array.dtype.kind not in "bO":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError(f"{name} must hold numbers in the range of float64, got {shown(values)}") from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must hold numbers: {error}") from None


def _target(name: str, values: Any) -> np.ndarray:
    """Return targets as an array, of any dtype: labels may be strings.

    Raises
    ------
    TypeError, ValueError
        If rows have different shapes, or a list holds text and something else.
    """
    check_plain(name, values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must hold rows of equal shapes: {error}") from None
    if array.dtype.kind in "US" and array.ndim == 1 and isinstance(values, Sequence):
        # NumPy writes the others as text: NaN, which stands for a missing label, would become the label 'nan'.
        others = [one for one in values if not isinstance(one, str | bytes)]
        if others:
            raise TypeError(f"{name} must hold labels of one type, got text and {shown(others[0])}")
    return array


def split(name: str, y: Any, given: Input, output: Output) -> list[np.ndarray]:
    """Return the targets as a list of arrays: one array of all N if output is "last", else one per sequence.

    Raises
    ------
    TypeError, ValueError
        If y is None, or has no target for every sequence, or for every step, or is a list of text and something else.
    """
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None")
    if output == "last":
        rows = [_target("y", y)]
        if rows[0].ndim == 0 or len(rows[0]) != len(given.x):
            raise ValueError(f"y must have a target for each of the {len(given.x)} sequences, got {rows[0].shape}")
        return rows
    if not isinstance(y, Sequence | np.ndarray) or isinstance(y, str) or np.ndim(y[:1]) == 0:
        raise ValueError(f"y must have targets for each of the {len(given.x)} sequences, got {shown(y)}")
    rows = [_target(f"y[{i}]", row) for i, row in enumerate(y)]
    if len(rows) != len(given.x):
        raise ValueError(f"y must have targets for each of the {len(given.x)} sequences, got {len(rows)}")
    for number, (row, steps) in enumerate(zip(rows, given.lengths, strict=True)):
        if row.ndim == 0 or len(row) != steps:
            raise ValueError(f"y[{number}] must have a target for each of the {steps} steps, got shape {row.shape}")
    return rows


def check_labels(rows: list[np.ndarray]) -> None:
    """Check that the arrays are vectors of labels: of any one type, but neither missing, NaN nor fractions.

    Raises
    ------
    TypeError
        If some are texts and others are numbers.
    ValueError
        If they are anything else that is no label.
    """
    for row in rows:
        if row.ndim != 1:
            raise ValueError(f"y must be a 1d array of labels, or one for each sequence, got shape {row.shape}")
        if row.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: y must hold labels, got {row.dtype}")
        values = row
        if row.dtype.kind == "O":  # as pandas may keep numbers, too
            if any(one is None or _is_nan(one) for one in row):
                raise ValueError("y must not hold missing labels, None or NaN")
            if all(isinstance(one, int | float | np.number) for one in row):
                values = row.astype(np.float64)
        if row.dtype.kind in "mM" and np.isnat(row).any():
            raise ValueError("y must not hold missing labels, NaT")
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                raise ValueError("y must not hold NaN or infinity")
            if (values != np.floor(values)).any():
                raise ValueError("Unknown label type: continuous. y must hold labels, got numbers with fractions")
    kinds = {"text" if row.dtype.kind in "US" else "numbers" for row in rows if row.dtype.kind in "USbiuf"}
    if len(kinds) > 1:
        raise TypeError("y must hold labels of one type, got text for some sequences and numbers for others")


def _is_nan(label: Any) -> bool:
    return isinstance(label, float | np.floating) and bool(np.isnan(label))


def check_numbers(rows: list[np.ndarray], dtype: Precision) -> list[np.ndarray]:
    """Return the arrays in floating point, after a check that they are (n,) or (n, k), finite, and of one k.

    Raises
    ------
    TypeError, ValueError
        If they are not, or if a number is too large for `dtype`.
    """
    numbers = [_real("y", row) for row in rows]
    for row in numbers:
        if row.ndim > 2 or row.shape[1:] != numbers[0].shape[1:] or row.shape[1:] == (0,):
            raise ValueError(f"y must hold numbers or vectors of k numbers, got shape {row.shape}")
        if not (np.abs(row) <= np.finfo(dtype).max).all():  # False of NaN
            raise ValueError(f"y must not hold NaN, infinity or a value too large for {dtype}")
    return [row.astype(dtype) for row in numbers]


def joined(rows: list[np.ndarray], given: Input) -> Any:
    """Return predictions at every step in the form of X: one array if X was one, else the list."""
    return rows if isinstance(given.x, list) else np.stack(rows)


def cut(values: np.ndarray, given: Input) -> Any:
    """Return concatenated rows as targets per sequence: an array if X is one, else a list."""
    return joined(np.split(values, np.cumsum(given.lengths)[:-1]), given)

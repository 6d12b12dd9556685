"""Checks of arguments: each raises one error that names the argument, what was expected and what was given."""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numrnn.backend import (
    Array,
    array_namespace,
    astype,
    device_of,
    is_array,
    on_their_device,
    to_numpy,
    values_are_trusted,
)

LARGEST_INTEGER = 2**63 - 1  # what an array of numbers can hold, and more than any size or seed needs
LONGEST_SHOWN = 80  # characters of a value in an error
FLOATING = ("float32", "float64", "complex128")


def dtype_name(array: Array) -> str:
    """Return the name of an array's dtype, the same for every library."""
    dtype = array.dtype
    if isinstance(dtype, np.dtype):
        return _numpy_name(dtype)
    return getattr(dtype, "name", None) or str(dtype).rsplit(".", 1)[-1]


@functools.cache
def _numpy_name(dtype: np.dtype) -> str:
    """Return `dtype.name`, cached: NumPy builds it at each access, which takes microseconds."""
    return dtype.name


def check_numeric(name: str, array: Any) -> None:
    """Check that an array holds finite real or complex floating-point numbers, of any shape.

    Raises
    ------
    TypeError, ValueError
        If it does not.
    """
    if not is_array(array):
        raise TypeError(f"{name} must be an array, got {shown(array)}")
    check_plain(name, array)
    if not dtype_name(array).startswith(("float", "complex")):
        raise TypeError(f"{name} must hold real or complex numbers, got dtype {dtype_name(array)}")
    check_finite(name, array)


def check_plain(name: str, array: Any) -> None:
    """Check that an array is neither a masked array nor a matrix: their operations differ, and a mask would be lost.

    Raises
    ------
    TypeError
        If it is one.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must not be a masked array, whose masked elements would count as numbers: fill them, or pass "
            "lengths= or mask= if the function has it"
        )
    if isinstance(array, np.matrix):
        raise TypeError(f"{name} must not be a numpy.matrix, whose products differ: pass numpy.asarray of it")


def as_host_array(name: str, values: Any) -> np.ndarray:
    """Return an argument as a NumPy array.

    Raises
    ------
    TypeError
        If it is a masked array, a matrix or an array of another library, or holds objects.
    ValueError
        If nested sequences have no common shape.
    """
    check_plain(name, values)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise type(error)(f"{name} must be an array, got {shown(values)}: {error}") from None
    if array.dtype.hasobject:
        raise TypeError(f"{name} must be an array of numbers, got {shown(values)}")
    return array


def check_array(name: str, array: Array, shape: Sequence[int | str], **sizes: int) -> None:
    """Check that `array` is a floating-point array of `shape`.

    Parameters
    ----------
    name : str
        Name of the array in the error.
    array : array
        The argument.
    shape : sequence of int or str
        Expected sizes; a letter stands for its value in `sizes`, or for any size >= 1 if it has none.
    **sizes : int
        Values of letters.

    Raises
    ------
    TypeError
        If it is not an array, it is masked or a matrix, or its dtype is not float32, float64 or complex128.
    ValueError
        If the shape differs.
    """
    wanted = [sizes.get(size) if isinstance(size, str) else size for size in shape]
    if not is_array(array):
        raise TypeError(f"{name} must be an array of shape {_shape_text(shape, sizes)}, got {type(array).__name__}")
    check_plain(name, array)
    if dtype_name(array) not in FLOATING:
        raise TypeError(f"{name} must be of dtype float32, float64 or complex128, got {dtype_name(array)}")
    got = tuple(array.shape)
    if len(got) != len(wanted) or any(g < 1 if w is None else g != w for g, w in zip(got, wanted, strict=True)):
        raise ValueError(f"{name} must be {_shape_text(shape, sizes)}, got {_tuple_text(got)}")


def _shape_text(shape: Sequence[int | str], sizes: Mapping[str, int]) -> str:
    free = [size for size in shape if isinstance(size, str) and size not in sizes]
    text = _tuple_text([f"{size}={sizes[str(size)]}" if size in sizes else size for size in shape])
    return f"{text} with {', '.join(free)} >= 1" if free else text


def _tuple_text(items: Sequence[Any]) -> str:
    return "(" + ", ".join(map(str, items)) + ("," if len(items) == 1 else "") + ")"


@on_their_device
def check_finite(name: str, array: Array) -> None:
    """Raise ValueError naming the first NaN or infinity in `array`. Costs one pass and a device synchronisation."""
    if values_are_trusted():
        return
    xp = array_namespace(array)
    good = xp.isfinite(array)
    if not bool(xp.all(good)):
        first = int(xp.argmin(xp.reshape(astype(good, xp.int8), (-1,))))
        index = tuple(int(i) for i in np.unravel_index(first, tuple(array.shape)))
        raise ValueError(f"{name} must be finite, got {to_numpy(array[index])} at index {index}")


def check_same_kind(arrays: Mapping[str, Array]) -> None:
    """Check that arrays share library, device and precision.

    Parameters
    ----------
    arrays : mapping of str to array
        Names and arrays, already known to be floating point.

    Raises
    ------
    TypeError
        If float32 meets float64 or complex128. (float64 and complex128 may mix: nothing is lost, and a complex step in
        one parameter needs it.)
    ValueError
        If libraries or devices differ.
    """
    first = None
    for name, array in arrays.items():
        if not is_array(array):
            raise TypeError(f"{name} must be an array, got {shown(array)}")
        kind = (array_namespace(array), device_of(array))
        single = dtype_name(array) == "float32"
        if first is None:
            first = (name, array, kind, single)
        elif kind != first[2]:
            raise ValueError(
                f"all arrays must be on one device, got {first[0]} on {_place(first[2])} and {name} on {_place(kind)}"
            )
        elif single != first[3]:
            raise TypeError(
                f"all arrays must have one precision, got {first[0]} of {dtype_name(first[1])} and "
                f"{name} of {dtype_name(array)}"
            )


def _place(kind: tuple[Any, Any]) -> tuple[str, str]:
    return kind[0].__name__, str(kind[1])


def shown(value: Any) -> str:
    """Return a value as an error shows it, on one line and not too long."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # an integer of too many digits, or an object whose repr is broken
        text = f"{type(value).__name__} that cannot be shown"
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def range_text(
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> str:
    """Return the bounds of a number in signs, as ">= 0 and < 1"; nothing where there are none."""
    bounds = ((">", above), (">=", at_least), ("<", below), ("<=", at_most))
    return " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return `value` as a float after checking that it is a finite real number in range.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is NaN, infinite or out of range.
    """
    wanted = f"a finite number {range_text(above, at_least, below, at_most)}".rstrip()
    if isinstance(value, bool | str) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floating point, which may have too many digits to print
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}") from None
    too_small = (above is not None and number <= above) or (at_least is not None and number < at_least)
    too_large = (below is not None and number >= below) or (at_most is not None and number > at_most)
    if not math.isfinite(number) or too_small or too_large:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return number


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float after checking that it is a real number >= 0 and < 1; errors as `check_number`."""
    return check_number(name, value, at_least=0, below=1)


def check_integer(name: str, value: Any, *, at_least: int) -> int:
    """Return `value` as an int after checking its type and range.

    Raises
    ------
    TypeError
        If it is not an integer (True and 3.0 are not).
    ValueError
        If it is less than `at_least`.
    """
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer >= {at_least}, got {shown(value)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array of more than one element, or of floating point, has the method too
        raise TypeError(f"{name} must be an integer >= {at_least}, got {shown(value)}") from None
    if number < at_least:
        raise ValueError(f"{name} must be an integer >= {at_least}, got {shown(value)}")
    if number > LARGEST_INTEGER:
        raise ValueError(f"{name} must be an integer <= {LARGEST_INTEGER}, got {shown(value)}")
    return number


def check_floating(name: str, dtype: Any) -> np.dtype:
    """Return a NumPy dtype after checking that it is float32, float64 or complex128; raises TypeError if not."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or _numpy_name(found) not in FLOATING:
        raise TypeError(f"{name} must be one of {', '.join(FLOATING)}, got {shown(dtype)}")
    return found


def check_path(name: str, value: Any, what: str = "a path") -> Path:
    """Return `value` as a path; `what` says in errors what is expected.

    Raises
    ------
    TypeError
        If it is neither a string nor an os.PathLike of one.
    ValueError
        If it is empty, or holds a null character.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be {what}, got {shown(value)}")
    if not text or "\0" in text:
        raise ValueError(f"{name} must be {what}, got {shown(text)}")
    return Path(text)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` after checking that it is True or False; raises TypeError if not."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def check_switch(variable: str, *, default: bool) -> bool:
    """Return whether an environment variable is "1"; it may be "0", "1" or absent.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    value = os.environ.get(variable, "01"[default])
    if value not in ("0", "1"):
        raise ValueError(f'{variable} must be "1" or "0", got {shown(value)}')
    return value == "1"


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` after checking that it is one of some words; raises TypeError or ValueError if not."""
    if isinstance(value, str) and value in choices:
        return value
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}")


def check_callable(name: str, value: Any) -> Any:
    """Return `value` after checking that it can be called; raises TypeError if not."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {shown(value)}")
    return value


def check_kind(name: str, value: Any, kind: Any, what: str = "") -> Any:
    """Return `value` after checking that it is an object of a class; raises TypeError if not."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {what or kind.__name__}, got {shown(value)}")
    return value


def check_arrays(name: str, arrays: Any) -> Mapping[str, Array]:
    """Return a mapping of names to floating-point arrays after a check; raises TypeError if it is none."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{name} must be a mapping of names to arrays, got {shown(arrays)}")
    for key, array in arrays.items():
        if not is_array(array):
            raise TypeError(f"{name}[{key!r}] must be an array, got {shown(array)}")
        check_plain(f"{name}[{key!r}]", array)
        if dtype_name(array) not in FLOATING:
            raise TypeError(f"{name}[{key!r}] must be of dtype float32 or float64, got {dtype_name(array)}")
    return arrays


def check_beside(name: str, array: Any, like_name: str, like: Array) -> Any:
    """Return the common namespace of two arrays; raises TypeError, naming both, if they are not of one library."""
    if not is_array(array) or array_namespace(array) is not array_namespace(like):
        raise TypeError(f"{name} must be an array of the library of {like_name}, got {shown(array)}")
    check_plain(name, array)
    return array_namespace(like)


def check_rows(name: str, rows: Any, count: int) -> np.ndarray:
    """Return row numbers, (B,) with B >= 1, after checking that they are integers from -count to count - 1.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If there are none, or they are not in one sequence.
    IndexError
        If one is out of range.
    """
    if isinstance(rows, range | Iterator):
        rows = list(rows)
    index = as_host_array(name, rows)
    if index.ndim != 1 or not len(index):
        raise ValueError(f"{name} must be a sequence of at least one row number, got {shown(rows)}")
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {index.dtype}")
    if index.max() >= count or index.min() < -count:
        raise IndexError(f"{name} must be from 0 to {count - 1}, got values from {index.min()} to {index.max()}")
    return index.astype(np.intp)


def check_generator(name: str, value: Any) -> np.random.Generator:
    """Return `value` after checking that it is a numpy.random.Generator; raises TypeError if not."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(f"{name} must be a numpy.random.Generator, got {type(value).__name__}")
    return value

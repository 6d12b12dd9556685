"""Behaviour that a derivative presupposes: equal results of equal calls, and unchanged inputs."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradcheck.arguments import check_callables, check_integer, shown
from gradcheck.arrays import Host, is_array, to_host
from gradcheck.report import FAILED, PASSED, Entry, Report, Worst
from gradcheck.structures import is_record

__all__ = ["check_determinism", "check_purity"]

NUMBERS = "biufc"  # kinds of dtypes; texts, dates and integers of any size have no distance
ABSENT = object()  # is equal to no value of an input


def check_determinism(function: Callable[..., Any], inputs: Any, *, repeats: int = 2) -> Report:
    """Check that a function returns the same bits each time.

    Parameters
    ----------
    function : callable
        ``function(*inputs)`` returns numbers, arrays or structures of them.
    inputs : tuple
        Its positional arguments, of any kind; every call gets its own copies. A single array or mapping need not be in
        a tuple.
    repeats : int
        Calls, at least 2.

    Returns
    -------
    Report
        One entry per array of the result: analytic is from the first call, numeric from the one that differs most.

    Raises
    ------
    TypeError, ValueError
        If `repeats` is wrong, or the result holds no arrays or numbers.

    Notes
    -----
    `repeats` evaluations. On a GPU, results may legitimately differ in their last bits if sums are atomic.
    """
    check_callables(function=function)
    check_integer("repeats", repeats, at_least=2)
    started = time.perf_counter()
    results = [_named(function(*_copied(_arguments(inputs))), "result") for _ in range(repeats)]
    if not results[0]:
        raise TypeError("function must return numbers, arrays or structures of them, got none")
    entries = []
    for name in {name: None for result in results for name in result}:
        first, others = results[0].get(name), [result.get(name) for result in results[1:]]
        same = [_same(first, other) for other in others]
        different = first if all(same) else others[same.index(False)]
        entries.append(_entry(name, first, different, "two calls with the same input differ"))
    spent = time.perf_counter() - started
    return Report("check_determinism", f"{repeats} calls", tuple(entries), 0, repeats, 0, spent)


def check_purity(function: Callable[..., Any], inputs: Any) -> Report:
    """Check that a function changes none of its inputs.

    Parameters
    ----------
    function : callable
        ``function(*inputs)``.
    inputs : tuple
        Its positional arguments, of any kind; the function gets copies. A single array or mapping need not be in a
        tuple.

    Returns
    -------
    Report
        One entry per array or number of the inputs, and one for each that the function added: analytic is the value
        after the call, numeric that before it; NaN if there is none.

    Raises
    ------
    TypeError
        If the inputs hold no arrays or numbers.

    Notes
    -----
    One evaluation.
    """
    check_callables(function=function)
    started = time.perf_counter()
    given = _copied(_arguments(inputs))
    before = {name: np.array(values) for name, values in _named(given, "inputs").items()}
    others = dict(_walk(given, "inputs", arrays=False))
    if not before:
        raise TypeError("inputs must hold arrays or numbers, got none")
    function(*given)
    after = _named(given, "inputs")
    entries = []
    for name in {**before, **after}:
        first, left = before.get(name), after.get(name)
        entries.append(_entry(name, left, first, _deed(name, before, after)))
    left_over = dict(_walk(given, "inputs", arrays=False))
    for name in {**others, **left_over}:
        if others.get(name, ABSENT) != left_over.get(name, ABSENT) and name not in {**before, **after}:
            entries.append(_entry(name, None, np.asarray(np.nan), _deed(name, others, left_over)))
    return Report("check_purity", "one call", tuple(entries), 0, 1, 0, time.perf_counter() - started)


def _deed(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if name not in before:
        return "added to the inputs: work on a copy"
    return "changed in place: work on a copy" if name in after else "removed from the inputs: work on a copy"


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def _copied(structure: Any) -> Any:
    """Return a deep copy, also of mappings that answer attribute access like key access."""
    try:
        return copy.deepcopy(structure)
    except Exception:
        if isinstance(structure, tuple | list):
            return type(structure)([_copied(value) for value in structure])
        if not isinstance(structure, Mapping):
            raise TypeError(f"inputs must be values that can be copied, got {shown(structure)}") from None
    made: Any = copy.copy(structure)
    for key, value in structure.items():
        made[key] = _copied(value)
    return made


def _named(structure: Any, name: str) -> dict[str, Host]:
    return dict(_walk(structure, name))


def _walk(structure: Any, name: str, arrays: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield arrays and numbers by place; or texts and None, and the types of other objects, if not `arrays`."""
    parts: list[tuple[str, Any]] = []
    if isinstance(structure, Mapping):
        parts = [(f"{name}.{key}", value) for key, value in structure.items()]
    elif is_array(structure):
        if arrays:
            yield name, to_host(structure)
    elif isinstance(structure, int | float | complex):
        if arrays:
            yield name, np.asarray(structure)
    elif is_record(structure):
        parts = [(f"{name}.{f.name}", getattr(structure, f.name)) for f in dataclasses.fields(structure)]
    elif isinstance(structure, Sequence) and not isinstance(structure, str | bytes):
        parts = [(f"{name}[{position}]", value) for position, value in enumerate(structure)]
    elif not arrays:
        yield name, structure if structure is None or isinstance(structure, str | bytes) else type(structure)
    for place, value in parts:
        yield from _walk(value, place, arrays)


def _same(a: Host | None, b: Host | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    parts = [(a.real, b.real), (a.imag, b.imag)]
    return all(np.array_equal(x, y, equal_nan=True) and _same_zeros(x, y) for x, y in parts)


def _same_zeros(a: Host, b: Host) -> bool:
    """Tell whether the zeros of two equal arrays have the same signs: 0.0 and -0.0 are equal, but not bit for bit."""
    return bool(np.array_equal(np.signbit(a[a == 0]), np.signbit(b[a == 0])))


def _entry(name: str, analytic: Host | None, numeric: Host | None, diagnosis: str) -> Entry:
    """Return passed if both are equal bit for bit; None stands for a missing array."""
    if analytic is None or numeric is None or analytic.shape != numeric.shape:
        return Entry(name, FAILED, Worst(name, None, np.nan, np.nan, np.inf), 0.0, diagnosis=diagnosis)
    numbers = analytic.dtype.kind in NUMBERS and numeric.dtype.kind in NUMBERS
    if _same(analytic, numeric):
        number = float(np.real(analytic.flat[0])) if numbers and analytic.size else 0.0
        return Entry(name, PASSED, Worst(name, None, number, number, 0.0), 0.0)
    if not numbers:
        return Entry(name, FAILED, Worst(name, None, np.nan, np.nan, np.inf), 0.0, diagnosis=diagnosis)
    distance = np.abs(analytic.astype(complex) - numeric.astype(complex))
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance)), distance.shape))
    a, b = float(np.real(analytic[index])), float(np.real(numeric[index]))
    error = float(distance[index]) / max(abs(a), abs(b), 1e-300)
    return Entry(name, FAILED, Worst(name, index, a, b, error), 0.0, diagnosis=diagnosis)

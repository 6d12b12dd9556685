"""Behaviour that a derivative presupposes: the same answer twice, and inputs left alone."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradcheck.arguments import check_integer
from gradcheck.arrays import Host, is_array, to_host
from gradcheck.report import FAILED, PASSED, Entry, Report, Worst


def check_determinism(function: Callable[..., Any], inputs: Any, *, repeats: int = 2) -> Report:
    """Check that a function returns the same bits each time.

    Parameters
    ----------
    function : callable
        ``function(*inputs)`` returns numbers, arrays or structures of them.
    inputs : tuple
        Its positional arguments, of any kind; every call gets its own copies. A single array or mapping stands for
        itself.
    repeats : int
        Calls, at least 2.

    Returns
    -------
    Report
        One entry an array of the result: analytic is from the first call, numeric from the one that differs most.

    Raises
    ------
    TypeError, ValueError
        If `repeats` is wrong, or the result holds no arrays or numbers.

    Notes
    -----
    `repeats` evaluations. Results on a GPU may legitimately differ in their last bits where sums are atomic.
    """
    check_integer("repeats", repeats, at_least=2)
    started = time.perf_counter()
    results = [_named(function(*copy.deepcopy(_arguments(inputs))), "result") for _ in range(repeats)]
    if not results[0]:
        raise TypeError("function must return numbers, arrays or structures of them, got none")
    entries = []
    for name, first in results[0].items():
        others = [result.get(name, np.asarray(np.nan)) for result in results[1:]]
        different = next((other for other in others if not _same(first, other)), None)
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
        Its positional arguments, of any kind; the function gets copies. A single array or mapping stands for itself.

    Returns
    -------
    Report
        One entry an array of the inputs: analytic is what the function left, numeric what it was given.

    Raises
    ------
    TypeError
        If the inputs hold no arrays or numbers.

    Notes
    -----
    One evaluation.
    """
    started = time.perf_counter()
    given = copy.deepcopy(_arguments(inputs))
    before = {name: np.array(values) for name, values in _named(given, "inputs").items()}
    if not before:
        raise TypeError("inputs must hold arrays or numbers, got none")
    function(*given)
    after = _named(given, "inputs")
    entries = []
    for name, values in before.items():
        left = after.get(name, np.asarray(np.nan))
        changed = None if _same(values, left) else left
        entries.append(_entry(name, values, changed, "changed in place: work on a copy", swap=True))
    return Report("check_purity", "one call", tuple(entries), 0, 1, 0, time.perf_counter() - started)


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def _named(structure: Any, name: str) -> dict[str, Host]:
    return dict(_walk(structure, name))


def _walk(structure: Any, name: str) -> Iterator[tuple[str, Host]]:
    """Yield arrays and numbers by place; other objects are passed over."""
    if is_array(structure):
        yield name, to_host(structure)
    elif isinstance(structure, int | float | complex):
        yield name, np.asarray(structure)
    elif isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from _walk(value, f"{name}.{key}")
    elif isinstance(structure, Sequence) and not isinstance(structure, str | bytes):
        for position, value in enumerate(structure):
            yield from _walk(value, f"{name}[{position}]")


def _same(a: Host, b: Host) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))


def _entry(name: str, first: Host, different: Host | None, diagnosis: str, swap: bool = False) -> Entry:
    if different is None:
        number = float(np.real(first.flat[0])) if first.size else 0.0
        return Entry(name, PASSED, Worst(name, None, number, number, 0.0), 0.0)
    if different.shape != first.shape:
        return Entry(name, FAILED, Worst(name, None, np.nan, np.nan, np.inf), 0.0, diagnosis=diagnosis)
    distance = np.abs(first.astype(complex) - different.astype(complex))
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance)), first.shape))
    a, b = float(np.real(first[index])), float(np.real(different[index]))
    error = float(distance[index]) / max(abs(a), abs(b), 1e-300)
    worst = Worst(name, index, *((b, a) if swap else (a, b)), error)
    return Entry(name, FAILED, worst, 0.0, diagnosis=diagnosis)

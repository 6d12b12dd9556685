r"""A float32 gradient against the float64 one.

A difference quotient of float32 losses has three good digits at best, so float32 code is not checked by differences:
its formulas are verified in float64, and its values compared with those,

.. math:: \|g_{32} - g_{64}\| \le G\,\varepsilon_{32}\,\|g_{64}\| + S \max_k \|g_{64}(p_k) - g_{64}(p)\|,

where :math:`p_k` are the parameters changed by a few units of float32 rounding: a gradient that reacts strongly to
those cannot be more accurate. G = 256 covers the rounding of the sums themselves, generously for tens of steps through
time (errors of independent roundings grow like the square root of their number).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradcheck.arguments import check_callables, check_integer, check_positive
from gradcheck.arrays import Host
from gradcheck.claim import SINGLE_EPS, Source
from gradcheck.directions import norm
from gradcheck.explain import worst_element
from gradcheck.floor import JITTER, SAFETY, VANISHED
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED, Entry, Report
from gradcheck.rules import GROWTH, ROUNDING, ZERO
from gradcheck.tree import parameters

__all__ = ["check_precision", "compare_precision"]

DRAWS = 3


def check_precision(
    gradient: Callable[[Any], Any], params: Any, *, growth: float = GROWTH["single"], seed: int = 0
) -> Report:
    """Compare a gradient computed in float32 with the same gradient computed in float64.

    Parameters
    ----------
    gradient : callable
        ``gradient(params)``, for float32 and float64 parameters.
    params : array, mapping, or nested mappings and sequences of arrays
        float32; float64 ones are rounded first.
    growth : float
        Units of float32 rounding allowed, relative to the norm of each parameter's gradient.
    seed : int
        Seed of the small changes that measure the gradient's sensitivity to rounding.

    Returns
    -------
    Report
        Inconclusive for a parameter whose gradient is zero to float32 rounding.

    Raises
    ------
    TypeError, ValueError
        If the parameters are wrong, or the gradient has wrong names, shapes or dtype (float32 parameters need a float32
        gradient).

    Notes
    -----
    Two evaluations of the gradient if it is accurate, five otherwise.
    """
    check_callables(gradient=gradient)
    check_integer("seed", seed, at_least=0)
    check_positive("growth", growth)
    started = time.perf_counter()
    source = Source(gradient, parameters(params))
    source.function.base = {name: p.astype(np.float32).astype(np.float64) for name, p in source.function.base.items()}
    double = source.at(source.function.base, "float64")
    entries = compare_precision(source, double, growth, seed)
    spent = time.perf_counter() - started
    title, method = "check_precision", "the same gradient in float64"
    return Report(title, method, tuple(entries), seed, source.function.count, 0, spent)


def compare_precision(
    source: Source, double: Mapping[str, Host], growth: float = GROWTH["single"], seed: int = 0
) -> list[Entry]:
    """Return one entry per parameter: its float32 gradient against `double`."""
    single = source.at(source.function.base, "float32")
    largest = max(norm(g) for g in double.values())
    changes: dict[str, float] = {}
    entries = []
    for name, g in double.items():
        error = norm(single[name] - g)
        allowed = growth * SINGLE_EPS * norm(g)
        if error > allowed:
            changes = changes or _sensitivity(source, double, seed)
            allowed += SAFETY * changes[name]
        entries.append(_entry(name, single[name], g, error, allowed, growth * SINGLE_EPS * largest))
    return entries


def _entry(name: str, single: Host, double: Host, error: float, allowed: float, largest: float) -> Entry:
    """Judge one parameter; `largest` is the rounding allowed to the parameter with the largest gradient."""
    size = norm(double)
    worst = worst_element(name, single, double)
    tolerance = allowed / size if size else 0.0
    vanished = error > allowed and size <= VANISHED
    if size <= allowed or vanished:
        return Entry(
            name, INCONCLUSIVE, worst, tolerance, note="zero to float32 rounding: nothing was tested", reason=ZERO
        )
    if error <= allowed:
        return Entry(name, PASSED, worst, tolerance)
    if error <= max(largest, VANISHED):
        text = "the values differ by no more than the rounding of a gradient as large as the largest"
        return Entry(name, INCONCLUSIVE, worst, tolerance, note=text, reason=ROUNDING)
    text = "the float32 gradient differs from the float64 one by more than rounding explains"
    return Entry(name, FAILED, worst, tolerance, diagnosis=text)


def _sensitivity(source: Source, double: Mapping[str, Host], seed: int) -> dict[str, float]:
    """Return how much each parameter's gradient changes under changes of the parameters by float32 rounding."""
    rng = np.random.default_rng([seed, 0x32])
    changes = dict.fromkeys(double, 0.0)
    for _ in range(DRAWS):
        moved = {
            name: p * (1 + JITTER * SINGLE_EPS * rng.uniform(-1, 1, p.shape))
            for name, p in source.function.base.items()
        }
        found = source.at(moved, "float64")
        changes = {name: max(changes[name], norm(found[name] - double[name])) for name in double}
    return changes

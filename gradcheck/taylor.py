r"""The Taylor test: how fast the remainder vanishes.

.. math:: R(h) = |f(p + h v) - f(p) - h\langle g, v\rangle| = O(h^2) \text{ if } g \text{ is right, else } O(h).

Steps fall by 4 from a quarter of the parameter's size. The window is found, not given: it begins where the remainder
starts to fall steadily and ends where the rounding of the loss hides it. The rate is that of the smallest steps in
it. A wrong part smaller than about the smallest step in the window stays hidden, so this is a coarser test than
`check_gradient`; it needs only real evaluations, and readers can judge its table of rates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arguments import check_integer
from gradcheck.claim import Claim, make_claim
from gradcheck.directions import dot, gaussian, length_scale, norm, rms
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED, Entry, Report, Worst
from gradcheck.tree import parameters

__all__ = ["Remainders", "taylor_test"]

LEVELS = 14
RATIO = 4.0
NOISE = 8  # units of rounding in a remainder
STEADY = 3  # rates that are averaged, at the smallest steps of the window


@dataclass(frozen=True)
class Remainders:
    """Remainders of one parameter over the window.

    Attributes
    ----------
    steps, values : tuple of float
        Step sizes, falling, and remainders.
    slope : float
        <g, v>.
    quotient : float
        Forward difference at the last step.
    scale : float
        norm(g) * rms(v).
    rounding : float
        Rounding of a remainder.
    """

    steps: tuple[float, ...]
    values: tuple[float, ...]
    slope: float
    quotient: float
    scale: float
    rounding: float

    @property
    def rates(self) -> list[float]:
        """Orders at which the remainder falls from one step to the next."""
        return [math.log(a / b) / math.log(RATIO) for a, b in zip(self.values, self.values[1:], strict=False)]


def taylor_test(loss: Callable[[Any], Any], gradient: Any, params: Any, *, seed: int = 0) -> Report:
    """Check a gradient by the rate at which the Taylor remainder vanishes, for each parameter.

    Parameters
    ----------
    loss : callable
        ``loss(params)`` returns a real scalar.
    gradient : callable, or same structure as `params`
        What is to be verified.
    params : array, mapping, or nested mappings and sequences of arrays
        Where to check.
    seed : int
        Seed of the directions, one per parameter.

    Returns
    -------
    Report
        Passed at a rate above 1.8, failed below 1.3, else inconclusive; the note of each entry holds the rates.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`.

    Notes
    -----
    15 evaluations of the loss per parameter.
    """
    check_integer("seed", seed, at_least=0)
    started = time.perf_counter()
    claim = make_claim(loss, gradient, parameters(params))
    entries = tuple(_entry(name, _remainders(claim, name, seed, k)) for k, name in enumerate(claim.gradient))
    spent = time.perf_counter() - started
    return Report("taylor_test", "rates of remainders", entries, seed, claim.count, 0, spent, tuple(claim.notes))


def _remainders(claim: Claim, name: str, seed: int, position: int) -> Remainders:
    base, g = claim.loss.base[name], claim.gradient[name]
    v = gaussian(base.shape, seed, position) * length_scale(base)
    slope, middle = dot(g, v), claim.loss.loss()
    steps, values, quotients, rounding = [], [], [], NOISE * claim.loss.eps * abs(middle)
    for level in range(LEVELS):
        h = 0.25 * RATIO**-level / (float(np.max(np.abs(v))) / length_scale(base))
        moved = claim.loss.trial({name: base + h * v}, f"params + {h:.3g} x a direction in {name}")
        if math.isfinite(moved):
            rounding = max(rounding, NOISE * claim.loss.eps * abs(moved))
            steps.append(h)
            values.append(abs(moved - middle - h * slope))
            quotients.append((moved - middle) / h)
    keep = _window(values, rounding)
    quotient = quotients[keep.stop - 1] if quotients else math.nan
    return Remainders(tuple(steps[keep]), tuple(values[keep]), slope, quotient, norm(g) * rms(v), rounding)


def _window(values: list[float], rounding: float) -> slice:
    """Return the last run of falling remainders that are well above rounding."""
    stop = next((k for k, value in enumerate(values) if value <= 16 * rounding), len(values))
    start = max(stop - 1, 0)
    while start > 0 and values[start - 1] > 1.5 * values[start]:
        start -= 1
    return slice(start, max(stop, 1))


def _entry(name: str, found: Remainders) -> Entry:
    error = abs(found.slope - found.quotient) / found.scale if found.scale else 0.0
    worst = Worst(name, None, found.slope, found.quotient, error)
    rates = found.rates[-STEADY:]
    if not rates:
        return _without_rates(name, found, worst)
    rate = sorted(rates)[len(rates) // 2]
    listed = ", ".join(f"{value:.2f}" for value in found.rates)
    note = f"rates {listed} over steps {found.steps[0]:.1e} to {found.steps[-1]:.1e}"
    tolerance = found.steps[-1]
    if rate > 1.8:
        return Entry(name, PASSED, worst, tolerance, note=note)
    return Entry(name, FAILED if rate < 1.3 else INCONCLUSIVE, worst, tolerance, note=note)


def _without_rates(name: str, found: Remainders, worst: Worst) -> Entry:
    """Judge a loss that is linear along the direction: no remainder is seen at any step."""
    size = found.scale * (found.steps[0] if found.steps else 0.0)
    linear = bool(found.values) and found.values[0] <= 16 * found.rounding < 1e-6 * size
    note = "the loss is linear along the direction: no remainder" if linear else "no steps at which a rate can be seen"
    tolerance = 16 * found.rounding / size if size else 0.0
    return Entry(name, PASSED if linear else INCONCLUSIVE, worst, tolerance, note=note)

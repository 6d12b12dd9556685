r"""The Taylor test: how fast the remainder vanishes.

.. math:: R(h) = |f(p + h v) - f(p) - h\langle g, v\rangle| = O(h^2) \text{ if } g \text{ is right, else } O(h).

Steps fall by 4 from a quarter of the parameter's size. The window is found, not given: it begins where the remainder
starts to fall steadily and ends where the rounding of the loss hides it. The rate is that of the smallest steps in
it. A wrong part smaller than the last remainder, relative to the step and the gradient, stays hidden; the report prints
that as the relative error, and above a thousandth the test does not pass. So it is coarser than `check_gradient`; it
needs only real evaluations, and readers can judge its table of rates.

A rate of 1 alone does not make a gradient wrong: a kink near the point, a loss that is random or computes in float32
inside, and the rounding of a float32 gradient have it too. The audit (`gradcheck.audit`) must also exclude the slope.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arguments import check_integer
from gradcheck.arrays import Host
from gradcheck.audit import EXCLUDED, audit
from gradcheck.claim import Claim, Sample, make_claim
from gradcheck.differences import Line
from gradcheck.directions import Slope, dot, gaussian, length_scale, norm, rms
from gradcheck.floor import single_rounding
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED, Entry, Report, Worst
from gradcheck.rules import ADVICE, NOISE, RANDOM, ROUNDING, STEPS, ZERO, unsteady
from gradcheck.tree import parameters

__all__ = ["Remainders", "taylor_test"]

LEVELS = 14
RATIO = 4.0
UNITS = 8  # of rounding in a remainder
HIDDEN = 1e-3  # relative size of a wrong part that may hide behind the last remainder
STEADY = 3  # rates that are averaged, at the smallest steps of the window


@dataclass(frozen=True)
class Remainders:
    """Remainders of one parameter over the window.

    Attributes
    ----------
    direction : ndarray
        v.
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

    direction: Host
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
        Passed at a rate above 1.8 down to a remainder behind which no error above 1e-3 hides; failed at a rate below
        1.3, if real differences exclude the slope; else inconclusive. The note of each entry holds the rates.

    Raises
    ------
    TypeError, ValueError
        As `check_gradient`.

    Notes
    -----
    15 evaluations of the loss per parameter, and 1 to 155 more before one is called wrong or inconclusive.
    """
    check_integer("seed", seed, at_least=0)
    started = time.perf_counter()
    claim = make_claim(loss, gradient, parameters(params))
    found = {name: _remainders(claim, name, seed, k) for k, name in enumerate(claim.gradient)}
    entries = tuple(_entry(claim, name, remainders, seed) for name, remainders in found.items())
    spent = time.perf_counter() - started
    return Report("taylor_test", "rates of remainders", entries, seed, claim.count, 0, spent, tuple(claim.notes))


def _remainders(claim: Claim, name: str, seed: int, position: int) -> Remainders:
    base, g = claim.loss.base[name], claim.gradient[name]
    v = gaussian(base.shape, seed, position) * length_scale(base)
    slope, middle = dot(g, v), claim.loss.loss()
    steps, values, quotients, rounding = [], [], [], UNITS * claim.loss.eps * abs(middle)
    for level in range(LEVELS):
        h = 0.25 * RATIO**-level / (float(np.max(np.abs(v))) / length_scale(base))
        moved = claim.loss.trial({name: base + h * v}, f"params + {h:.3g} x a direction in {name}")
        if math.isfinite(moved):
            rounding = max(rounding, UNITS * claim.loss.eps * abs(moved))
            steps.append(h)
            values.append(abs(moved - middle - h * slope))
            quotients.append((moved - middle) / h)
    keep = _window(values, rounding)
    quotient = quotients[keep.stop - 1] if quotients else math.nan
    return Remainders(v, tuple(steps[keep]), tuple(values[keep]), slope, quotient, norm(g) * rms(v), rounding)


def _window(values: list[float], rounding: float) -> slice:
    """Return the last run of falling remainders that are well above rounding."""
    stop = next((k for k, value in enumerate(values) if value <= 16 * rounding), len(values))
    start = max(stop - 1, 0)
    while start > 0 and values[start - 1] > 1.5 * values[start]:
        start -= 1
    return slice(start, max(stop, 1))


def _entry(claim: Claim, name: str, found: Remainders, seed: int) -> Entry:
    error = abs(found.slope - found.quotient) / found.scale if found.scale else 0.0
    worst = Worst(name, None, found.slope, found.quotient, error)
    rates = found.rates[-STEADY:]
    if not rates:
        return _without_rates(claim, name, found, worst)
    rate = sorted(rates)[len(rates) // 2]
    listed = ", ".join(f"{value:.2f}" for value in found.rates)
    note = f"rates {listed} over steps {found.steps[0]:.1e} to {found.steps[-1]:.1e}"
    if rate > 1.8 and error <= HIDDEN:
        return Entry(name, PASSED, worst, HIDDEN, note=note)
    reason = _other_cause(claim, name, found, seed) if rate < 1.3 else NOISE if rate > 1.8 else STEPS
    if reason is not None:
        return Entry(name, INCONCLUSIVE, worst, HIDDEN, note=f"{note}; {ADVICE[reason]}", reason=reason)
    return Entry(name, FAILED, worst, HIDDEN, note=note)


def _other_cause(claim: Claim, name: str, found: Remainders, seed: int) -> str | None:
    """Return what else than a wrong gradient could explain a rate of 1, in one word; None if all of it is excluded."""
    claim.loss.repeat()
    if unsteady(claim):
        return RANDOM
    excluded = audit(Line(claim.loss, {name: found.direction}), found.slope, single=found.direction.size == 1)
    if excluded != EXCLUDED:
        return excluded
    sample = Sample(found.direction, found.slope, Slope(found.quotient), found.scale)
    return ROUNDING if sample.mismatch <= single_rounding(claim, sample, name, seed) else None


def _without_rates(claim: Claim, name: str, found: Remainders, worst: Worst) -> Entry:
    """Judge a loss that is linear along the direction: no remainder is seen at any step."""
    size = found.scale * (found.steps[0] if found.steps else 0.0)
    tolerance = 16 * found.rounding / size if size else 0.0
    if found.values and found.values[0] <= 16 * found.rounding < 1e-6 * size:
        text = "the loss is linear along the direction: no remainder"
        return Entry(name, PASSED, worst, tolerance, note=text)
    claim.loss.repeat()
    reason = RANDOM if unsteady(claim) else NOISE if found.scale else ZERO
    text = f"no steps at which a rate can be seen; {ADVICE[reason]}"
    return Entry(name, INCONCLUSIVE, worst, tolerance, note=text, reason=reason)

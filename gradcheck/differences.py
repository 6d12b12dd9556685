r"""Real differences, for losses that are not analytic: plain central, and extrapolated after Richardson.

Central difference: :math:`D(h) = (f(p + hv) - f(p - hv)) / 2h = f' + c_2 h^2 + c_4 h^4 + \dots`

Richardson's table, with steps :math:`h_k = h_0 4^{-k}`, removes one power of :math:`h^2` per column:

.. math:: T_{k,0} = D(h_k), \qquad T_{k,m} = T_{k,m-1} + \frac{T_{k,m-1} - T_{k-1,m-1}}{16^m - 1}

The error of an entry is estimated by its distance from its two parents, plus the rounding of the losses divided by the
step; the entry with the smallest estimate wins. **It is an estimate, not a bound.**

Slopes to both sides are compared as the step shrinks: where :math:`f(p+hv) - 2f(p) + f(p-hv)` does not shrink faster
than h, p lies on a kink, and there is no derivative to compare with. Whether a value that differs from the estimate is
wrong is not decided here but in `gradcheck.audit`.

Source of the table and its error estimate: C. J. F. Ridders, Accurate computation of F'(x) and F'(x)F''(x), Advances in
Engineering Software 4 (1982) 75-76.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from gradcheck.arrays import Host
from gradcheck.directions import Slope
from gradcheck.evaluate import Function

LEVELS = 9
FIRST_STEP = 0.25  # relative to the size of the parameter's elements
RATIO = 4.0
SETTLED = 1e-6  # relative error estimate at which no other first step is tried
NARROW = 0.1  # elements smaller than this fraction of the others count as different in size
CONFIRM = 1e-2  # step that confirms a slope, relative to the smallest of them ...
SAME = 1e-3  # ... and relative difference at which it does not
NOISE = 4  # units of rounding in a difference of two losses


class Line:
    """The loss along a direction, in units of a natural step.

    Parameters
    ----------
    loss : Function
        The loss.
    direction : mapping of str to array
        By parameter name.
    where : str
        What errors call the direction.

    Attributes
    ----------
    natural : float
        The t at which no element moves further than the size of the elements in its block.
    wider : float
        The t at which none moves further than the size of the largest, 1 if all are nearly zero.
    """

    def __init__(self, loss: Function, direction: Mapping[str, Host], where: str = "") -> None:
        self.function, self.direction = loss, direction
        self.where = where or " and ".join(direction)
        self.natural, self.wider = loss.natural(direction), loss.wider(direction)

    def at(self, t: float) -> float:
        """Return the loss at params + t * direction, NaN outside its domain."""
        moved = {name: self.function.base[name] + t * v for name, v in self.direction.items()}
        return self.function.trial(moved, f"params + {t:.3g} x a direction in {self.where}")


class Central:
    """Central differences with a fixed step, the cube root of rounding, and twice that step for an error estimate.

    Parameters
    ----------
    loss : Function
        Real losses are enough.
    """

    title = "central differences"
    cost = 4

    def __init__(self, loss: Function) -> None:
        self.function = loss

    def along(self, direction: Mapping[str, Host], where: str = "") -> Slope:
        """Return the derivative along `direction`, arrays by parameter name. Four evaluations."""
        line, middle = Line(self.function, direction, where), self.function.loss()
        h = line.natural * self.function.eps ** (1 / 3)
        near, far = (line.at(h), line.at(-h)), (line.at(2 * h), line.at(-2 * h))
        value, coarse = (near[0] - near[1]) / (2 * h), (far[0] - far[1]) / (4 * h)
        rounding = NOISE * self.function.eps * max(map(abs, near)) / h
        error = abs(value - coarse) / 3 + rounding
        if not math.isfinite(error):
            return Slope(value, math.inf)
        bends = [_bend(right, middle, left, step) for step, (right, left) in ((2 * h, far), (h, near))]
        kink = bends[-1][1:] if _bent(bends, rounding, keeps=0.75) else None
        return Slope(value, math.inf if kink else error, kink=kink)

    def difference(self, direction: Mapping[str, Host]) -> tuple[float, float]:
        """Return one central difference and its rounding. Two evaluations."""
        line = Line(self.function, direction)
        h = line.natural * self.function.eps ** (1 / 3)
        right, left = line.at(h), line.at(-h)
        return (right - left) / (2 * h), NOISE * self.function.eps * max(abs(right), abs(left)) / h


class Richardson:
    """Central differences extrapolated to step zero, with automatic step and an estimate of the error.

    Parameters
    ----------
    loss : Function
        Real losses are enough.
    """

    title = "Richardson-extrapolated central differences"
    cost = 2 * LEVELS

    def __init__(self, loss: Function) -> None:
        self.function = loss

    def along(self, direction: Mapping[str, Host], where: str = "") -> Slope:
        """Return the derivative along `direction`.

        At most 18 evaluations, 8 to 10 if the loss is smooth; 18 more for small elements or parameters that are almost
        zero, and two if the elements that move differ in size: the steps of large elements may saturate a small one,
        and the differences still seem to converge. If the two contradict each other, 18 more. Steps at which the loss
        is NaN or infinite are skipped.
        """
        line = Line(self.function, direction, where)
        best = self._table(line, FIRST_STEP * line.natural)
        if line.wider > line.natural and best.kink is None and not best.error <= SETTLED * abs(best.value):
            other = self._table(line, FIRST_STEP * line.wider)
            best = min(best, other, key=lambda slope: slope.error)
        narrower = self.function.narrower(direction)
        if best.kink is None and narrower < NARROW * line.natural:
            best = self._confirmed(line, best, narrower)
        return best

    def _confirmed(self, line: Line, best: Slope, narrower: float) -> Slope:
        """Return a slope that small steps do not contradict."""
        h, middle = CONFIRM * narrower, self.function.loss()
        right, left = line.at(h), line.at(-h)
        rounding = NOISE * self.function.eps * max(abs(right), abs(left), abs(middle)) / h
        settled = best.error <= SETTLED * max(abs(best.value), abs(middle) / line.natural)
        value = (right - left) / (2 * h)
        distance = abs(value - best.value)
        if settled and not distance > SAME * max(abs(value), abs(best.value)) + 4 * rounding:
            return best
        other = self._table(line, FIRST_STEP * narrower)
        if other.kink is None and other.error <= max(SETTLED * abs(other.value), best.error):
            return other
        return Slope(best.value, max(best.error, distance)) if settled else best

    def _table(self, line: Line, first: float) -> Slope:
        middle, eps = self.function.loss(), self.function.eps
        best = Slope(math.nan, math.inf)
        row: list[float] = []
        bends: list[tuple[float, float, float]] = []  # (bend, left slope, right slope) per level
        for level in range(LEVELS):
            h = first / RATIO**level
            right, left = line.at(h), line.at(-h)
            if not (math.isfinite(right) and math.isfinite(left)):
                row = []
                continue
            rounding = NOISE * eps * max(abs(right), abs(left), abs(middle)) / h
            bends.append(_bend(right, middle, left, h))
            row, candidate = _extend(row, (right - left) / (2 * h), rounding)
            best = min(best, candidate, key=lambda slope: slope.error)
            if best.error <= 4 * rounding and not _bent(bends, rounding):
                return best
        if _bent(bends, rounding if bends else 0.0):
            return Slope(best.value, math.inf, kink=bends[-1][1:])
        return best


def _extend(row: list[float], difference: float, rounding: float) -> tuple[list[float], Slope]:
    """Return the next row of the table and its best entry."""
    fresh, best = [difference], Slope(difference, math.inf)
    for m, above in enumerate(row, start=1):
        fresh.append(fresh[-1] + (fresh[-1] - above) / (RATIO ** (2 * m) - 1))
        error = max(abs(fresh[m] - fresh[m - 1]), abs(fresh[m] - above)) + rounding
        best = min(best, Slope(fresh[m], error), key=lambda slope: slope.error)
    return fresh, best


def _bend(right: float, middle: float, left: float, h: float) -> tuple[float, float, float]:
    """Return the distance of the slopes on the two sides, and both slopes."""
    return abs((right - middle) - (middle - left)) / h, (middle - left) / h, (right - middle) / h


def _bent(bends: list[tuple[float, float, float]], rounding: float, keeps: float = 0.6) -> bool:
    """Tell whether the slopes to both sides fail to approach each other over the last two levels.

    At a kink the fraction `keeps` of their distance remains; if the loss is smooth, less remains.
    """
    if len(bends) < 2:
        return False
    (before, _, _), (now, left, right) = bends[-2:]
    return now > keeps * before and now > 16 * rounding and now > 1e-4 * max(abs(left), abs(right))

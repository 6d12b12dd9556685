r"""Kinks at the point: which elements lie on one, and whether the gradient is a subgradient there.

If the slopes on the two sides of an element differ, the loss has no derivative with respect to it, and programs return
one of the values between the two slopes. The elements are found by halving: along a random direction confined to some
elements, :math:`f(p+tv) - 2f(p) + f(p-tv)` falls with t like a kink, or it does not.

With slopes :math:`a_i, b_i` to the sides of element i, a value outside :math:`[a_i, b_i]` is wrong. A value inside need
not be a subgradient if elements share a kink: for max(p, q) at p = q the slopes of both are 0 and 1, but (1, 1) is no
subgradient. If all kinks are convex (or all concave), :math:`\langle g, v\rangle` must also lie between the slopes
along random directions v through all of them (`between_along`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gradcheck.arrays import Host
from gradcheck.differences import NOISE, Line
from gradcheck.directions import dot, gaussian
from gradcheck.evaluate import Budget, Function

__all__ = ["Kinks", "Sides", "between_along", "find_kinks", "slopes"]

POWER = 0.375  # of the unit of rounding: the step, relative to the size of the elements, 1e-6 in float64
RATIO = 8.0
PERSISTS = 0.5  # fraction that remains when the step falls by RATIO (1 for a kink, 1/8 for a curvature)
VISIBLE = 1e-6  # smallest kink, relative to the slopes
SLACK = 1e-5  # relative error allowed to slopes at a kink


@dataclass(frozen=True)
class Sides:
    """Slopes to the two sides of one element.

    Attributes
    ----------
    left, right : float
        The slopes; NaN if they do not converge as the step decreases.
    error : float
        Error of both.
    """

    left: float
    right: float
    error: float

    def contains(self, value: float) -> bool:
        """Tell whether `value` lies between the slopes; False if they did not converge."""
        return min(self.left, self.right) - self.error <= value <= max(self.left, self.right) + self.error


@dataclass
class Kinks:
    """The elements of one block that lie on a kink.

    Attributes
    ----------
    name : str
        The parameter.
    elements : dict of index to Sides
        Those found.
    complete : bool
        Whether the budget sufficed to find all of them.
    """

    name: str
    elements: dict[tuple[int, ...], Sides] = field(default_factory=dict)
    complete: bool = True

    def mask(self, shape: tuple[int, ...]) -> Host:
        """Return True at the elements found."""
        found = np.zeros(shape, bool)
        for index in self.elements:
            found[index] = True
        return found

    def first(self) -> tuple[tuple[int, ...], Sides]:
        """Return one of the elements."""
        return next(iter(self.elements.items()))


def find_kinks(loss: Function, name: str, mask: Host, budget: Budget, seed: int) -> Kinks:
    """Return the elements of a parameter, among those in `mask`, at which the slopes to the two sides differ.

    Notes
    -----
    Four evaluations per step of the search: about 8 log2(N) for each element found among N.
    """
    found = Kinks(name)
    v = gaussian(mask.shape, seed, 0x1C)
    places = [tuple(int(i) for i in index) for index in np.argwhere(mask)]
    todo = [places]
    while todo:
        part = todo.pop()
        if not budget.take(4):
            found.complete = False
            return found
        direction = np.zeros(mask.shape)
        for index in part:
            direction[index] = 1.0 if len(part) == 1 else v[index]
        sides = slopes(Line(loss, {name: direction}, "some elements of " + name))
        if sides is None:
            continue
        if len(part) == 1:
            found.elements[part[0]] = sides
        else:
            todo += list(_halves(part))
    found.elements = dict(sorted(found.elements.items()))
    return found


def _halves(part: list[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    middle = len(part) // 2
    yield part[middle:]
    yield part[:middle]


def slopes(line: Line) -> Sides | None:
    """Return the slopes on the two sides of a kink; None if there is no kink. Four evaluations."""
    middle, eps = line.function.loss(), line.function.eps
    lefts, rights, rounding = [], [], 0.0
    step = eps**POWER * line.natural
    for t in (step, step / RATIO):
        right, left = line.at(t), line.at(-t)
        lefts.append((middle - left) / t)
        rights.append((right - middle) / t)
        rounding = NOISE * eps * (max(abs(right), abs(left), abs(middle))) / t
    gaps = [abs(right - left) for left, right in zip(lefts, rights, strict=True)]
    size = max(map(abs, (*lefts, *rights)))
    if not math.isfinite(size):
        return None
    if not (gaps[1] > PERSISTS * gaps[0] and gaps[1] > 16 * rounding and gaps[1] > VISIBLE * size):
        return None
    if max(abs(lefts[1] - lefts[0]), abs(rights[1] - rights[0])) > 1e-2 * size:
        return Sides(math.nan, math.nan, math.inf)
    left, right = ((RATIO * side[1] - side[0]) / (RATIO - 1) for side in (lefts, rights))
    return Sides(left, right, SLACK * size + 16 * rounding)


def between_along(loss: Function, kinks: Kinks, gradient: Host, directions: int, seed: int) -> bool:
    """Tell whether the gradient also lies between the slopes along random directions through all kinks.

    True if some kinks are convex and others concave: then it need not. Four evaluations per direction.
    """
    bends = [sides.right - sides.left for sides in kinks.elements.values()]
    if len(bends) < 2 or not (all(bend > 0 for bend in bends) or all(bend < 0 for bend in bends)):
        return True
    mask = kinks.mask(gradient.shape)
    for k in range(directions):
        v = np.where(mask, gaussian(gradient.shape, seed, 0x1D, k), 0.0)
        sides = slopes(Line(loss, {kinks.name: v}))
        if sides is not None and not math.isnan(sides.left) and not sides.contains(dot(gradient, v)):
            return False
    return True

"""Where a gradient is wrong: the worst element, found element by element or by halving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradcheck.arrays import Host
from gradcheck.claim import Claim
from gradcheck.complex_step import ComplexStep
from gradcheck.directions import dot, gaussian
from gradcheck.numeric import Method, elements, unit
from gradcheck.report import Worst


@dataclass
class Budget:
    """Evaluations that may still be spent on explaining a failure."""

    left: int

    def take(self, evaluations: int) -> bool:
        """Reserve `evaluations` and return True, or return False if there are not that many left."""
        if evaluations > self.left:
            return False
        self.left -= evaluations
        return True


def worst_element(name: str, analytic: Host, numeric: Host) -> Worst:
    """Return the element with the largest difference, the first of those that are equal to rounding."""
    difference = np.abs(analytic - numeric)
    first = int(np.argmax(difference.ravel() >= np.max(difference) * (1 - 1e-9)))
    index = tuple(int(i) for i in np.unravel_index(first, difference.shape))
    return element(name, index, float(analytic[index]), float(numeric[index]))


def element(name: str, index: tuple[int, ...], analytic: float, numeric: float) -> Worst:
    """Return the comparison of one element, its error relative to the larger of the two values."""
    size = max(abs(analytic), abs(numeric))
    return Worst(name, index, analytic, numeric, abs(analytic - numeric) / size if size else 0.0)


def full_gradient(claim: Claim, method: Method, name: str, budget: Budget) -> Host | None:
    """Return the numeric gradient of one parameter if the budget allows it."""
    if not budget.take(method.cost * claim.gradient[name].size):
        return None
    return elements(method, name)[0]


def bisect(claim: Claim, method: Method, name: str, budget: Budget, seed: int) -> Worst | None:
    """Return a wrong element, found by halving; None if the budget does not allow it.

    Random directions are confined to blocks. Of two halves the one with the larger mismatch is kept, so that the
    search ends at a wrong element, though not always at the worst one. A difference costs 1 evaluation a level with
    the complex step: the mismatch of the other half is what is missing to the whole.
    """
    g = claim.gradient[name]
    levels = int(np.ceil(np.log2(max(g.size, 2)))) + 2
    if not budget.take(method.cost * levels):
        return None
    v = gaussian((g.size,), seed, 0xB15EC7)

    def mismatch(start: int, stop: int) -> float:
        part = np.zeros(g.size)
        part[start:stop] = v[start:stop]
        direction = part.reshape(g.shape)
        return method.along({name: direction}).value - dot(g, direction)

    start, stop = 0, g.size
    whole = mismatch(start, stop)
    while stop - start > 1:
        middle = (start + stop) // 2
        left = mismatch(start, middle)
        if abs(left) >= abs(whole - left):
            stop, whole = middle, left
        else:
            start, whole = middle, whole - left
    index = tuple(int(i) for i in np.unravel_index(start, g.shape))
    numeric = method.along({name: unit(g.shape, index)}).value
    return element(name, index, float(g[index]), numeric)


def is_exact(method: Method) -> bool:
    """Tell whether the method's values are right to rounding."""
    return isinstance(method, ComplexStep)

"""After a failure: the worst element and the name of the mistake, within a budget of evaluations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradcheck.arrays import Host
from gradcheck.claim import SINGLE_EPS, Claim, take_sample
from gradcheck.diagnose import SAME, diagnose
from gradcheck.directions import dot, gaussian, norm
from gradcheck.evaluate import Budget
from gradcheck.numeric import Method, elements, is_exact, unit
from gradcheck.report import Worst
from gradcheck.rules import GROWTH, UNSTEADY, Trial

CHANGES = "the gradient changes between calls at the same parameters: fix its random numbers"
PROBES = 4  # directions that must agree before a mistake is named without the full numeric gradient


def explain(
    claim: Claim,
    method: Method,
    trial: Trial,
    budget: Budget,
    *,
    seed: int,
    sizes: Mapping[str, int] | None,
    numeric: Host | None = None,
) -> tuple[Worst, str | None]:
    """Return the worst element of a failed parameter and the mistake that fits.

    Parameters
    ----------
    claim, method, trial
        What was checked, how, and the failed trial.
    budget : Budget
        Evaluations allowed; those used are subtracted. At 0 the worst direction is returned.
    seed : int
        Seed of the directions, the same as in the check.
    sizes : mapping of str to int or None
        Names for factors.
    numeric : ndarray or None
        The full numeric gradient, if it is known already.
    """
    name = trial.name
    analytic = claim.gradient[name]
    same = max(SAME if is_exact(method) else 1e-5, 64 * trial.rtol)
    if numeric is None and trial.culprit is not None and trial.culprit.index is not None:  # at a kink
        sample = trial.culprit
        return Worst(name, sample.index, sample.analytic, sample.slope.value, sample.relative), None
    if numeric is None:
        numeric = full_gradient(claim, method, name, budget)
    if numeric is not None and np.all(np.isfinite(numeric)):
        found = diagnose(name, claim.gradient, np.ravel, numeric.ravel(), numeric=numeric, sizes=sizes, same=same)
        return worst_element(name, analytic, numeric), found
    found = None
    samples = list(trial.samples)
    block = trial.block
    if budget.take(method.cost * max(0, PROBES - len(samples))):
        samples += [take_sample(claim, method, block, seed, block.key, k) for k in range(len(samples), PROBES)]
        target = np.array([sample.slope.value for sample in samples])
        found = diagnose(
            name,
            claim.gradient,
            lambda values: np.array([dot(values, sample.direction) for sample in samples]),
            target,
            sizes=sizes,
            same=same,
        )
    worst = bisect(claim, method, name, budget, seed)
    if worst is None:
        sample = trial.worst
        worst = Worst(name, sample.index, sample.analytic, sample.slope.value, sample.relative)
    return worst, found


def changing_gradients(claim: Claim, budget: Budget) -> set[str]:
    """Return the parameters whose gradient differs between two calls by more than rounding: it is random. One call."""
    if claim.source is None or not budget.take(1):
        return set()
    single = claim.eps >= SINGLE_EPS
    again = claim.source.at(claim.loss.base, "float32" if single else "float64")
    room = max(UNSTEADY, GROWTH["single"] * claim.eps)
    return {name for name, g in claim.gradient.items() if norm(again[name] - g) > room * norm(g)}


def worst_element(name: str, analytic: Host, numeric: Host) -> Worst:
    """Return the element with the largest difference; of those equal to rounding, the first."""
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

    Random directions are confined to blocks. Of two halves the one with the larger mismatch is kept, so the search ends
    at a wrong element, though not always at the worst one. With the complex step this costs one evaluation per level:
    the mismatch of the other half is the rest of the whole.
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

"""After a failure: the worst element and the name of the mistake, within a budget of evaluations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradcheck.arrays import Host
from gradcheck.claim import Claim, take_sample
from gradcheck.diagnose import SAME, diagnose
from gradcheck.directions import dot
from gradcheck.locate import Budget, bisect, full_gradient, is_exact, worst_element
from gradcheck.numeric import Method
from gradcheck.report import Worst
from gradcheck.rules import Trial

PROBES = 4  # directions that must agree before a mistake is named without the full numeric gradient


def explain(
    claim: Claim,
    method: Method,
    trial: Trial,
    budget: Budget,
    *,
    position: int,
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
        Evaluations that may be spent; what is used is taken off. At 0 the worst direction is returned.
    position, seed : int
        For the directions, the same as in the check.
    sizes : mapping of str to int or None
        Names for factors.
    numeric : ndarray or None
        The full numeric gradient, where it is known already.
    """
    name = trial.name
    analytic = claim.gradient[name]
    same = max(SAME if is_exact(method) else 1e-5, 64 * trial.rtol)
    if numeric is None:
        numeric = full_gradient(claim, method, name, budget)
    if numeric is not None and np.all(np.isfinite(numeric)):
        found = diagnose(name, claim.gradient, np.ravel, numeric.ravel(), numeric=numeric, sizes=sizes, same=same)
        return worst_element(name, analytic, numeric), found
    found = None
    samples = list(trial.samples)
    if budget.take(method.cost * max(0, PROBES - len(samples))):
        samples += [take_sample(claim, method, name, seed, position, k) for k in range(len(samples), PROBES)]
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

"""Every element by itself: the slow rule, for errors too small against norm(gradient) to show along a direction."""

from __future__ import annotations

import numpy as np

from gradcheck.arrays import Host
from gradcheck.claim import Claim, Sample
from gradcheck.complex_step import ComplexStep, require_analytic
from gradcheck.directions import Slope, dot, gaussian, rms
from gradcheck.floor import rounding_floor
from gradcheck.numeric import Method, elements, unit
from gradcheck.rules import Trial, default_rtol


def along_elements(
    claim: Claim, method: Method, *, rtol: float | None, seed: int
) -> tuple[list[Trial], dict[str, Host]]:
    """Compare every element relative to itself, down to its own rounding floor.

    Returns
    -------
    trials : list of Trial
        One a parameter.
    numeric : dict of str to ndarray
        The numeric gradient.

    Raises
    ------
    NotAnalyticError
        If `method` is the complex step and does not apply.

    Notes
    -----
    `method.cost` evaluations an element, and a few more for each element that is small against its own rounding.
    """
    numeric, errors = {}, {}
    for name in claim.gradient:
        numeric[name], errors[name] = elements(method, name)
    if isinstance(method, ComplexStep):
        vs = {name: gaussian(g.shape, seed, position) for position, (name, g) in enumerate(claim.gradient.items())}
        require_analytic(method, {name: (v, dot(numeric[name], v)) for name, v in vs.items()})
    rtol = default_rtol(claim, isinstance(method, ComplexStep)) if rtol is None else rtol
    return [_trial(claim, method, name, numeric[name], errors[name], rtol, seed) for name in claim.gradient], numeric


def _trial(claim: Claim, method: Method, name: str, numeric: Host, errors: Host, rtol: float, seed: int) -> Trial:
    trial = Trial(name, rtol, size=rms(claim.gradient[name]))
    for index in np.ndindex(numeric.shape):
        g = float(claim.gradient[name][index])
        slope = Slope(float(numeric[index]), float(errors[index]))
        sample = Sample(unit(numeric.shape, index), g, slope, abs(g), index)
        own = Trial(name, rtol, [sample])
        if sample.mismatch > own.allowed(sample) and isinstance(method, ComplexStep):
            own.floor = rounding_floor(claim, method, name, sample, seed)
        trial.samples.append(sample)
        trial.floor = max(trial.floor, own.floor)
        trial.settle(claim, sample, own.allowed(sample))
    return trial

"""How trials are run: which directions a parameter is tried along, by which method, and when a failure is doubted.

What a comparison means for the verdict is decided in `gradcheck.rules`, and only there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gradcheck.arrays import Host
from gradcheck.claim import Claim, Sample, compare, take_sample
from gradcheck.complex_step import ComplexStep, require_analytic
from gradcheck.differences import Central, Richardson, confirm
from gradcheck.directions import Slope, dot, gaussian, rms, total
from gradcheck.floor import rounding_floor
from gradcheck.numeric import Method, elements, unit
from gradcheck.rules import SUSPICION, Trial, default_rtol


def along_complex_steps(claim: Claim, *, directions: int, rtol: float | None, seed: int) -> list[Trial]:
    """Try every parameter by the complex step.

    Raises
    ------
    NotAnalyticError
        If the loss cannot be differentiated that way.

    Notes
    -----
    With P parameters and K directions, (K - 1) P + 2 evaluations of the loss where all is well, K + 1 if P is 1: the
    last direction moves all parameters at once, each scaled by the size of its gradient, so that an error in any of
    them weighs as much as in a direction of its own.
    """
    step = ComplexStep(claim.loss)
    first = {name: take_sample(claim, step, name, seed, position, 0) for position, name in enumerate(claim.gradient)}
    rtol = default_rtol(claim, exact=True) if rtol is None else rtol
    require_analytic(step, {name: (sample.direction, sample.slope.value) for name, sample in first.items()})
    trials = [Trial(name, rtol) for name in first]
    for trial in trials:
        _judge(claim, step, trial, first[trial.name], seed)
    for k in range(1, directions):
        todo = [trial for trial in trials if not trial.failed]
        if k == directions - 1:
            shared = _fit_to_share(claim, todo)
            if _shared_direction(claim, step, shared, seed, k):
                todo = [trial for trial in todo if trial not in shared]
        for trial in todo:
            _judge(claim, step, trial, take_sample(claim, step, trial.name, seed, _position(claim, trial), k), seed)
    return trials


def _position(claim: Claim, trial: Trial) -> int:
    return list(claim.gradient).index(trial.name)


def _judge(claim: Claim, step: ComplexStep, trial: Trial, sample: Sample, seed: int) -> None:
    trial.samples.append(sample)
    if sample.mismatch > trial.allowed(sample):
        trial.floor = max(trial.floor, rounding_floor(claim, step, trial.name, sample, seed))
        trial.settle(claim, sample, trial.allowed(sample))


def _fit_to_share(claim: Claim, trials: list[Trial]) -> list[Trial]:
    """Return the parameters that can share a direction: none of them has a floor, or hardly any gradient."""
    if claim.loss.single:  # weights would leave the range of float32
        return []
    largest = max((trial.samples[0].scale for trial in trials), default=0.0)
    return [trial for trial in trials if not trial.floor and trial.samples[0].scale > 1e-60 * largest]


def _shared_direction(claim: Claim, step: ComplexStep, trials: list[Trial], seed: int, k: int) -> bool:
    """Try several parameters at once; False asks for directions of their own."""
    if len(trials) < 2:
        return False
    smallest = min(trial.samples[0].scale for trial in trials)
    weights = {trial.name: smallest / trial.samples[0].scale for trial in trials}
    vs = {t.name: gaussian(claim.gradient[t.name].shape, seed, _position(claim, t), k) for t in trials}
    slope = step.along({name: weights[name] * v for name, v in vs.items()}, ", ".join(vs))
    parts = {name: compare(claim, name, v, slope) for name, v in vs.items()}
    analytic = total(weights[name] * part.analytic for name, part in parts.items())
    allowed = min(trial.rtol * weights[trial.name] * parts[trial.name].scale for trial in trials)
    if abs(analytic - slope.value) > allowed:
        return False
    for trial in trials:
        weight, part = weights[trial.name], parts[trial.name]
        # The rest of the sum is taken as known: that leaves this parameter its own numeric derivative.
        own = part.analytic + (slope.value - analytic) / weight
        trial.samples.append(compare(claim, trial.name, part.direction, Slope(own)))
    return True


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
    return [
        _element_trial(claim, method, name, numeric[name], errors[name], rtol, seed) for name in claim.gradient
    ], numeric


def _element_trial(
    claim: Claim, method: Method, name: str, numeric: Host, errors: Host, rtol: float, seed: int
) -> Trial:
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


def along_differences(
    claim: Claim, method: Richardson | Central, *, directions: int, rtol: float | None, seed: int
) -> list[Trial]:
    """Try every parameter by real differences.

    Notes
    -----
    For each direction of each parameter 4 (central) or 8 to 18 (Richardson) evaluations of the loss.
    """
    claim.loss.loss()
    claim.loss.compare(claim.loss.at())
    rtol = default_rtol(claim, exact=False) if rtol is None else rtol
    trials = [Trial(name, rtol) for name in claim.gradient]
    for k in range(directions):
        for position, trial in enumerate(trials):
            if trial.failed:
                continue
            sample = take_sample(claim, method, trial.name, seed, position, k)
            if sample.mismatch > trial.allowed(sample):
                slope = confirm(method, {trial.name: sample.direction}, sample.slope)
                sample = compare(claim, trial.name, sample.direction, slope)
            trial.samples.append(sample)
            trial.failed = sample.mismatch > trial.allowed(sample)
    return trials


def contradicted(claim: Claim, trials: Iterable[Trial]) -> str | None:
    """Return the name of a failed parameter whose complex derivative real differences contradict, None if none is.

    Notes
    -----
    Two evaluations where the mismatches are plain; else up to 18 more a failed parameter.
    """
    failed = [trial for trial in trials if trial.failed]
    if not failed or _confirmed_together(claim, failed):
        return None
    return next((trial.name for trial in failed if _contradicted_alone(claim, trial)), None)


def _confirmed_together(claim: Claim, failed: list[Trial]) -> bool:
    """Tell whether one real difference sides with all complex derivatives at once.

    Each direction is divided by its mismatch and signed like it. Then the gradient is off by 1 for each parameter, and
    so is the complex derivative for each parameter in which it should be wrong: less than a quarter clears all.
    """
    directions, expected = {}, []
    for trial in failed:
        mismatch = trial.worst.slope.value - trial.worst.analytic
        directions[trial.name] = trial.worst.direction / mismatch
        expected.append(trial.worst.slope.value / mismatch)
    slope, rounding = Central(claim.loss).difference(directions)
    return abs(slope - total(expected)) + rounding < 0.25


def _contradicted_alone(claim: Claim, trial: Trial) -> bool:
    """Tell whether real differences side with the gradient against the complex step that failed it."""
    sample = trial.worst
    real = Richardson(claim.loss).along({trial.name: sample.direction})
    room = default_rtol(claim, exact=False) * sample.scale + SUSPICION * real.error
    return abs(real.value - sample.analytic) <= room < abs(real.value - sample.slope.value)

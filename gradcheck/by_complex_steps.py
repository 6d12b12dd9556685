"""Trials by the complex step: the directions along which a block is tried, and when a mismatch is a failure.

What a comparison means for the verdict is decided in `gradcheck.rules`. Here a mismatch of the complex step becomes a
failure only after three other explanations are excluded:

* rounding: the derivative is computed again with different rounding (`gradcheck.floor`);
* a kink: the complex derivatives at points to both sides agree with the one at the point;
* a loss that is not analytic: real differences agree with the complex derivative, or, if they are too coarse, the
  derivative with respect to the conjugate of the step is zero (`ComplexStep.conjugate_part`).
"""

from __future__ import annotations

import numpy as np

from gradcheck.arrays import Host
from gradcheck.claim import Claim, Sample, compare, take_sample
from gradcheck.complex_step import ComplexStep, require_analytic
from gradcheck.differences import Central, Richardson
from gradcheck.directions import Slope, dot, rms, total
from gradcheck.evaluate import NotAnalyticError
from gradcheck.floor import GROSS, JITTER, SAFETY, VANISHED, rounding_floor
from gradcheck.numeric import elements, unit
from gradcheck.rules import ROUNDING, SUSPICION, UNDERFLOW, Trial, default_rtol
from gradcheck.scales import SMALLEST

ASIDE = 1024  # units of rounding to the points beside the parameters, where a mismatch is small ...
FARTHEST = 2e-6  # ... but no further than this
LOOKS = 8  # elements that are examined in turn before none counts as wrong


def along_complex_steps(claim: Claim, *, directions: int, rtol: float | None, seed: int) -> list[Trial]:
    """Try every block by the complex step.

    Raises
    ------
    NotAnalyticError
        If the loss cannot be differentiated that way.

    Notes
    -----
    With P blocks and K directions, P + K + 2 evaluations of the loss if all agree, without the one at the parameters; K
    + 2 if P is 1. Directions after the first move all blocks at once, each scaled by the size of its gradient, so that
    an error in any of them weighs as much as in a separate direction.
    """
    step = ComplexStep(claim.loss)
    first = {block: take_sample(claim, step, block, seed, block.key, 0) for block in claim.blocks}
    rtol = default_rtol(claim, exact=True) if rtol is None else rtol
    require_analytic(step, {block: (sample.direction, sample.slope.value) for block, sample in first.items()})
    trials = [Trial(block, rtol, [sample]) for block, sample in first.items()]
    suspects = [trial for trial in trials if not trial.agrees(trial.samples[0])]
    _judge_all(claim, step, suspects, seed)
    for k in range(1, directions):
        todo = [trial for trial in trials if not trial.failed]
        shared = _fit_to_share(claim, todo)
        if _shared_direction(claim, step, shared, seed, k):
            todo = [trial for trial in todo if trial not in shared]
        for trial in todo:
            sample = take_sample(claim, step, trial.block, seed, trial.block.key, k)
            trial.samples.append(sample)
            if not trial.agrees(sample):
                _judge(claim, step, trial, sample, seed)
    return trials


def _judge_all(claim: Claim, step: ComplexStep, suspects: list[Trial], seed: int) -> None:
    """Fail all trials whose worst samples nothing else explains; plain ones are tested together."""
    if suspects and _stand_together(claim, step, suspects, seed):
        for trial in suspects:
            trial.fail(trial.worst)
    else:
        for trial in suspects:
            _judge(claim, step, trial, trial.worst, seed)


def _judge(claim: Claim, step: ComplexStep, trial: Trial, sample: Sample, seed: int) -> None:
    """Widen the floor of a trial; if that does not cover the mismatch of a sample, fail the trial or record a doubt."""
    trial.floor = max(trial.floor, rounding_floor(claim, step, trial.block, sample, seed))
    if trial.agrees(sample):
        return
    if not trial.within_rounding(claim, sample) and _stands(claim, step, trial.name, sample, seed):
        trial.fail(sample)
    else:
        trial.hesitate(ROUNDING)


def _stand_together(claim: Claim, step: ComplexStep, suspects: list[Trial], seed: int) -> bool:
    """Tell whether nothing else explains the mismatches of several trials, all of them at once.

    Each direction is divided by its mismatch and signed like it. Then the gradient is off by 1 for each, and so is any
    other explanation: real differences must agree with the sum of the complex derivatives to a quarter of that, and the
    complex derivatives at two points beside the parameters, which have different rounding and lie on both sides of a
    kink, must agree to a fraction that no allowed multiple of rounding raises to 1. Four evaluations.
    """
    directions: dict[str, Host] = {}
    expected = []
    for trial in suspects:
        sample = trial.worst
        mismatch = sample.slope.value - sample.analytic
        gross = GROSS * claim.unit * claim.magnitude(trial.block)
        if abs(mismatch) <= max(gross, VANISHED if claim.single else 0.0):
            return False
        with np.errstate(over="ignore"):
            directions[trial.name] = directions.get(trial.name, 0.0) + sample.direction / mismatch
        expected.append(sample.slope.value / mismatch)
    if not claim.loss.natural(directions) > SMALLEST:  # mismatches of very unlike size
        return False
    slope, rounding = Central(claim.loss).difference(directions)
    if not abs(slope - total(expected)) + rounding < 0.25:
        return False
    # A gradient in single precision carries rounding of that size, however precise the loss is.
    aside = max(claim.loss.eps ** (2 / 3), JITTER * claim.unit)
    return _change_aside(claim, step, directions, total(expected), aside, seed) < 1 / SAFETY


def _change_aside(
    claim: Claim, step: ComplexStep, directions: dict[str, Host], slope: float, distance: float, seed: int
) -> float:
    """Return by how much the complex derivative changes at two opposite points beside the parameters."""
    changes = []
    for sign in (1, -1):
        point = claim.nearby(sign * distance, seed, 0xA51DE)
        changes.append(abs(step.at(point, directions, "params, moved aside")[1] - slope))
    return max(changes)


def _stands(claim: Claim, step: ComplexStep, name: str, sample: Sample, seed: int) -> bool:
    """Tell whether a mismatch that rounding does not explain is a failure; False if that cannot be decided.

    Raises
    ------
    NotAnalyticError
        If real differences agree with the gradient, or there is a kink: real differences must then decide.
    """
    direction = {name: sample.direction}
    aside = min(ASIDE * claim.loss.eps, FARTHEST)
    change = _change_aside(claim, step, direction, sample.slope.value, aside, seed)
    if change > sample.mismatch / 8:
        raise NotAnalyticError(f"its complex derivatives by {name} to the two sides of the point differ")
    real = Richardson(claim.loss).along(direction)
    room = SUSPICION * real.error
    if abs(real.value - sample.slope.value) + room <= sample.mismatch / 4:
        return True
    if abs(real.value - sample.analytic) <= room + sample.mismatch / 4 < abs(real.value - sample.slope.value):
        raise NotAnalyticError(f"real differences in {name} disagree with its complex derivative")
    return step.conjugate_part(direction) <= sample.mismatch / 8


def _fit_to_share(claim: Claim, trials: list[Trial]) -> list[Trial]:
    """Return the trials that can share a direction: those without a floor and with a gradient that is not tiny."""
    if claim.loss.single:  # weights would leave the range of float32
        return []
    largest = max((trial.samples[0].scale for trial in trials), default=0.0)
    fit = [trial for trial in trials if trial.floor <= UNDERFLOW and trial.samples[0].scale > 1e-60 * largest]
    return fit if len(fit) > 1 else []


def _shared_direction(claim: Claim, step: ComplexStep, trials: list[Trial], seed: int, k: int) -> bool:
    """Try several blocks at once; False means that they need separate directions."""
    if not trials:
        return False
    smallest = min(trial.samples[0].scale for trial in trials)
    weights = {trial.block: smallest / trial.samples[0].scale for trial in trials}
    vs = {trial.block: trial.block.direction(seed, trial.block.key, k) for trial in trials}
    direction: dict[str, Host] = {}
    for block, v in vs.items():
        direction[block.name] = direction.get(block.name, 0.0) + weights[block] * v
    slope = step.along(direction)
    parts = {block: compare(claim, block, v, slope) for block, v in vs.items()}
    analytic = total(weights[block] * part.analytic for block, part in parts.items())
    allowed = min(trial.rtol * weights[trial.block] * parts[trial.block].scale for trial in trials)
    if not abs(analytic - slope.value) <= allowed:
        return False
    for trial in trials:
        weight, part = weights[trial.block], parts[trial.block]
        # The rest of the sum is taken as known: that leaves this block its own numeric derivative.
        own = part.analytic + (slope.value - analytic) / weight
        trial.samples.append(compare(claim, trial.block, part.direction, Slope(own)))
    return True


def along_elements(claim: Claim, *, rtol: float | None, seed: int) -> tuple[list[Trial], dict[str, Host]]:
    """Compare every element relative to itself, down to its own rounding floor.

    Returns
    -------
    trials : list of Trial
        One per parameter.
    numeric : dict of str to ndarray
        The numeric gradient.

    Raises
    ------
    NotAnalyticError
        If the complex step does not apply.

    Notes
    -----
    One evaluation per element, and a few more for each element that is small compared with its own rounding.
    """
    step = ComplexStep(claim.loss)
    numeric = {name: elements(step, name)[0] for name in claim.gradient}
    vs = {block: block.direction(seed, block.key) for block in claim.blocks}
    require_analytic(step, {block: (v, dot(numeric[block.name], v)) for block, v in vs.items()})
    rtol = default_rtol(claim, exact=True) if rtol is None else rtol
    trials = []
    for name, values in numeric.items():
        trial = Trial(claim.loss.blocks[name][0], rtol, size=rms(claim.gradient[name]))
        suspects: list[tuple[Sample, Trial]] = []
        for index in np.ndindex(values.shape):
            g = float(claim.gradient[name][index])
            sample = Sample(unit(values.shape, index), g, Slope(float(values[index])), abs(g), index)
            trial.samples.append(sample)
            own = Trial(claim.loss.block_of(name, index), rtol)
            if not own.agrees(sample):
                own.floor = rounding_floor(claim, step, own.block, sample, seed)
                trial.floor = max(trial.floor, own.floor)
                suspects += [] if own.agrees(sample) else [(sample, own)]
        _judge_elements(claim, step, trial, suspects, seed)
        trials.append(trial)
    return trials, numeric


def _judge_elements(
    claim: Claim, step: ComplexStep, trial: Trial, suspects: list[tuple[Sample, Trial]], seed: int
) -> None:
    """Fail a trial if the mismatch of one of its worst elements is a failure."""
    grave = [sample for sample, own in suspects if not own.within_rounding(claim, sample)]
    for sample in sorted(grave, key=lambda s: -s.relative)[:LOOKS]:
        if _stands(claim, step, trial.name, sample, seed):
            trial.fail(sample)
            return
    if suspects:
        trial.hesitate(ROUNDING)

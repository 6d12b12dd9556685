r"""How a verdict is reached for each parameter.

Along a Gaussian direction v, the gradient g and the numeric derivative D agree if

.. math:: |\langle g, v\rangle - D| \le \max(\text{rtol}\,\|g\|\,\text{rms}(v),\ \text{floor}).

The size of <e, v> for an error e of the gradient is norm(e) * rms(v) whatever the number of elements, hence rms(v) and
not norm(v): with the latter, an error confined to one element of a large parameter would have more room. What stays
invisible is an error smaller than about rtol * norm(g) in the whole parameter; an element whose true value is that
small can be entirely wrong (``method="elements"`` looks at each by itself).

There is no absolute tolerance. The floor is the rounding of the two numbers, measured (`floor`) or, for real
differences, the error estimate of the method. Where the floor covers the gradient itself, nothing was tested: the
verdict is inconclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gradcheck.claim import Claim, Sample, compare, take_sample
from gradcheck.complex_step import ComplexStep, require_analytic
from gradcheck.differences import Central, Richardson, confirm
from gradcheck.directions import gaussian, total
from gradcheck.floor import lost_digits, rounding_floor
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED

GROWTH = {"exact": 4500, "single": 256, "differences": 2.0**22}  # default rtol in units of rounding
SUSPICION = 10  # a difference's own error estimate is multiplied by this
MEANINGFUL = {False: 1e-5, True: 1e-3}  # looser tolerances say too little to pass; True: in single precision
UNSTEADY = 1e-9  # relative change of the loss between two calls at the same parameters


@dataclass
class Trial:
    """What is known of one parameter so far."""

    name: str
    rtol: float
    samples: list[Sample] = field(default_factory=list)
    floor: float = 0.0
    failed: bool = False
    unclear: bool = False  # a mismatch above its own rounding, but below that of the largest gradient
    size: float | None = None  # what tolerances are relative to, where samples are single elements

    def allowed(self, sample: Sample) -> float:
        """Return the largest mismatch that does not count as a failure."""
        return max(self.rtol * sample.scale, self.floor) + SUSPICION * sample.slope.error

    def settle(self, claim: Claim, sample: Sample, allowed: float) -> None:
        """Take in a mismatch: more than `allowed` is a failure, unless rounding elsewhere could explain it."""
        if sample.mismatch > allowed:
            lost = sample.mismatch <= lost_digits(claim, self.name)
            self.unclear, self.failed = self.unclear or lost, self.failed or not lost

    @property
    def tolerance(self) -> float:
        """The loosest relative tolerance applied."""
        ratios = [self.allowed(s) / max(self.size or s.scale, abs(s.slope.value), 1e-300) for s in self.samples]
        return max(self.rtol, *ratios)

    @property
    def empty(self) -> bool:
        """Whether gradient and numeric derivative are zero to rounding in all samples."""
        return all(max(s.scale, abs(s.slope.value)) <= self.allowed(s) for s in self.samples)

    @property
    def worst(self) -> Sample:
        """The sample with the largest relative mismatch."""
        return max(self.samples, key=lambda sample: sample.relative)

    def verdict(self, single: bool) -> tuple[str, str | None]:
        """Return the verdict and, where one is due, a word about it."""
        kinks = [s.slope.kink for s in self.samples if s.slope.kink]
        if kinks:
            left, right = kinks[0]
            return INCONCLUSIVE, f"a kink: slopes {left:.6g} and {right:.6g} to its sides do not approach each other"
        if self.failed:
            return FAILED, None
        if self.empty:
            return INCONCLUSIVE, "zero to rounding on both sides: nothing was tested"
        if self.unclear:
            return INCONCLUSIVE, "the values differ by no more than the rounding of a gradient as large as the largest"
        if not self.tolerance <= MEANINGFUL[single]:
            return INCONCLUSIVE, "rounding or the error of the differences hides what a check could show"
        if self.tolerance > 2 * self.rtol:
            return PASSED, "tolerance widened to the rounding floor or the error estimate of the differences"
        return PASSED, None


def default_rtol(claim: Claim, exact: bool) -> float:
    """Return the relative tolerance used where the user gives none.

    About 1e-12 for the complex step in float64 (4500 units of rounding: sums over fifty steps of a batch stay below
    a hundredth of it), 3e-5 if loss or gradient is computed in single precision, 1e-9 for differences in float64.
    """
    if claim.single:
        return GROWTH["single"] * claim.unit
    return GROWTH["exact" if exact else "differences"] * claim.unit


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
        trial.samples.append(compare(claim, trial.name, part.direction, type(slope)(own)))
    return True


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


def contradicted(claim: Claim, trial: Trial) -> bool:
    """Tell whether real differences side with the gradient against the complex step that failed it."""
    sample = trial.worst
    real = Richardson(claim.loss).along({trial.name: sample.direction})
    room = default_rtol(claim, exact=False) * sample.scale + SUSPICION * real.error
    return abs(real.value - sample.analytic) <= room < abs(real.value - sample.slope.value)


def unsteady(claim: Claim) -> bool:
    """Tell whether the loss returned different values at the same parameters."""
    return claim.loss.spread > UNSTEADY * abs(claim.loss.loss())

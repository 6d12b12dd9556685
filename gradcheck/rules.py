r"""The decision: what makes a parameter pass, fail, or neither. All of it is in `Trial` and `merge`.

1. **One comparison.** Along a direction v, the gradient g and the numeric derivative D agree (`Trial.allowed`) if

   .. math:: |\langle g, v\rangle - D| \le \max(\text{rtol}\,\|g\|\,\text{rms}(v),\ \text{floor}).

2. **A mismatch** is a failure only if everything else that could explain it has been excluded: rounding (`floor`), a
   loss that is not analytic, a kink, noise, a separate scale (`by_complex_steps`, `audit`). What cannot be excluded
   is the reason why the verdict is inconclusive (`Trial.doubt`).
3. **The verdict** on all comparisons (`Trial.verdict`), the first that holds: a failure: failed; a doubt, or zero on
   both sides, or a tolerance widened so far that it means nothing: inconclusive; else passed. A tolerance that the user
   requested is never too loose.

Elements of different size are tried separately (`scales`), and a parameter has the worst verdict of its blocks
(`merge`); a block that is zero on both sides does not count if another is not.

The size of <e, v> for an error e of the gradient is norm(e) * rms(v) for any number of elements, hence rms(v) and not
norm(v): with the latter, an error confined to one element of a large parameter would have more room. An error stays
invisible if it is smaller than about rtol * norm(g) in the whole block; an element whose true value is that small can
be entirely wrong (``method="elements"`` looks at each by itself).

There is no absolute tolerance, except that derivatives below 1e-304 count as zero. The floor is the rounding of the two
numbers, measured (`floor`) or, for real differences, the error estimate of the method. If the floor covers the gradient
itself, nothing was tested, and the verdict is inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gradcheck.claim import Claim, Sample
from gradcheck.directions import rms
from gradcheck.floor import explained_by_rounding
from gradcheck.report import FAILED, INCONCLUSIVE, PASSED
from gradcheck.scales import Block

__all__ = ["Trial", "default_rtol", "merge", "unsteady"]

GROWTH = {"exact": 4500, "single": 256, "differences": 2.0**22}  # default rtol in units of rounding
SUSPICION = 10  # a difference's own error estimate is multiplied by this
MEANINGFUL = {False: 1e-5, True: 1e-3}  # tolerances widened beyond say too little to pass; True: in single precision
UNDERFLOW = 1e-304  # derivatives below are zero: float64 has no digits left for them
UNSTEADY = 1e-9  # relative change of the loss between two calls at the same parameters

ZERO, ROUNDING, NOISE, KINK, STEPS, DOMAIN, RANDOM = "zero", "rounding", "noise", "kink", "steps", "domain", "random"
ADVICE = {
    ZERO: "zero to rounding on both sides: nothing was tested; draw other parameters",
    ROUNDING: "rounding could explain the difference: choose a point where less cancels, or a higher precision",
    KINK: "the loss has a kink at or near the point: move the point away from it",
    NOISE: "real differences of this loss are too inaccurate: let it take complex parameters, or use float64 inside",
    STEPS: "the differences do not converge: the loss varies faster than their steps; let it take complex parameters",
    DOMAIN: "too few steps stay inside the domain of the loss: move the point away from its border",
    RANDOM: "the loss is random: fix its random numbers",
}


@dataclass
class Trial:
    """What is known so far about one block of a parameter."""

    block: Block
    rtol: float
    samples: list[Sample] = field(default_factory=list)
    floor: float = UNDERFLOW
    failed: bool = False
    culprit: Sample | None = None  # the sample that failed it
    doubt: tuple[str, str] | None = None  # the reason in one word, and what to do
    word: str | None = None  # a remark for the user about a pass
    size: float | None = None  # what tolerances are relative to, where samples are single elements

    @property
    def name(self) -> str:
        """The parameter."""
        return self.block.name

    def allowed(self, sample: Sample) -> float:
        """Return the largest mismatch that does not count as a failure."""
        return max(self.rtol * sample.scale, self.floor) + SUSPICION * sample.slope.error

    def agrees(self, sample: Sample) -> bool:
        """Tell whether the two values agree."""
        return sample.mismatch <= self.allowed(sample)

    def fail(self, sample: Sample) -> None:
        """Record that nothing but a wrong gradient explains a sample."""
        self.failed, self.culprit = True, sample

    def hesitate(self, reason: str, text: str | None = None) -> None:
        """Record that something could not be excluded; the first reason is kept."""
        self.doubt = self.doubt or (reason, text or ADVICE[reason])

    def within_rounding(self, claim: Claim, sample: Sample) -> bool:
        """Tell whether rounding of the largest gradient could explain a mismatch."""
        return explained_by_rounding(claim, self.block, sample.mismatch)

    @property
    def tolerance(self) -> float:
        """The loosest relative tolerance applied."""
        ratios = [self.allowed(s) / max(self.size or s.scale, abs(s.slope.value), 1e-300) for s in self.samples]
        return max([self.rtol, *ratios])

    @property
    def agreement(self) -> float:
        """The largest relative difference of the two values, or the one that rounding or steps could hide."""
        unseen = [self.floor + SUSPICION * s.slope.error for s in self.samples]
        sizes = [max(self.size or s.scale, abs(s.slope.value), 1e-300) for s in self.samples]
        return max(
            (max(s.mismatch, u) / size for s, u, size in zip(self.samples, unseen, sizes, strict=True)), default=0.0
        )

    @property
    def unseen(self) -> float:
        """The norm of an error of the gradient that could hide behind rounding or the error of differences."""
        return max(
            (self.floor + SUSPICION * s.slope.error) / (rms(s.direction[self.block.mask]) or 1.0) for s in self.samples
        )

    @property
    def empty(self) -> bool:
        """Whether gradient and numeric derivative are zero to rounding in all samples."""
        return all(max(s.scale, abs(s.slope.value)) <= self.floor + SUSPICION * s.slope.error for s in self.samples)

    @property
    def worst(self) -> Sample:
        """The sample that failed, else the one with the largest relative mismatch."""
        return self.culprit or max(self.samples, key=lambda sample: sample.relative)

    def verdict(self, single: bool) -> tuple[str, str | None, str | None]:
        """Return the verdict, the reason in one word if it is inconclusive, and a note."""
        if self.failed:
            return FAILED, None, None
        if self.doubt:
            return INCONCLUSIVE, *self.doubt
        if self.empty and not self.word:
            return INCONCLUSIVE, ZERO, ADVICE[ZERO]
        if not self.tolerance <= max(MEANINGFUL[single], 2 * self.rtol):
            reason = NOISE if any(s.slope.error for s in self.samples) else ROUNDING
            return INCONCLUSIVE, reason, ADVICE[reason]
        if self.tolerance > 2 * self.rtol and not self.word:
            return PASSED, None, "tolerance widened to the rounding floor or the error estimate of the differences"
        return PASSED, None, self.word


def merge(trials: Sequence[Trial], single: bool, whole: float) -> Trial:
    """Return the trial that decides on a parameter with a gradient of norm `whole`: the worst of its blocks.

    An empty block comes last if no error that matters compared with the whole gradient could hide in it.
    """
    order = {FAILED: 0, INCONCLUSIVE: 1, PASSED: 2}

    def rank(trial: Trial) -> tuple[int, float]:
        verdict, reason, _ = trial.verdict(single)
        if reason == ZERO and trial.unseen <= max(MEANINGFUL[single], 2 * trial.rtol) * whole:
            return 3, 0.0
        return order[verdict], -trial.tolerance

    decisive = min(trials, key=rank)
    if decisive.doubt is None and decisive.empty and len(trials) > 1 and rank(decisive)[0] == order[INCONCLUSIVE]:
        decisive.hesitate(NOISE)
    return decisive


def default_rtol(claim: Claim, exact: bool) -> float:
    """Return the default relative tolerance.

    About 1e-12 for the complex step in float64 (4500 units of rounding: sums over fifty steps of a batch stay below
    a hundredth of it), 3e-5 if loss or gradient is computed in single precision, 1e-9 for differences in float64.
    """
    if claim.single:
        return GROWTH["single"] * claim.unit
    return GROWTH["exact" if exact else "differences"] * claim.unit


def unsteady(claim: Claim) -> bool:
    """Tell whether the loss returned different values at the same parameters."""
    return claim.loss.spread > UNSTEADY * abs(claim.loss.loss())

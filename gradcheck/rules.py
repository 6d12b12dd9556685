r"""The decision: what makes a parameter pass, fail, or neither. All of it is in `Trial`.

1. **One comparison.** Along a direction v, the gradient g and the numeric derivative D agree (`Trial.allowed`) if

   .. math:: |\langle g, v\rangle - D| \le \max(\text{rtol}\,\|g\|\,\text{rms}(v),\ \text{floor}).

2. **A mismatch** is a failure, unless the rounding of a gradient as large as the largest could explain it; then it is
   unclear (`Trial.settle`).
3. **The verdict** on all comparisons of a parameter (`Trial.verdict`), the first that holds:
   a kink: inconclusive; a failure: failed; zero on both sides, unclear, or a tolerance too loose to mean anything:
   inconclusive; else passed.

Which directions are tried is in `trials`; a failure by the complex step stands only if real differences do not side
with the gradient (`trials.contradicted`). float32 values of the gradient are judged apart (`precision`).

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

from gradcheck.claim import Claim, Sample
from gradcheck.floor import lost_digits
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


def unsteady(claim: Claim) -> bool:
    """Tell whether the loss returned different values at the same parameters."""
    return claim.loss.spread > UNSTEADY * abs(claim.loss.loss())

"""Trials by real differences, for losses that are not analytic.

What a comparison means for the verdict is decided in `gradcheck.rules`. Here a mismatch becomes a failure only where
the audit excludes it (`gradcheck.audit`). Elements on a kink are found, removed from the directions, and judged
separately by their one-sided slopes (`gradcheck.kinks`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradcheck.arrays import Host
from gradcheck.audit import EXCLUDED, audit
from gradcheck.claim import Claim, Sample, take_sample
from gradcheck.differences import Central, Line, Richardson
from gradcheck.directions import Slope, rms
from gradcheck.evaluate import Budget
from gradcheck.floor import single_rounding
from gradcheck.kinks import Kinks, Sides, between_along, find_kinks, slopes
from gradcheck.numeric import elements, unit
from gradcheck.rules import DOMAIN, KINK, MEANINGFUL, ROUNDING, STEPS, UNDERFLOW, Trial, default_rtol
from gradcheck.scales import Block

LOOKS = 8  # elements at a kink that are audited in turn before none counts as wrong


@dataclass(frozen=True)
class Differences:
    """How real differences are computed.

    Attributes
    ----------
    claim : Claim
        What is checked.
    method : Richardson or Central
        How slopes are found.
    directions : int
        Directions per block.
    rtol : float
        Allowed relative error.
    seed : int
        Of the directions.
    budget : Budget
        For the search for kinks.
    subgradient : bool
        Whether a value between the slopes to the sides of a kink passes.
    """

    claim: Claim
    method: Richardson | Central
    directions: int
    rtol: float
    seed: int
    budget: Budget
    subgradient: bool

    def along_directions(self) -> list[Trial]:
        """Try every block.

        Notes
        -----
        For each direction of each block 4 (central) or 8 to 18 (Richardson) evaluations of the loss; 28 more if the
        values do not agree, and the search for kinks if there is one.
        """
        return [self._try(block) for block in self.claim.blocks]

    def _try(self, block: Block) -> Trial:
        trial = Trial(block, self.rtol)
        for k in range(self.directions):
            sample = take_sample(self.claim, self.method, block, self.seed, block.key, k)
            trial.samples.append(sample)
            if sample.slope.kink is None and trial.agrees(sample):
                self._note_lost(trial, sample)
                continue
            found = KINK
            if sample.slope.kink is None:
                found = audit(Line(self.claim.loss, {block.name: sample.direction}), sample.analytic, single=False)
            if found == EXCLUDED:
                self._fail(trial, sample)
                return trial
            if found == KINK:
                return self._at_kinks(block, trial)
            trial.hesitate(found)
        return trial

    def _fail(self, trial: Trial, sample: Sample) -> None:
        """Fail a trial if differences exclude its sample, unless rounding of a float32 gradient explains it."""
        explained = self.claim.coarser and trial.within_rounding(self.claim, sample)
        mismatch = sample.mismatch if np.isfinite(sample.mismatch) else abs(sample.analytic)
        if explained or mismatch <= single_rounding(self.claim, sample, trial.name, self.seed):
            trial.hesitate(ROUNDING)
        else:
            trial.fail(sample)

    def _note_lost(self, trial: Trial, sample: Sample) -> None:
        if not np.isfinite(sample.slope.error):
            trial.hesitate(STEPS if np.isfinite(sample.slope.value) else DOMAIN)

    def _at_kinks(self, block: Block, before: Trial) -> Trial:
        """Judge the elements of a block that lie on kinks, and try the rest again."""
        found = find_kinks(self.claim.loss, block.name, block.mask, self.budget, self.seed)
        if not found.elements:
            last = before.samples[-1]
            line = Line(self.claim.loss, {block.name: last.direction})
            if last.slope.kink is not None and audit(line, last.analytic, single=False) == EXCLUDED:
                self._fail(before, last)
            else:
                before.hesitate(KINK, self._kink_text(last))
            return before
        rest = block.without(found.mask(block.mask.shape))
        trial = Trial(block, self.rtol)
        if np.any(rest.mask):
            trial = self._try_without_kinks(rest)
            trial.block = block
        self._judge_kinks(trial, found)
        return trial

    def _try_without_kinks(self, rest: Block) -> Trial:
        """Try the elements that are left; a kink that is met again was not found by the search."""
        trial = Trial(rest, self.rtol)
        for k in range(self.directions):
            sample = take_sample(self.claim, self.method, rest, self.seed, rest.key, k)
            trial.samples.append(sample)
            if sample.slope.kink is None and trial.agrees(sample):
                self._note_lost(trial, sample)
                continue
            found = audit(Line(self.claim.loss, {rest.name: sample.direction}), sample.analytic, single=False)
            if found == EXCLUDED:
                self._fail(trial, sample)
                return trial
            trial.hesitate(found, self._kink_text(sample) if found == KINK else None)
        return trial

    def _judge_kinks(self, trial: Trial, kinks: Kinks) -> None:
        """Judge a gradient at elements on kinks by the slopes to their sides."""
        g = self.claim.gradient[trial.name]
        samples = {index: self._kink_sample(g, index, sides) for index, sides in kinks.elements.items()}
        outside = [index for index, sides in kinks.elements.items() if not sides.contains(float(g[index]))]
        if not trial.samples or self._negligible(trial, list(samples.values())):
            trial.samples, trial.floor = list(samples.values()), UNDERFLOW
        for index in sorted(outside, key=lambda i: -samples[i].relative)[:LOOKS]:
            if audit(self._line(trial.name, index), float(g[index]), single=True) == EXCLUDED:
                if np.isnan(kinks.elements[index].left):  # slopes that do not converge are not those of a kink
                    self._fail(trial, samples[index])
                else:
                    trial.fail(samples[index])
                return
        if trial.failed:
            return
        place, text = self._describe(kinks, g, (outside or [kinks.first()[0]])[0])
        if not self.subgradient:
            advice = "move the point away from it, or accept values between the slopes by subgradient=True"
            trial.hesitate(KINK, f"{text}; {advice}")
        elif outside or not kinks.complete:
            more = "" if outside else "; the budget did not suffice to look for others"
            trial.hesitate(KINK, f"{text}{more}")
        elif not between_along(self.claim.loss, kinks, g, self.directions, self.seed):
            trial.hesitate(KINK, f"{place}: between the slopes of each element, but not of all of them together")
        else:
            trial.word = text

    @staticmethod
    def _negligible(trial: Trial, kinks: list[Sample]) -> bool:
        """Tell whether no error that matters compared with the slopes at kinks can hide in the rest."""
        size = max(sample.scale for sample in kinks)
        return not trial.failed and trial.empty and trial.unseen <= max(MEANINGFUL[False], 2 * trial.rtol) * size

    def _line(self, name: str, index: tuple[int, ...]) -> Line:
        return Line(self.claim.loss, {name: unit(self.claim.gradient[name].shape, index)})

    def _kink_sample(self, g: Host, index: tuple[int, ...], sides: Sides) -> Sample:
        """Compare an element with the nearest value between the slopes."""
        value = float(g[index])
        low, high = min(sides.left, sides.right), max(sides.left, sides.right)
        nearest = min(max(value, low), high) if low <= high else np.nan
        size = max(abs(value), abs(low), abs(high))
        return Sample(unit(g.shape, index), value, Slope(nearest), size if np.isfinite(size) else abs(value), index)

    def _describe(self, kinks: Kinks, g: Host, index: tuple[int, ...]) -> tuple[str, str]:
        sides, more = kinks.elements[index], len(kinks.elements) - 1
        place = f"a kink at {kinks.name}{list(index) if index else ''}"
        place += f" and {more} other element{'s' if more > 1 else ''}" if more else ""
        if np.isnan(sides.left):
            return place, f"{place}: the slopes to its sides do not converge"
        return (
            place,
            f"{place}: slope {sides.left:.6g} to the left, {sides.right:.6g} to the right, gradient {g[index]:.6g}",
        )

    @staticmethod
    def _kink_text(sample: Sample) -> str:
        if sample.slope.kink is None:
            return "a kink near the point: move the point away from it"
        left, right = sample.slope.kink
        return f"a kink: slopes {left:.6g} and {right:.6g} to its sides do not approach each other; move the point away"

    def along_elements(self) -> tuple[list[Trial], dict[str, Host]]:
        """Compare every element relative to itself; also return the numeric gradient.

        Notes
        -----
        4 (central) or 8 to 18 (Richardson) evaluations of the loss per element, 28 more if it does not agree.
        """
        numeric, trials = {}, []
        for name, g in self.claim.gradient.items():
            numeric[name], errors = elements(self.method, name)
            trial = Trial(self.claim.loss.blocks[name][0], self.rtol, size=rms(g))
            kinks = Kinks(name)
            for index in np.ndindex(g.shape):
                slope = Slope(float(numeric[name][index]), float(errors[index]))
                sample = Sample(unit(g.shape, index), float(g[index]), slope, abs(float(g[index])), index)
                self._judge_element(trial, kinks, sample)
            if kinks.elements:
                self._judge_kinks(trial, kinks)
            trials.append(trial)
        return trials, numeric

    def _judge_element(self, trial: Trial, kinks: Kinks, sample: Sample) -> None:
        assert sample.index is not None
        line = self._line(trial.name, sample.index)
        if np.isfinite(sample.slope.error) and trial.agrees(sample):
            trial.samples.append(sample)
            return
        sides = slopes(line)
        if sides is not None:
            kinks.elements[sample.index] = sides
            return
        trial.samples.append(sample)
        found = audit(line, sample.analytic, single=True)
        if found == EXCLUDED:
            self._fail(trial, trial.culprit or sample)
        elif found == KINK:
            trial.hesitate(KINK, f"a kink near {trial.name}{list(sample.index)}: move the point away from it")
        else:
            trial.hesitate(found)


def by_differences(
    claim: Claim,
    method: Richardson | Central,
    *,
    directions: int,
    rtol: float | None,
    seed: int,
    budget: Budget,
    subgradient: bool,
) -> Differences:
    """Return how real differences are taken for `claim`, after one more evaluation of the loss at the parameters."""
    claim.loss.repeat()
    rtol = default_rtol(claim, exact=False) if rtol is None else rtol
    return Differences(claim, method, directions, rtol, seed, budget, subgradient)

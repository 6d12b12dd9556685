r"""The audit: whether real differences exclude a claimed slope, whatever the loss does between their steps.

An error estimate of a difference is an estimate. A loss that computes in float32 inside, a kink near the point, or a
scale far below that of the parameters can make it too small by accident, and then a right gradient would look wrong. So
before a slope is called wrong, the loss is evaluated on ladders of steps over twelve orders of magnitude, and the
one-sided difference quotients :math:`l_k, r_k` of every step :math:`t_k` are compared with the claimed slope a:

* The *resolution* of a step is the change of its quotients from and to its neighbours, plus their rounding. It shows
  curvature and noise of any kind: curvature falls with the step, noise grows.
* A step *excludes* a if a lies outside :math:`[\min(l_k, r_k), \max(l_k, r_k)]` by more than four times its
  resolution. Between the two slopes of a kink nothing is excluded.
* A step *supports* a if a lies within the resolution, and the resolution is fine compared with the distance by which
  others exclude a.

a is excluded if three neighbouring steps exclude it and none supports it. Support from a kink counts only if the loss
is not smooth at any smaller step, and support from a step only if it is not larger than three steps at which the loss
is a straight line. Along a direction that moves several elements their kinks may cancel; there the two quotients must
also agree with each other to a small part of the distance, at the steps that exclude a and at all smaller ones.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from gradcheck.differences import NARROW, NOISE, Line

__all__ = ["Level", "audit", "ladder"]

FIRST = 0.125
RATIO = 8.0
LEVELS = 14
RUN = 3  # neighbouring steps that must exclude a slope
CLEAR = 4  # times the resolution
CANCELLED = 1 / 32  # part of the distance to which the quotients must agree where kinks might cancel
STRAIGHT = 1 / 64  # part of the quotients up to which they agree where the loss is a straight line
EXCLUDED, KINK, STEPS, TOO_NOISY, DOMAIN = "excluded", "kink", "steps", "noise", "domain"


@dataclass(frozen=True)
class Level:
    """One step of a ladder.

    Attributes
    ----------
    t : float
        The step.
    left, right : float
        Difference quotients to both sides.
    rounding : float
        Their rounding, if the loss is as precise as its dtype.
    silent : bool
        Whether the loss did not change at all.
    resolution : float
        Rounding, and the change to the neighbouring steps.
    """

    t: float
    left: float
    right: float
    rounding: float
    silent: bool
    resolution: float = math.inf

    @property
    def gap(self) -> float:
        """Distance of the two quotients."""
        return abs(self.right - self.left)

    def distance(self, slope: float) -> float:
        """Return how far `slope` lies outside the two quotients."""
        return max(0.0, min(self.left, self.right) - slope, slope - max(self.left, self.right))


def audit(line: Line, claimed: float, *, single: bool) -> str:
    """Return whether a claimed slope is excluded, or why it cannot be.

    Parameters
    ----------
    line : Line
        The direction.
    claimed : float
        The slope along it according to the gradient.
    single : bool
        Whether the direction moves one element only.

    Returns
    -------
    str
        "excluded", or the reason why nothing can be said: "kink", "steps", "noise", "domain".

    Notes
    -----
    28 evaluations of the loss; 28 more for small elements, and if the elements that move differ in size.
    """
    starts, narrower = [line.natural], line.function.narrower(line.direction)
    starts += [line.wider] if line.wider > line.natural else []
    starts += [narrower] if narrower < NARROW * line.natural else []
    ladders = [ladder(line, FIRST * start) for start in starts]
    levels = [level for found in ladders for level in found]
    if len(levels) < RUN:
        return DOMAIN
    if all(level.silent for level in levels):
        return EXCLUDED if abs(claimed) > CLEAR * max(levels, key=lambda level: level.t).rounding else TOO_NOISY
    heard = [level for level in levels if not level.silent]
    best = min(heard, key=lambda level: level.resolution)
    for found in ladders:
        run = _longest_run(found, claimed, single)
        if len(run) >= RUN and not _contradicted(run, levels, claimed, single, best):
            return EXCLUDED
    if any(_bent(found) for found in ladders):
        return KINK
    return STEPS if best.resolution > 1e-2 * max(abs(best.left), abs(best.right)) else TOO_NOISY


def ladder(line: Line, first: float) -> list[Level]:
    """Return the steps from `first` down at which the loss is finite on both sides."""
    middle, eps = line.function.loss(), line.function.eps
    levels: list[Level] = []
    for k in range(LEVELS):
        t = first / RATIO**k
        right, left = line.at(t), line.at(-t)
        if math.isfinite(right) and math.isfinite(left):
            slopes = ((middle - left) / t, (right - middle) / t)
            # The rounding of p + t v acts like that of a change of the loss along the natural step.
            rounding = (
                NOISE * eps * (max(abs(right), abs(left), abs(middle)) + max(map(abs, slopes)) * line.natural) / t
            )
            levels.append(Level(t, *slopes, rounding, right == middle == left))
    return [_resolved(level, levels[max(k - 1, 0) : k + 2]) for k, level in enumerate(levels)]


def _resolved(level: Level, neighbours: list[Level]) -> Level:
    others = [other for other in neighbours if other is not level]
    changes = [max(abs(level.left - other.left), abs(level.right - other.right)) for other in others]
    return Level(
        level.t, level.left, level.right, level.rounding, level.silent, max(changes, default=math.inf) + level.rounding
    )


def _longest_run(levels: list[Level], claimed: float, single: bool) -> list[Level]:
    """Return the longest run of steps that exclude the claimed slope. A loss that does not change excludes nothing."""
    longest: list[Level] = []
    run: list[Level] = []
    for level in levels:
        distance = level.distance(claimed)
        agree = single or level.gap <= CANCELLED * distance
        run = [*run, level] if not level.silent and agree and distance > CLEAR * level.resolution else []
        longest = max(longest, run, key=len)
    return longest


def _supports(level: Level, claimed: float, distance: float, best: Level) -> bool:
    if level.silent:  # a loss that is constant over steps that would have shown the best slope: it may be rounded
        return abs(claimed) <= level.rounding and max(abs(best.left), abs(best.right)) > 8 * level.rounding
    near = level.distance(claimed) <= 2 * level.resolution
    return near and level.resolution <= distance / 8


def _passed_by(support: Level, levels: list[Level]) -> bool:
    """Tell whether the kink that makes a step support a slope lies at a distance that smaller steps do not reach."""
    kink = support.gap > 8 * support.resolution
    return kink and any(level.t < support.t and level.gap + level.resolution <= support.gap / 16 for level in levels)


def _contradicted(run: list[Level], levels: list[Level], claimed: float, single: bool, best: Level) -> bool:
    """Tell whether other steps contradict a run that excludes the claimed slope."""
    distance, smallest = max(level.distance(claimed) for level in run), min(level.t for level in run)
    heard = [level for level in levels if not level.silent]
    # Where smaller steps see kinks, the larger ones of the run say nothing about the slopes at the point.
    if not single and any(
        level.t < smallest and level.gap > 8 * level.resolution and level.gap > CANCELLED * distance for level in heard
    ):
        return True
    supporting = [level for level in levels if _supports(level, claimed, distance, best)]
    return not all(_passed_by(level, heard) or _outvoted(level, run) for level in supporting)


def _outvoted(support: Level, run: list[Level]) -> bool:
    """Tell whether the loss is a straight line at steps of the run that are smaller than the one that supports.

    Steps beyond the scale of the loss support any small slope. Noise and rounding inside the loss show no straight
    line.
    """
    straight = [
        level
        for level in run
        if level.t < support.t and max(level.resolution, level.gap) <= STRAIGHT * max(abs(level.left), abs(level.right))
    ]
    return len(straight) >= RUN


def _bent(levels: list[Level]) -> bool:
    """Tell whether the two quotients stay apart, at steps that would resolve their distance."""
    for before, level in itertools.pairwise(levels):
        if level.gap > 8 * level.resolution and level.gap > 0.5 * before.gap:
            return True
    return False

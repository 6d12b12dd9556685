r"""The rounding floor, measured: how far a correct gradient and a correct numeric derivative may lie apart.

Both carry rounding of about eps times the sum of the absolute terms that make up the derivative. Where these terms
cancel (at a minimum of the loss, or for a bias that shifts all inputs of a softmax), what is left is small against
its own rounding, and no multiple of norm(gradient) covers it. The terms are not visible from outside. But their
rounding can be varied: evaluate the same derivative with every parameter changed by a few units of rounding and with
the direction scaled by an odd factor. Whatever changes is rounding, whether it comes from cancellation or from the loss
being badly conditioned. The floor is a multiple of the largest change seen. It scales with the loss, the parameters and
the direction, so a loss multiplied by 1e-5 or 1e5 gets exactly the same verdict.

It is an estimate from a few draws, not a bound, and it is measured only where the relative criterion is not met.
"""

from __future__ import annotations

import numpy as np

from gradcheck.claim import Claim, Sample
from gradcheck.complex_step import ComplexStep
from gradcheck.directions import dot, norm
from gradcheck.scales import Block

__all__ = ["explained_by_rounding", "lost_digits", "rounding_floor", "single_rounding"]

SAFETY = 32  # the floor is this many times the largest of the changes
DRAWS = 4
JITTER = 4  # units of rounding by which parameters are changed
CLEAR = {False: 1e6, True: 1e2}  # a mismatch this many times the first change needs no further draws; True: single
GROSS = 512  # and this many units of rounding of the magnitude that a derivative could have had
STEPS = 8.0 ** -np.arange(2, 16, 2)  # in units of the natural one
TOTAL = 0.1  # fraction of a slope whose change means that a gradient in single precision says nothing about it
NOISE = 4  # units of rounding in a difference of two losses
LOST = 64  # units of rounding of a sum whose terms all cancelled
VANISHED = 4096 * float(np.finfo(np.float32).tiny)  # float32 rounds derivatives below to subnormal numbers, and to zero


def rounding_floor(claim: Claim, step: ComplexStep, block: Block, sample: Sample, seed: int) -> float:
    """Return by how much <g, v> and the numeric derivative of `sample` may differ through rounding alone.

    Parameters
    ----------
    claim : Claim
        Loss and gradient.
    step : ComplexStep
        The method.
    block : Block
        The elements that `sample` moves.
    sample : Sample
        A comparison that failed the relative criterion.
    seed : int
        For the draws.

    Returns
    -------
    float
        In units of the derivative along ``sample.direction``.

    Notes
    -----
    One evaluation of the loss if the mismatch is large; else four, and two of the gradient if it is callable.
    """
    rng = np.random.default_rng([seed, 0xF100])
    magnitude = claim.magnitude(block)
    largest = 0.0
    for _ in range(DRAWS):
        change = abs(_again(claim, step, block.name, sample, rng) - sample.slope.value)
        largest = max(largest, change)
        if sample.mismatch > max(CLEAR[claim.single] * largest, GROSS * claim.unit * magnitude):
            return SAFETY * largest
    largest = max(largest, claim.unit * abs(sample.slope.value)) + _gradient_change(claim, block.name, sample, rng)
    lost = lost_digits(claim, block)
    # All terms cancelled: nothing is left to measure. In single precision the reference is finer than the gradient.
    if sample.slope.value == 0 or (claim.coarser and abs(sample.slope.value) <= lost):
        return max(SAFETY * largest, lost)
    return SAFETY * largest


def single_rounding(claim: Claim, sample: Sample, name: str, seed: int) -> float:
    """Return the possible error of <g, v> of a gradient computed in single precision; 0 in double precision.

    Rounding in its pass acts like a change of the parameters by a few units, however precise the loss is. So central
    differences give the slopes of the loss at parameters changed in this way; the floor is a multiple of the changes of
    these slopes, or infinity if nearly the whole slope changes. If states diverge, only tiny steps show the slope at
    the point, so steps of many sizes are used. Numbers outside the range of float32 vanish in any case.

    Notes
    -----
    No evaluation, or 70 of the loss.
    """
    vanished = VANISHED * norm(sample.direction) if claim.single else 0.0
    if not claim.coarser:
        return vanished
    rng = np.random.default_rng([seed, 0x51261E])
    points = [claim.loss.base, *(_jitter(claim, rng) for _ in range(DRAWS))]
    natural, largest = claim.loss.natural({name: sample.direction}), 0.0
    for step in natural * STEPS:
        ends = [
            [claim.loss.trial({**point, name: point[name] + t * sample.direction}, name) for t in (step, -step)]
            for point in points
        ]
        slopes = [(right - left) / (2 * step) for right, left in ends]
        rounding = NOISE * claim.loss.eps * float(np.nanmax(np.abs(ends), initial=0.0)) / step
        changes = [abs(slope - slopes[0]) - 4 * rounding for slope in slopes[1:]]
        change = max((change for change in changes if np.isfinite(change)), default=0.0)
        if change > TOTAL * float(np.nanmax(np.abs(slopes))):
            return float("inf")
        largest = max(largest, change)
    return max(SAFETY * largest, vanished)


def lost_digits(claim: Claim, block: Block) -> float:
    """Return the rounding of a derivative with respect to `block` of the largest size that the problem suggests.

    A gradient can lose digits in a way that no small change of the parameters reveals: 1 - tanh(u)^2 of a
    saturated unit is a small difference of rounded numbers, whatever u is exactly. Such an error is at most of this
    size. A mismatch below it, but above the measured floor, proves nothing: the verdict is neither failed nor passed.
    Nor does one where derivatives leave the range of float32, as vanishing gradients do.
    """
    return max(LOST * claim.unit * claim.magnitude(block), VANISHED if claim.single else 0.0)


def explained_by_rounding(claim: Claim, block: Block, mismatch: float) -> bool:
    """Tell whether digits lost in the gradient could explain a mismatch along a direction of `block`.

    If only the gradient is in single precision, each of its elements carries its own rounding from a whole pass.
    """
    passes = 4 * float(np.sum(block.mask)) ** 0.5 if claim.coarser else 1.0
    return mismatch <= passes * lost_digits(claim, block)


def _jitter(claim: Claim, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the parameters, each element changed by a few units of rounding."""
    changes = {name: JITTER * claim.unit * rng.uniform(-1, 1, p.shape) for name, p in claim.loss.base.items()}
    return {name: p * (1 + changes[name]) for name, p in claim.loss.base.items()}


def _again(claim: Claim, step: ComplexStep, name: str, sample: Sample, rng: np.random.Generator) -> float:
    odd = rng.uniform(1.1, 1.9)
    return step.at(_jitter(claim, rng), {name: odd * sample.direction}, f"{name}, rounded anew")[1] / odd


def _gradient_change(claim: Claim, name: str, sample: Sample, rng: np.random.Generator) -> float:
    if claim.source is None or claim.single:
        return 0.0
    found = [claim.source.at(_jitter(claim, rng), "float64")[name] for _ in range(2)]
    return max(abs(dot(g, sample.direction) - sample.analytic) for g in found)

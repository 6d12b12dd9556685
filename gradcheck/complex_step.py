r"""The complex step: derivatives to machine precision, for functions that are analytic.

.. math:: \frac{d}{dt} f(p + t v)\Big|_0 = \frac{\operatorname{Im} f(p + i h v)}{h} + O(h^2)

Nothing is subtracted, so h can be so small that the remainder vanishes; only the rounding of the function's own
arithmetic remains.

Where the function is not analytic (abs, a real part, a cast to a real dtype) the formula gives a plausible wrong
number. `require_analytic` compares real differences to both sides with the slopes at p and p + s u,

.. math:: f(p \pm s u) - f(p) = \pm s f'(p) u + \tfrac{s}{2}\,(f'(p + s u) - f'(p))\,u + O(s^3),

for one u that moves all parameters; a kink at p shows on one of the two sides. This guarantee is coarse: a non-analytic
part below one ten-thousandth of the slope along u can escape it. `conjugate_part` is finer: it measures the derivative
with respect to the conjugate of the step, which is zero to rounding for an analytic function.

Source: W. Squire and G. Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40
(1998) 110-112.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradcheck.arrays import Host
from gradcheck.directions import Slope, norm, total
from gradcheck.evaluate import Function, NotAnalyticError
from gradcheck.scales import Block

STEP = 1e-20  # its square is far below rounding, and products of it stay above the smallest float32
LARGER_STEP = 1e-10  # where that would leave the range of float64: its square is below rounding too
SMALLEST = 1e-270  # sizes of parameters and losses below which STEP would do so
COARSE = 1e-4  # relative disagreement at which a loss counts as not analytic
SHIFTS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)  # tried in turn: curvature and kinks spoil large ones
ROUNDING = 64  # units of rounding allowed to a difference of two losses
CIRCLE = 16  # points of `conjugate_part`: its remainder is of fourteenth order in the radius
RADII = (1e-1, 1e-2, 1e-3)
CIRCLE_ROUNDING = 8  # units of rounding in a mean over the circle


class ComplexStep:
    """Derivatives of `loss` by the complex step.

    Parameters
    ----------
    loss : Function
        Must accept complex128 parameters and be analytic in them.
    """

    title = "complex step"
    cost = 1

    def __init__(self, loss: Function) -> None:
        self.function = loss

    def along(self, direction: Mapping[str, Host], where: str = "") -> Slope:
        """Return the derivative along `direction`, arrays by parameter name. One evaluation.

        Raises
        ------
        NotAnalyticError
            If the loss does not take complex numbers, or its value or derivative is not finite.
        FunctionError
            If the loss is not a scalar.
        """
        loss, slope = self.at(self.function.base, direction, where or " and ".join(direction))
        self.function.compare(loss)
        return Slope(slope)

    def at(self, point: Mapping[str, Host], direction: Mapping[str, Host], where: str) -> tuple[float, float]:
        """Return loss and derivative along `direction` at `point`."""
        step = self._step(direction)
        moved = {name: np.asarray(value, np.complex128) for name, value in point.items()}
        for name, v in direction.items():
            moved[name] = point[name] + 1j * (step * v)
        number = self.function.complex_at(moved, f"params with a complex step in {where}")
        if not np.isfinite(number.real):
            raise NotAnalyticError(f"it returned {number.real} for complex parameters")
        slope = number.imag / step
        if not np.isfinite(slope):
            raise NotAnalyticError(f"its complex derivative along {where} is {slope}")
        return number.real, slope

    def _step(self, direction: Mapping[str, Host]) -> float:
        size, loss = min(1.0, self.function.natural(direction)), abs(self.function.loss())
        return size * (LARGER_STEP if min(size, loss or 1.0) < SMALLEST else STEP)

    def conjugate_part(self, direction: Mapping[str, Host]) -> float:
        """Return the part of the derivative along `direction` that comes from the conjugate of the step: 0 if analytic.

        The minimum over circles of three radii, with its rounding. At most 48 evaluations, 96 for small elements.
        """
        base, least = self.function.base, np.inf
        angles = np.exp(2j * np.pi * (np.arange(CIRCLE) + 0.5) / CIRCLE)
        sizes = {self.function.natural(direction), self.function.wider(direction)}
        for h in (radius * size for size in sizes for radius in RADII):
            try:
                values = [
                    self.function.complex_at(
                        {name: base[name] + h * z * v for name, v in direction.items()}, "a circle around params"
                    )
                    for z in angles
                ]
            except NotAnalyticError:
                continue
            with np.errstate(over="ignore", invalid="ignore"):  # a loss may be infinite on the circle
                part = abs(sum(value * z for value, z in zip(values, angles, strict=True))) / (CIRCLE * h)
                found = part + CIRCLE_ROUNDING * self.function.eps * max(map(abs, values)) / h
            if np.isfinite(found):
                least = min(least, found)
        return least


def require_analytic(step: ComplexStep, slopes: Mapping[Block, tuple[Host, float]]) -> None:
    """Raise NotAnalyticError unless real differences agree with slopes already computed by the complex step.

    Parameters
    ----------
    step : ComplexStep
        The method under suspicion.
    slopes : mapping of Block to (array, float)
        A direction for each block and the slope along it.

    Notes
    -----
    Two evaluations if the loss is analytic and not strongly curved; at most twelve. A step at which rounding covers the
    change of the loss decides nothing; if that holds for all steps, the complex step is accepted.
    """
    base, loss, eps = step.function.base, step.function.loss(), step.function.eps
    direction = {name: np.zeros(p.shape) for name, p in base.items()}
    for block, (v, _) in slopes.items():
        direction[block.name] += block.size * v
    parts = np.array([block.size * slope for block, (_, slope) in slopes.items()])
    before = total(parts.tolist())
    doubt = None
    for s in SHIFTS:
        right = {name: value + s * direction[name] for name, value in base.items()}
        left = {name: value - s * direction[name] for name, value in base.items()}
        try:
            moved, after = step.at(right, direction, "all parameters, shifted")
        except NotAnalyticError as error:
            doubt = str(error)
            continue
        back = step.function.trial(left, "params, shifted")
        size = max(abs(before), abs(after), norm(parts))
        # Rounding inside the loss acts like a change of the parameters by some units of rounding.
        rounding = ROUNDING * eps * (abs(loss) + abs(moved) + size)
        room = COARSE * s * size + rounding
        bend = s / 2 * (after - before)
        sides = [(moved - loss, bend + s * before)]
        sides += [(back - loss, bend - s * before)] if np.isfinite(back) else []
        wrong = [(found, expected) for found, expected in sides if not abs(found - expected) <= room]
        if wrong:
            doubt = "a real step changes it by {:.6g} where its complex derivative says {:.6g}".format(*wrong[0])
        elif rounding <= 0.01 * s * size:
            return
    if doubt:
        raise NotAnalyticError(doubt)

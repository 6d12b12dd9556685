r"""The complex step: derivatives to machine precision, for functions that are analytic.

.. math:: \frac{d}{dt} f(p + t v)\Big|_0 = \frac{\operatorname{Im} f(p + i h v)}{h} + O(h^2)

Nothing is subtracted, so h can be so small that the remainder vanishes; what stays is the rounding of the function's
own arithmetic. The real part is f(p) itself, for free.

Where the function is not analytic (abs, a real part, a cast to a real dtype) the formula gives a plausible wrong
number. `require_analytic` compares one real difference with the slopes at both ends,

.. math:: f(p + s u) - f(p) = \tfrac{s}{2}\,(f'(p) + f'(p + s u))\,u + O(s^3),

for one u that moves all parameters. It costs one evaluation, since the slopes at p are known already. What it
guarantees is coarse: a part that carries less than one part in ten thousand of the slope along u can escape it.

Source: W. Squire and G. Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review 40
(1998) 110-112.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradcheck.arrays import Host
from gradcheck.directions import Slope, length_scale, total
from gradcheck.evaluate import Function, NotAnalyticError

STEP = 1e-20  # its square is far below rounding, and products of it stay above the smallest float32
COARSE = 1e-4  # relative disagreement at which a loss counts as not analytic
SHIFTS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)  # tried in turn: curvature and kinks spoil large ones
ROUNDING = 64  # units of rounding allowed to a difference of two losses


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
            If the loss does not take complex numbers or its derivative is not finite.
        FunctionError
            If the loss is not a finite scalar.
        """
        loss, slope = self.at(self.function.base, direction, where or " and ".join(direction))
        self.function.compare(loss)
        return Slope(slope)

    def at(self, point: Mapping[str, Host], direction: Mapping[str, Host], where: str) -> tuple[float, float]:
        """Return loss and derivative along `direction` at `point`."""
        step = STEP * min(1.0, *(length_scale(self.function.base[name]) for name in direction), 1.0)
        moved = {name: np.asarray(value, np.complex128) for name, value in point.items()}
        for name, v in direction.items():
            moved[name] = point[name] + 1j * (step * v)
        number = self.function.complex_at(moved, f"params with a complex step in {where}")
        slope = number.imag / step
        if np.isfinite(number.real) and not np.isfinite(slope):
            raise NotAnalyticError(f"its complex derivative along {where} is {slope}")
        return number.real, slope


def require_analytic(step: ComplexStep, slopes: Mapping[str, tuple[Host, float]]) -> None:
    """Raise NotAnalyticError unless a real difference agrees with slopes already taken by the complex step.

    Parameters
    ----------
    step : ComplexStep
        The method under suspicion.
    slopes : mapping of str to (array, float)
        A direction for each parameter and the slope along it.

    Notes
    -----
    One evaluation where the loss is analytic and not wildly curved; six at most. A step at which rounding covers the
    change of the loss decides nothing; if that holds for all steps, the complex step gets the benefit of the doubt.
    """
    loss, eps = step.function.loss(), step.function.eps
    scale = {name: length_scale(step.function.base[name]) for name in slopes}
    direction = {name: scale[name] * v for name, (v, _) in slopes.items()}
    parts = [scale[name] * slope for name, (_, slope) in slopes.items()]
    before = total(parts)
    doubt = None
    for s in SHIFTS:
        point = {name: value + s * direction.get(name, 0.0) for name, value in step.function.base.items()}
        moved, after = step.at(point, direction, "all parameters, shifted")
        size = max(abs(before), abs(after), float(np.linalg.norm(parts)))
        # Rounding inside the loss acts like a change of the parameters by some units of rounding.
        rounding = ROUNDING * eps * (abs(loss) + abs(moved) + size)
        expected = s / 2 * (before + after)
        if not abs(moved - loss - expected) <= COARSE * s * size + rounding:
            doubt = f"a real step changes it by {moved - loss:.6g} where its complex derivative says {expected:.6g}"
        elif rounding <= 0.01 * s * size:
            return
    if doubt:
        raise NotAnalyticError(doubt)

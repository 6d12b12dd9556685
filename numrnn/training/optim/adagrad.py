"""Adagrad: a learning rate per element that decreases with the sum of its squared gradients.

References
----------
J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 12,
2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy.typing as npt

from numrnn.backend import Array, array_namespace
from numrnn.checks import check_number
from numrnn.kernels import Kernel
from numrnn.training.optim.base import LearningRate, Optimizer

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """A learning rate per element that decreases with the sum of its squared gradients.

        s <- s + g^2
        p <- p - r g / (sqrt(s) + epsilon)

    Parameters
    ----------
    learning_rate : float or callable
        r > 0, or a function step -> r >= 0.
    epsilon : float
        > 0; keeps the quotient finite before the first gradient.
    multipliers, step_scales : mapping or None
        As for `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Notes
    -----
    In float32 the square of a gradient below 1e-23 is 0; its element then does not move as it would in float64.
    """

    name: ClassVar[str] = "adagrad"
    slots: ClassVar[tuple[str, ...]] = ("square_sum",)

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        epsilon: float = 1e-10,
        multipliers: Mapping[str, float] | None = None,
        step_scales: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        super().__init__(learning_rate, multipliers=multipliers, step_scales=step_scales)
        self.epsilon = check_number("epsilon", epsilon, above=0)

    def _constants(self, rate: float, scale: Any, step: int, name: str) -> tuple[Any, ...]:
        return rate * scale, self.epsilon

    kernel: ClassVar[Kernel] = Kernel(
        name="adagrad",
        inputs="T p, T g, T s0, T rate, T epsilon",
        outputs="T q, T s",
        operation="""
            s = s0 + g * g;
            q = p - rate * g / (sqrt(s) + epsilon);
        """,
    )

    def _one(self, p: Array, g: Array, *slots: Array, constants: tuple[Any, ...]) -> tuple[Array, ...]:
        (s,), (rate, epsilon) = slots, constants
        s = s + g * g
        return p - rate * g / (array_namespace(s).sqrt(s) + epsilon), s

    def _config(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}

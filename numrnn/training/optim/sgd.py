"""Stochastic gradient descent with momentum, classical or Nesterov's.

References
----------
I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep learning",
ICML 2013.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy.typing as npt

from numrnn.backend import Array
from numrnn.checks import check_bool, check_fraction
from numrnn.kernels import Kernel
from numrnn.training.optim.base import LearningRate, Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum mu, in torch's convention.

        v <- mu v + g
        p <- p - r v              or, by Nesterov, p <- p - r (g + mu v)

    Parameters
    ----------
    learning_rate : float or callable
        r > 0, or a function step -> r >= 0.
    momentum : float
        mu, 0 <= mu < 1.
    nesterov : bool
        Needs momentum > 0.
    multipliers, step_scales : mapping or None
        As for `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"w": np.array([1.0])}
    >>> optimizer = SGD(0.5, momentum=0.9)
    >>> params, state = optimizer.update(params, {"w": np.array([0.5])}, optimizer.init(params))
    >>> params["w"], state["step"]
    (array([0.75]), 1)
    """

    name: ClassVar[str] = "sgd"
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        multipliers: Mapping[str, float] | None = None,
        step_scales: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        super().__init__(learning_rate, multipliers=multipliers, step_scales=step_scales)
        self.momentum = check_fraction("momentum", momentum)
        self.nesterov = check_bool("nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov must go with momentum > 0, got momentum 0")

    def _constants(self, rate: float, scale: Any, step: int, name: str) -> tuple[Any, ...]:
        return rate * scale, self.momentum, float(self.nesterov)

    kernel: ClassVar[Kernel] = Kernel(
        name="sgd",
        inputs="T p, T g, T v0, T rate, T mu, T ahead",
        outputs="T q, T v",
        operation="""
            v = mu * v0 + g;
            q = p - rate * (ahead != T(0) ? g + mu * v : v);
        """,
    )

    def _one(self, p: Array, g: Array, *slots: Array, constants: tuple[Any, ...]) -> tuple[Array, ...]:
        (v,), (rate, momentum, nesterov) = slots, constants
        v = momentum * v + g
        direction = g + momentum * v if nesterov else v
        return p - rate * direction, v

    def _config(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "nesterov": self.nesterov}

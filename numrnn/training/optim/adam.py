"""Adam, with running means of the gradient and of its square, and AdamW, with weight decay.

References
----------
D. P. Kingma, J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, arXiv:1412.6980.
I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy.typing as npt

from numrnn.backend import Array, Params, array_namespace
from numrnn.checks import check_fraction, check_number, shown
from numrnn.kernels import Kernel
from numrnn.training.optim.base import LearningRate, Optimizer, State, check_known

__all__ = ["Adam", "AdamW"]

# Scalars of both kernels, in the order of `_constants`.
_CONSTANTS = "T rate, T beta1, T rest1, T beta2, T rest2, T scale, T epsilon"
_MEANS = """
            m = beta1 * m0 + rest1 * g;
            v = beta2 * v0 + rest2 * (g * g);"""
_STEP = "rate * (m / (sqrt(v) / scale + epsilon))"


class Adam(Optimizer):
    """Running means of gradient and squared gradient, corrected for their initial value of zero.

        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        p <- p - r / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon),    t = 1, 2, ...

    Parameters
    ----------
    learning_rate : float or callable
        r > 0, or a function step -> r >= 0.
    beta1, beta2 : float
        From 0 to 1, 1 excluded.
    epsilon : float
        > 0.
    multipliers, step_scales : mapping or None
        As for `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    name: ClassVar[str] = "adam"
    slots: ClassVar[tuple[str, ...]] = ("mean", "square_mean")

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        multipliers: Mapping[str, float] | None = None,
        step_scales: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        super().__init__(learning_rate, multipliers=multipliers, step_scales=step_scales)
        self.beta1 = check_fraction("beta1", beta1)
        self.beta2 = check_fraction("beta2", beta2)
        self.epsilon = check_number("epsilon", epsilon, above=0)

    def _constants(self, rate: float, scale: Any, step: int, name: str) -> tuple[Any, ...]:
        beta1, beta2 = self.beta1, self.beta2
        root = math.sqrt(1 - beta2**step)
        return rate / (1 - beta1**step) * scale, beta1, 1 - beta1, beta2, 1 - beta2, root, self.epsilon

    kernel: ClassVar[Kernel] = Kernel(
        name="adam",
        inputs=f"T p, T g, T m0, T v0, {_CONSTANTS}",
        outputs="T q, T m, T v",
        operation=f"""{_MEANS}
            q = p - {_STEP};
        """,
    )

    def _one(self, p: Array, g: Array, *slots: Array, constants: tuple[Any, ...]) -> tuple[Array, ...]:
        (m, v), (rate, beta1, rest1, beta2, rest2, root, epsilon) = slots, constants
        m = beta1 * m + rest1 * g
        v = beta2 * v + rest2 * (g * g)
        return p - rate * (m / (array_namespace(v).sqrt(v) / root + epsilon)), m, v

    def _config(self) -> dict[str, Any]:
        return {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}


class AdamW(Adam):
    """Adam with a decay lambda of every parameter towards 0, not scaled by the running means.

        p <- (1 - r lambda) p - (the step of Adam)

    Parameters
    ----------
    learning_rate : float or callable
        r > 0, or a function step -> r >= 0.
    weight_decay : float
        lambda >= 0, with r lambda < 1; `multipliers` scale r in both terms, `step_scales` in the step alone.
    undecayed : collection of str
        Parameters without decay, usually biases; by default none, as in torch.
    beta1, beta2, epsilon
        As for `Adam`.
    multipliers, step_scales : mapping or None
        As for `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range; in `init` if a name in `undecayed` is not a parameter; in
        `update` if r lambda is not below 1.

    Examples
    --------
    >>> import numpy as np
    >>> params = {"w": np.array([2.0])}
    >>> optimizer = AdamW(0.5, weight_decay=0.25)
    >>> params, _ = optimizer.update(params, {"w": np.array([0.0])}, optimizer.init(params))
    >>> params["w"]
    array([1.75])
    """

    name: ClassVar[str] = "adamw"

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        weight_decay: float = 0.01,
        undecayed: Collection[str] = (),
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        multipliers: Mapping[str, float] | None = None,
        step_scales: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=epsilon,
            multipliers=multipliers,
            step_scales=step_scales,
        )
        self.weight_decay = check_number("weight_decay", weight_decay, at_least=0)
        if (
            isinstance(undecayed, str)
            or not isinstance(undecayed, Collection)
            or getattr(undecayed, "ndim", 1) == 0
            or not all(isinstance(name, str) for name in undecayed)
        ):
            raise TypeError(f"undecayed must be a collection of names, got {shown(undecayed)}")
        self.undecayed = tuple(sorted(set(undecayed)))

    def init(self, params: Params) -> State:
        """See `Optimizer.init`; also raises ValueError if a name in `undecayed` is not a parameter."""
        state = super().init(params)
        check_known("undecayed", self.undecayed, params)
        return state

    def _constants(self, rate: float, scale: Any, step: int, name: str) -> tuple[Any, ...]:
        keep = 1.0 if name in self.undecayed else 1 - rate * self.weight_decay
        if keep <= 0:
            raise ValueError(f"weight_decay must be below 1 / learning rate = {1 / rate:.4g}, got {self.weight_decay}")
        return keep, *super()._constants(rate, scale, step, name)

    kernel: ClassVar[Kernel] = Kernel(
        name="adamw",
        inputs=f"T p, T g, T m0, T v0, T keep, {_CONSTANTS}",
        outputs="T q, T m, T v",
        operation=f"""{_MEANS}
            q = keep * p - {_STEP};
        """,
    )

    def _one(self, p: Array, g: Array, *slots: Array, constants: tuple[Any, ...]) -> tuple[Array, ...]:
        keep, *of_adam = constants
        return super()._one(keep * p, g, *slots, constants=tuple(of_adam))

    def _config(self) -> dict[str, Any]:
        # Only if given: otherwise older checkpoints would seem to be of another optimiser.
        undecayed = {"undecayed": list(self.undecayed)} if self.undecayed else {}
        return {"weight_decay": self.weight_decay, **undecayed, **super()._config()}

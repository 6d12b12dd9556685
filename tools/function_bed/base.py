"""One entry of the bed: a function, its hand-written gradient, mistakes planted in that gradient, and the points.

A gradient is written as in reverse mode: ``gradient(c, *inputs)`` returns, for each input x, the derivative of sum(c *
f(inputs)) with respect to x. The loss under check is L = factor * sum(w * f), with fixed random weights w of both
signs: with equal weights the softmax, the normalisations and every mean would hide mistakes.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradcheck.mutants import Instance

Array = np.ndarray
Draw = Callable[[np.random.Generator], Array]

SMALL, ONE, LARGE = 1e-8, 1.0, 1e8
UP_TO_ONE, FROM_ONE, ALL = (SMALL, ONE), (ONE, LARGE), (SMALL, ONE, LARGE)
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Setting:
    """A precision, a factor on the point, and a factor on the loss."""

    dtype: str
    scale: float
    factor: float

    def __str__(self) -> str:
        return f"{self.dtype}, point x {self.scale:g}, loss x {self.factor:g}"


def settings(scales: Sequence[float]) -> list[Setting]:
    """Return the settings of a function: every scale of the point, and at scale 1 two more scales of the loss."""
    pairs = [(scale, 1.0) for scale in scales] + [(ONE, SMALL), (ONE, LARGE)]
    return [Setting(dtype, *pair) for dtype in DTYPES for pair in pairs]


@dataclass(frozen=True)
class Function:
    """One entry of the bed.

    Attributes
    ----------
    name : str
        Unique in the bed.
    value : callable
        ``value(*inputs)`` returns an array, in the dtype of the inputs.
    gradient : callable
        ``gradient(c, *inputs)``: one array for each input, or the array itself if there is one input.
    point : mapping of str to callable
        Draws each input from a random generator, at scale 1.
    mistakes : mapping of str to callable, or sequence of str
        Wrong gradients, called like `gradient`; or names, for which ``gradient(..., mistake=name)`` is called.
    scales : tuple of float
        Factors on the inputs that leave the function in its domain, in the range of float32, and with a gradient.
    scaled : tuple of str or None
        The inputs that the factor multiplies; None: all.
    smooth : bool
        Whether the function is infinitely differentiable at the drawn point.
    family : str
        Its heading on the page.
    """

    name: str
    value: Callable[..., Array]
    gradient: Callable[..., Any]
    point: Mapping[str, Draw]
    mistakes: Mapping[str, Callable[..., Any]] | Sequence[str]
    scales: tuple[float, ...] = (ONE,)
    scaled: tuple[str, ...] | None = None
    smooth: bool = True
    family: str = ""

    def wrong(self) -> dict[str, Callable[..., Any]]:
        """Return the wrong gradients by the names of their mistakes."""
        if isinstance(self.mistakes, Mapping):
            return dict(self.mistakes)
        return {name: functools.partial(self.gradient, mistake=name) for name in self.mistakes}

    def at(self, setting: Setting) -> Instance:
        """Return loss, right gradient, wrong gradients and parameters at `setting`."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        params = {name: np.asarray(draw(rng)) for name, draw in self.point.items()}
        for name in self.scaled or params:
            params[name] = params[name] * setting.scale
        params = {name: np.asarray(value, setting.dtype) for name, value in params.items()}
        weights = away(*np.shape(self.value(*params.values())))(rng)
        names = tuple(params)

        def loss(p: Mapping[str, Array]) -> Any:
            with np.errstate(all="ignore"):  # checkers also evaluate far from the point
                result = self.value(*(p[name] for name in names))
                return np.sum(weights.astype(result.real.dtype) * result) * setting.factor

        def contracted(gradient: Callable[..., Any]) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
            def pulled_back(p: Mapping[str, Array]) -> dict[str, Array]:
                inputs = [p[name] for name in names]
                with np.errstate(all="ignore"):
                    found = gradient((setting.factor * weights).astype(inputs[0].dtype), *inputs)
                return dict(zip(names, found if isinstance(found, tuple) else (found,), strict=True))

            return pulled_back

        wrong = {name: contracted(gradient) for name, gradient in self.wrong().items()}
        return Instance(loss, contracted(self.gradient), params, wrong)


def unary(
    name: str,
    value: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    mistakes: Mapping[str, Callable[[Array], Array]],
    scales: tuple[float, ...] = (ONE,),
    x: Draw | None = None,
) -> Function:
    """Return the entry of a function of one variable, element by element, from its derivative."""

    def times(slope: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
        return lambda c, x: c * slope(x)

    wrong = {mistake: times(slope) for mistake, slope in mistakes.items()}
    return Function(name, value, times(slope), {"x": x or away(3, 4)}, wrong, scales)


def family(heading: str, *functions: Function) -> list[Function]:
    """Return `functions` with their heading."""
    return [replace(function, family=heading) for function in functions]


def unbroadcast(g: Array, like: Array) -> Array:
    """Sum `g` over the axes along which an array of the shape of `like` was repeated to its shape."""
    g = g.sum(axis=tuple(range(g.ndim - like.ndim)))
    return g.sum(axis=tuple(k for k, size in enumerate(like.shape) if size == 1), keepdims=True)


def between(low: float, high: float, *shape: int) -> Draw:
    """Draw uniformly from an interval."""
    return lambda rng: rng.uniform(low, high, shape)


def positive(*shape: int) -> Draw:
    """Draw numbers from 0.4 to 2."""
    return between(0.4, 2.0, *shape)


def normal(*shape: int) -> Draw:
    """Draw standard normal numbers."""
    return lambda rng: rng.standard_normal(shape)


def away(*shape: int) -> Draw:
    """Draw numbers of both signs with magnitudes from 0.3 to 1.8: far from zero, where many functions have a kink."""
    return lambda rng: rng.uniform(0.3, 1.8, shape) * rng.choice([-1.0, 1.0], shape)


def apart(*shape: int) -> Draw:
    """Draw numbers of both signs of which no two, and none and zero, are closer than 0.08: no ties."""

    def draw(rng: np.random.Generator) -> Array:
        size = int(np.prod(shape))
        ladder = 0.25 * (np.arange(size) - size // 2) + 0.12
        return rng.permutation(ladder + rng.uniform(-0.03, 0.03, size)).reshape(shape)

    return draw


def constant(*values: Any) -> Draw:
    """Return the same numbers always: for points on a kink."""
    return lambda rng: np.array(values[0] if len(values) == 1 else values, dtype=float)

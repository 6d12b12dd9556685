"""A claim to check: a loss, what is said to be its gradient, and single comparisons of the two along a direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arrays import Host, dtype_name
from gradcheck.directions import Slope, dot, gaussian, length_scale, rms
from gradcheck.evaluate import Function, FunctionError
from gradcheck.numeric import Method
from gradcheck.tree import Tree, match_gradient

SINGLE_EPS = float(np.finfo(np.float32).eps)


class Source:
    """A callable gradient: called at copies of the parameters, its answer compared with them in shape and dtype."""

    def __init__(self, gradient: Callable[[Any], Any], tree: Tree) -> None:
        self.tree = tree
        self.function = Function(gradient, tree, "gradient")

    def at(self, values: Mapping[str, Host], dtype: str) -> dict[str, Host]:
        """Return the gradient at `values` cast to `dtype`, as float64 arrays on the host."""
        found = self.function.call({name: value.astype(dtype) for name, value in values.items()}, f"{dtype} params")
        return match_gradient(found, self.tree, dtype)


@dataclass
class Claim:
    """What a check compares.

    Attributes
    ----------
    loss : Function
        The function.
    gradient : dict of str to ndarray
        Its derivative according to the user, in float64 on the host.
    source : Source or None
        The gradient as a function, where the user gave one.
    eps : float
        Unit of rounding of the gradient: of float32 if it was computed in that.
    notes : list of str
        What came up on the way.
    """

    loss: Function
    gradient: dict[str, Host]
    source: Source | None
    eps: float
    notes: list[str]

    @property
    def unit(self) -> float:
        """The coarser unit of rounding of loss and gradient."""
        return max(self.eps, self.loss.eps)

    @property
    def single(self) -> bool:
        """Whether loss or gradient computes in single precision."""
        return self.unit >= SINGLE_EPS

    @property
    def count(self) -> int:
        """Calls so far of both functions."""
        return self.loss.count + (self.source.function.count if self.source else 0)

    def magnitude(self, name: str) -> float:
        """Return the size that a derivative by `name` could have had, judging by the other parameters and the loss."""
        norms = [float(np.linalg.norm(g)) for g in self.gradient.values()]
        return max(*norms, abs(self.loss.loss()) / max(1.0, length_scale(self.loss.base[name])))


def make_claim(loss: Callable[[Any], Any], gradient: Any, tree: Tree) -> Claim:
    """Evaluate the gradient and return the claim.

    A callable gradient of float32 parameters is evaluated at the same parameters in float64: its formulas can be
    verified there to full precision. Where it refuses them, and for a gradient given as arrays, the float32 values
    are compared themselves.
    """
    function = Function(loss, tree)
    native = dtype_name(next(iter(tree.arrays.values())))
    if not callable(gradient):
        return Claim(function, match_gradient(gradient, tree, native), None, float(np.finfo(native).eps), [])
    source, notes = Source(gradient, tree), []
    try:
        found, dtype = source.at(function.base, "float64"), "float64"
    except FunctionError as error:
        if native == "float64" or error.__cause__ is None:
            raise
        found, dtype = source.at(function.base, native), native
        notes.append(f"the gradient refused float64 parameters ({error.__cause__}), so float32 values were compared")
    return Claim(function, found, source, float(np.finfo(dtype).eps), notes)


@dataclass(frozen=True)
class Sample:
    """One comparison along one direction.

    Attributes
    ----------
    direction : ndarray
        v.
    analytic : float
        <g, v>.
    slope : Slope
        The numeric derivative.
    scale : float
        norm(g) * rms(v): the size of <e, v> for an error e as large as g. For an element, its own size.
    index : tuple of int or None
        The element, where the direction is that of one.
    """

    direction: Host
    analytic: float
    slope: Slope
    scale: float
    index: tuple[int, ...] | None = None

    @property
    def mismatch(self) -> float:
        """Distance of the two values."""
        return abs(self.analytic - self.slope.value)

    @property
    def relative(self) -> float:
        """Distance, relative to the larger of `scale` and the numeric value."""
        size = max(self.scale, abs(self.slope.value))
        return self.mismatch / size if size else 0.0


def take_sample(claim: Claim, method: Method, name: str, *key: int) -> Sample:
    """Compare along a Gaussian direction that depends on `key`."""
    v = gaussian(claim.gradient[name].shape, *key)
    return compare(claim, name, v, method.along({name: v}))


def compare(claim: Claim, name: str, v: Host, slope: Slope) -> Sample:
    """Return the comparison of the claimed gradient with `slope` along `v`."""
    g = claim.gradient[name]
    return Sample(v, dot(g, v), slope, float(np.linalg.norm(g)) * rms(v))

"""A claim to check: a loss, its claimed gradient, and single comparisons of the two along a direction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arrays import Host
from gradcheck.directions import Slope, dot, norm, rms
from gradcheck.evaluate import Function, FunctionError
from gradcheck.numeric import Method
from gradcheck.scales import Block
from gradcheck.tree import NarrowedError, Tree, match_gradient

SINGLE_EPS = float(np.finfo(np.float32).eps)
NARROWED = (
    "{} narrowed float64 to float32, so the check is in float32 and shows about four digits; "
    "enable 64-bit numbers there (in JAX jax_enable_x64) for twelve"
)


class Source:
    """A callable gradient, called with copies of the parameters; its result must match them in shape and dtype."""

    def __init__(self, gradient: Callable[[Any], Any], tree: Tree) -> None:
        self.tree = tree
        self.function = Function(gradient, tree, "gradient")

    def at(self, values: Mapping[str, Host], dtype: str) -> dict[str, Host]:
        """Return the gradient at `values` cast to `dtype`, as float64 arrays on the host."""
        found = self.function.call({name: value.astype(dtype) for name, value in values.items()}, f"{dtype} params")
        return match_gradient(found, self.tree, dtype)

    def best(self) -> tuple[dict[str, Host], str, list[str]]:
        """Return the gradient at the parameters, in float64 if possible, its dtype, and a note if it was not."""
        native = self.tree.dtype
        if self.function.narrowed:
            return self.at(self.function.base, "float32"), "float32", []
        try:
            return self.at(self.function.base, "float64"), "float64", []
        except NarrowedError:
            if native == "float64":
                raise
            note = "the gradient is float32 for float64 parameters too, so float32 values were compared"
            return self.at(self.function.base, native), native, [note]
        except FunctionError as error:
            if native == "float64" or error.__cause__ is None:
                raise
            note = f"the gradient refused float64 parameters ({error.__cause__}), so float32 values were compared"
            return self.at(self.function.base, native), native, [note]


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
        Remarks for the report.
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
    def coarser(self) -> bool:
        """Whether the gradient was computed in a lower precision than the loss: in float32 with a float64 loss."""
        return self.eps > self.loss.eps

    @property
    def single(self) -> bool:
        """Whether loss or gradient computes in single precision."""
        return self.unit >= SINGLE_EPS

    @property
    def count(self) -> int:
        """Calls so far of both functions."""
        return self.loss.count + (self.source.function.count if self.source else 0)

    @property
    def blocks(self) -> list[Block]:
        """The blocks of all parameters, each of which is tried separately."""
        return [block for found in self.loss.blocks.values() for block in found]

    def magnitude(self, block: Block) -> float:
        """Return the size that a derivative with respect to `block` could have had, judging by the others and the loss.

        The gradient with respect to smaller elements than those of `block` is larger for that reason alone.
        """
        sizes = [norm(self.gradient[b.name][b.mask]) * min(1.0, b.size / block.size) for b in self.blocks]
        return max(*sizes, max(abs(self.loss.loss()), self.far) / max(1.0, block.size))

    @functools.cached_property
    def far(self) -> float:
        """The size of the loss at newly drawn parameters; 0 unless only the gradient is in single precision.

        A loss that cancels at the parameters does not show how large the terms of a float32 gradient are.
        """
        if not self.coarser:
            return 0.0
        points = [self.nearby(2.0, key, 0xFA12) for key in range(2)]
        values = [abs(self.loss.trial(point, "params, drawn anew")) for point in points]
        return max((value for value in values if np.isfinite(value)), default=0.0)

    def nearby(self, distance: float, *key: int) -> dict[str, Host]:
        """Return the parameters, each element changed by up to `distance` times the size of its block."""
        rng = np.random.default_rng(list(key))
        sizes = self.loss.sizes
        return {name: p + distance * sizes[name] * rng.uniform(-1, 1, p.shape) for name, p in self.loss.base.items()}


def make_claim(loss: Callable[[Any], Any], gradient: Any, tree: Tree) -> Claim:
    """Evaluate loss and gradient at the parameters and return the claim.

    A callable gradient of float32 parameters is evaluated at the same parameters in float64: its formulas can be
    verified there to full precision. If it refuses them, and for a gradient given as arrays, the float32 values
    themselves are compared.

    Raises
    ------
    TypeError, ValueError
        If the gradient does not match the parameters.
    FunctionError
        A ValueError: if loss or gradient raise at the parameters, or the loss is not a finite scalar there.
    """
    function, native = Function(loss, tree), tree.dtype
    notes = [NARROWED.format(function.narrowed)] if function.narrowed else []
    source, eps = None, float(np.finfo(native).eps)
    if not callable(gradient):
        found = match_gradient(gradient, tree, native)
    else:
        source = Source(gradient, tree)
        found, dtype, refusal = source.best()
        notes += refusal
        eps = float(np.finfo(dtype).eps)
    claim = Claim(function, found, source, eps, notes)
    refused = function.settle()
    if refused:
        notes.append(refused)
    return claim


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
        The element, if the direction moves only one.
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


def take_sample(claim: Claim, method: Method, block: Block, *key: int) -> Sample:
    """Compare along a Gaussian direction that depends on `key`."""
    v = block.direction(*key)
    return compare(claim, block, v, method.along({block.name: v}))


def compare(claim: Claim, block: Block, v: Host, slope: Slope) -> Sample:
    """Return the comparison of the claimed gradient with `slope` along `v`, which lies in `block`."""
    g, along = claim.gradient[block.name][block.mask], v[block.mask]
    return Sample(v, dot(g, along), slope, norm(g) * rms(along))

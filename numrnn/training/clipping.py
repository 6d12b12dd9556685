"""The norm of a gradient, and clipping by it.

References
----------
R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
"""

from __future__ import annotations

import functools
import math
import sys

from numrnn.backend import Array, Params, array_namespace, astype, on_their_device
from numrnn.checks import check_arrays, check_number, dtype_name
from numrnn.kernels import Kernel, Reduction, has_kernel

__all__ = ["clip_by_global_norm", "clip_on_device", "global_norm", "norm_on_device"]


@on_their_device
def clip_by_global_norm(grads: Params, max_norm: float) -> tuple[dict[str, Array], float]:
    """Scale all gradients by one factor so that their common Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    grads : mapping of str to array
        Gradients of any shapes; float32 or float64.
    max_norm : float
        > 0.

    Returns
    -------
    grads : dict of str to array
        grads * min(1, max_norm / norm), dtypes kept; the same arrays if nothing is scaled.
    norm : float
        The norm before scaling. NaN or infinity if a gradient has one: then nothing is scaled, since a factor of 0 or
        NaN would only hide its source.

    Raises
    ------
    TypeError, ValueError
        If `grads` is no mapping to arrays of one precision, or `max_norm` is not a number > 0.

    Examples
    --------
    >>> import numpy as np
    >>> clipped, norm = clip_by_global_norm({"w": np.array([3.0, 4.0])}, 1.0)
    >>> clipped["w"], norm
    (array([0.6, 0.8]), 5.0)
    """
    max_norm = check_number("max_norm", max_norm, above=0)
    norm = float(norm_on_device(grads)) if check_arrays("grads", grads) else 0.0
    if not math.isfinite(norm) or norm <= max_norm:
        return dict(grads), norm
    factor = max_norm / norm
    return {name: g * factor for name, g in grads.items()}, norm


# `clip_on_device` as kernels: the factor of all gradients, and a gradient times that factor.
FACTOR = Kernel(
    name="factor",
    inputs="float64 norm, float64 bound",
    outputs="float64 factor",
    operation="factor = isfinite(norm) && norm > bound ? bound / norm : 1.0;",
)
SCALE = Kernel(name="scale", inputs="T g, float64 factor", outputs="T scaled", operation="scaled = g * T(factor);")


@on_their_device
def clip_on_device(grads: Params, max_norm: float) -> tuple[dict[str, Array], Array]:
    """Return the result of `clip_by_global_norm`, bit for bit, without synchronising: the norm has shape ().

    Gradients that need no scaling are multiplied by one.
    """
    norm = norm_on_device(grads)
    if all(map(has_kernel, grads.values())):
        factor = FACTOR(norm, max_norm, like=norm)
        return {name: SCALE(g, factor, like=g) for name, g in grads.items()}, norm
    xp = array_namespace(norm)
    too_large = xp.isfinite(norm) & (norm > max_norm)
    one = xp.ones_like(norm)
    factor = xp.where(too_large, max_norm / xp.where(too_large, norm, one), one)
    return {name: g * astype(factor, g.dtype) for name, g in grads.items()}, norm


def global_norm(arrays: Params) -> float:
    """Return the Euclidean norm of all elements of all arrays together, summed in float64.

    Elements are first divided by the largest one, so that no square overflows or underflows.
    """
    return float(norm_on_device(arrays)) if check_arrays("arrays", arrays) else 0.0


# `norm_on_device` as kernels, for float32 only: no square of a float32 overflows or underflows in float64.
SQUARES = Reduction(name="squares", inputs="T g", outputs="float64 total", term="double(g) * double(g)")


@functools.cache
def _norm_of(count: int) -> Kernel:
    """Return the kernel for the norm from `count` sums of squares, each of shape ()."""
    names = [f"s{k}" for k in range(count)]
    inputs, total = ", ".join(f"float64 {name}" for name in names), " + ".join(names)
    return Kernel(name=f"norm_{count}", inputs=inputs, outputs="float64 length", operation=f"length = sqrt({total});")


@on_their_device
def norm_on_device(arrays: Params) -> Array:
    """Return the norm of `global_norm` as an array of shape (), float64, without synchronising; at least one array."""
    values = list(arrays.values())
    xp = array_namespace(*values)
    if all(has_kernel(array) and dtype_name(array) == "float32" for array in values):
        return _norm_of(len(values))(*(SQUARES(array, like=array) for array in values), like=values[0])
    peak = xp.max(xp.stack([astype(xp.max(xp.abs(array)), xp.float64) for array in values]))
    # A peak of 0, NaN or infinity is the norm; the sum is then unused and must not warn.
    sound = xp.isfinite(peak) & (peak > 0)
    divisor = xp.where(sound, peak, xp.full_like(peak, sys.float_info.max))
    total = xp.zeros_like(peak)
    for array in values:
        scaled = astype(array, xp.float64) / divisor
        total = total + xp.sum(scaled * scaled)
    return xp.where(sound, peak * xp.sqrt(total), peak)

r"""Random directions, and what agreement along them says about the whole gradient.

For :math:`v \sim N(0, I)` and an error :math:`e` of the gradient, :math:`\langle e, v\rangle \sim N(0, \|e\|^2)`, whose
density is at most :math:`1/(\|e\|\sqrt{2\pi})`. Hence

.. math:: P(|\langle e, v\rangle| \le d\,\|e\|) \le d\sqrt{2/\pi}.

If K independent directions agree to within t, then :math:`\|e\| \le t/d`, unless an event of probability at most
:math:`(d\sqrt{2/\pi})^K` happened. The number of elements does not enter.

Norms and inner products are computed on numbers divided by a power of two near the largest, so that no square overflows
or underflows: they are right whenever their result can be represented.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.arrays import Host


@dataclass(frozen=True)
class Slope:
    """A derivative of the loss along a direction.

    Attributes
    ----------
    value : float
        The derivative.
    error : float
        The method's own estimate of its error; 0 for the complex step, which has only rounding (see `floor`).
    kink : tuple of float or None
        Slopes to the left and to the right where they do not converge to each other.
    """

    value: float
    error: float = 0.0
    kink: tuple[float, float] | None = None


def gaussian(shape: tuple[int, ...], *key: int) -> Host:
    """Return standard normal numbers that depend on `key` alone, so that a seed reproduces a check."""
    return np.random.default_rng(list(key)).standard_normal(shape)


def _exponent(values: Host) -> int:
    """Return e with max|values| in [2^(e - 1), 2^e), 0 if there is no such number."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return math.frexp(largest)[1] if math.isfinite(largest) else 0


def _scaled(values: Any, exponent: int) -> Host:
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(values, exponent)


def norm(values: Host) -> float:
    """Return the Euclidean norm of `values`."""
    exponent = _exponent(values)
    return float(_scaled(np.linalg.norm(_scaled(values, -exponent)), exponent))


def rms(values: Host) -> float:
    """Return the root mean square of `values`."""
    return norm(values) / math.sqrt(values.size)


def length_scale(values: Host) -> float:
    """Return the size of a parameter's elements, 1 for a parameter of zeros."""
    return rms(values) or 1.0


def dot(a: Host, b: Host) -> float:
    """Return the sum of products, correctly rounded: the checker itself adds no rounding."""
    left, right = _exponent(a), _exponent(b)
    with np.errstate(under="ignore"):
        products = _scaled(a, -left) * _scaled(b, -right)
    return float(_scaled(math.fsum(products.ravel().tolist()), left + right))


def total(values: Iterable[float]) -> float:
    """Return the sum, correctly rounded."""
    return math.fsum(values)


def chance_of_miss(d: float, directions: int) -> float:
    """Return the bound on the chance that `directions` Gaussian directions all show less than `d` of an error."""
    return min(1.0, d * math.sqrt(2 / math.pi)) ** directions


def confidence(agreement: float, directions: int) -> str:
    """Say what agreement to within `agreement` (relative) along `directions` directions means.

    If the agreement is coarse, the bound is made tighter, and the probability of a miss grows.
    """
    d = min(max(1e-3, math.sqrt(agreement) / 2), 0.1)
    return (
        f"norm(error) <= {agreement / d:.1e} norm(gradient), unless an event of probability at most "
        f"{chance_of_miss(d, directions):.1e} happened"
    )

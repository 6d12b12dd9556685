r"""Names for mistakes: the simple change of the claimed gradient that gives the numeric one.

Each candidate t(g) (the gradient itself, its transpose, g - g^T, g + g^T, another parameter's gradient) is compared
with the numeric gradient up to a constant factor c. The comparison needs no full numeric gradient: K random directions
give the vectors :math:`a = (\langle t(g), v_k\rangle)_k` and :math:`D = (D_k)_k`, and a = c D to seven digits does not
happen by chance. If the full numeric gradient is known, the same is done element by element, and the wrong places are
described: one time step, the diagonal, a triangle, a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np

from gradcheck.arrays import Host
from gradcheck.directions import dot, norm

SAME = 1e-7  # relative distance at which two vectors count as the same
Project = Callable[[Host], Host]


def diagnose(
    name: str,
    gradient: Mapping[str, Host],
    project: Project,
    target: Host,
    *,
    numeric: Host | None = None,
    sizes: Mapping[str, int] | None = None,
    same: float = SAME,
) -> str | None:
    """Return the name of the mistake in the gradient of one parameter; None if none of the usual ones fits.

    Parameters
    ----------
    name : str
        The parameter.
    gradient : mapping of str to ndarray
        The claimed gradients of all parameters.
    project : callable
        Maps an array of the parameter's shape to the vector to compare: its elements, or its products with directions.
    target : ndarray
        The numeric gradient, projected in the same way; with fewer than two numbers only factors can be found.
    numeric : ndarray or None
        The full numeric gradient, where known.
    sizes : mapping of str to int or None
        Names for factors, such as ``{"B": 8, "T": 5}``.
    same : float
        Relative distance at which two vectors count as equal.
    """
    analytic = gradient[name]
    if not np.any(analytic):
        return "the gradient is zero where the loss does depend on the parameter"
    if norm(target) <= same * norm(project(analytic)):
        return "the gradient is not zero, but the loss does not depend on the parameter"
    for text, candidate in _candidates(name, gradient):
        factor = _factor(project(candidate), target, same)
        if factor is not None and _telling(text, factor, candidate.size, sizes or {}, same):
            return _phrase(text, factor, sizes or {}, same)
    return None if numeric is None else _places(analytic, numeric, sizes or {}, same)


def _candidates(name: str, gradient: Mapping[str, Host]) -> Iterator[tuple[str, Host]]:
    g = gradient[name]
    yield "", g
    if g.ndim == 2 and g.shape[0] == g.shape[1] and g.size > 1:
        yield "the transpose is missing: numeric = analytic^T", g.T
        yield "a transpose term is missing: numeric = analytic - analytic^T", g - g.T
        yield "a transpose term is missing: numeric = analytic + analytic^T", g + g.T
    for other, values in gradient.items():
        if other != name and values.shape == g.shape and np.any(values):
            yield f"swapped with another parameter: this is not the gradient of {name}, that of {other} is", values


def _telling(text: str, factor: float, size: int, sizes: Mapping[str, int], same: float) -> bool:
    """Tell whether such a factor can be the mistake: single numbers always have some ratio."""
    if text.startswith("swapped") and abs(abs(factor) - 1) > same:
        return False
    return size > 1 or "." not in name_factor(factor, sizes)


def _factor(candidate: Host, target: Host, same: float) -> float | None:
    """Return c if candidate = c * target, None if there is no such c."""
    largest = float(np.max(np.abs(target), initial=0.0))
    if not largest:
        return None
    relative = target / largest  # its square does not overflow
    c = dot(candidate, relative) / dot(relative, relative) / largest
    return c if c and norm(candidate - c * target) <= same * norm(candidate) else None


def _phrase(text: str, factor: float, sizes: Mapping[str, int], same: float) -> str | None:
    if abs(factor - 1) <= same:
        return text or None
    if abs(factor + 1) <= same:
        return f"{text}, and the sign is wrong" if text else "the sign is wrong: analytic = -numeric"
    constant = f"analytic = {name_factor(factor, sizes)} x numeric"
    return f"{text}, and a constant factor: {constant}" if text else f"a constant factor is wrong: {constant}"


def name_factor(factor: float, sizes: Mapping[str, int], same: float = SAME) -> str:
    """Return `factor` in terms of named sizes, else as a fraction of small integers, else as a number.

    Examples
    --------
    >>> name_factor(0.125, {"B": 8, "T": 5}), name_factor(-2.0, {}), name_factor(0.3, {"T": 3}), name_factor(0.1234, {})
    ('1/B', '-2', '3/10', '0.1234')
    """
    sign = "-" if factor < 0 else ""
    size = abs(factor)
    names = [
        text
        for text, value in _products(sizes)
        for text, value in ((text, value), (f"1/({text})" if " " in text else f"1/{text}", 1 / value))
        if abs(value - size) <= same * size
    ]
    if names:
        return " or ".join(sign + text for text in names)
    fraction = Fraction(size).limit_denominator(64)
    if fraction.numerator <= 64 and abs(float(fraction) - size) <= same * size:
        return f"{sign}{fraction}"
    return f"{factor:.10g}"


def _products(sizes: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    useful = {name: float(size) for name, size in sizes.items() if size > 1}
    yield from useful.items()
    for (a, x), (b, y) in combinations_with_replacement(useful.items(), 2):
        yield (f"{a}^2" if a == b else f"{a} {b}"), x * y
    for a, x in useful.items():
        yield f"{a}/2", x / 2


def _places(analytic: Host, numeric: Host, sizes: Mapping[str, int], same: float) -> str | None:
    """Describe the wrong elements, if a short description fits."""
    shifted = _shifted(analytic, numeric, same)
    if shifted:
        return shifted
    scale = max(float(np.max(np.abs(analytic))), float(np.max(np.abs(numeric))))
    wrong = np.abs(analytic - numeric) > same * scale
    count = int(wrong.sum())
    if count in (0, wrong.size):
        return None
    silent = "; the gradient is zero there" if not np.any(analytic[wrong]) else ""
    if count == 1:
        return f"only one element is wrong{silent}"
    for axis in range(wrong.ndim):
        indices = np.unique(np.nonzero(wrong)[axis])
        if len(indices) == 1 and wrong.shape[axis] > 1:
            return f"only {_slice_name(axis, int(indices[0]), wrong.shape, sizes)} is wrong{silent}"
    return _triangle(wrong, silent)


def _slice_name(axis: int, index: int, shape: tuple[int, ...], sizes: Mapping[str, int]) -> str:
    if axis == 0 and (len(shape) >= 3 or sizes.get("T") == shape[0]):
        return f"one time step, {index} of 0..{shape[0] - 1} (axis 0),"
    kind = {(2, 0): "row", (2, 1): "column"}.get((len(shape), axis))
    return f"{kind} {index}" if kind else f"index {index} of axis {axis}"


def _triangle(wrong: Host, silent: str) -> str | None:
    if wrong.ndim != 2 or wrong.shape[0] != wrong.shape[1]:
        return None
    off = ~np.eye(wrong.shape[0], dtype=bool)
    if not np.any(wrong & off):
        return f"only the diagonal is wrong{silent}"
    if not np.any(np.diag(wrong)) and np.all(wrong[off]):
        return f"everything but the diagonal is wrong{silent}"
    if not np.any(np.tril(wrong)):
        return f"only elements above the diagonal are wrong{silent}"
    if not np.any(np.triu(wrong)):
        return f"only elements below the diagonal are wrong{silent}"
    return None


def _shifted(analytic: Host, numeric: Host, same: float) -> str | None:
    """Recognise a gradient that is off by one step along its first axis, or runs backwards along it."""
    if analytic.ndim == 0 or analytic.shape[0] < 3:
        return None

    def equal(a: Host, b: Host) -> bool:
        return bool(np.any(a)) and norm(a - b) <= same * norm(a)

    if equal(analytic[1:], numeric[:-1]):
        return "off by one along axis 0: analytic[t + 1] = numeric[t]"
    if equal(analytic[:-1], numeric[1:]):
        return "off by one along axis 0: analytic[t] = numeric[t + 1]"
    if equal(analytic, numeric[::-1]):
        return "reversed along axis 0: analytic[t] = numeric[-1 - t]"
    return None

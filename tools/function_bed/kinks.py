"""Points on a kink or a tie: the "right" gradient is one of many subgradients, usually the one that libraries return.

A checker cannot know which, so any verdict but "failed" is right. The mistakes are not subgradients. The last family is
differentiable exactly once at its point: there the gradient is unique, and a step of any length crosses a jump of the
second derivative.
"""

from collections.abc import Sequence

import numpy as np

from tools.function_bed import activations, elementwise, extremes, losses, piecewise, sorting
from tools.function_bed.base import Draw, Function, apart, constant, family

one = np.ones_like
MIXED = constant(0.7, 0.0, -1.2, 0.4, 0.0, -0.3)  # two elements on the kink at zero


def at(threshold: float) -> Draw:
    """Draw a point with one element on the kink at `threshold`, and one on the kink at its negative."""
    return constant(0.3 * threshold, threshold, -threshold, 1.4 * threshold, -0.6 * threshold, -1.7 * threshold)


KNOWN = {
    f.name: f for module in (activations, elementwise, extremes, losses, piecewise, sorting) for f in module.FUNCTIONS
}


def moved(name: str, where: str, mistakes: Sequence[str] = (), **point: Draw) -> Function:
    """Return the entry of another family at a point on its kink, with other mistakes if one would be right there."""
    known = KNOWN[name]
    wrong = mistakes or known.mistakes
    return Function(f"{name} {where}", known.value, known.gradient, point, wrong, smooth=False)


def tied(*shape: int) -> Draw:
    """Draw numbers whose two largest are equal in every row, and whose two smallest are."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        x = apart(*shape)(rng)
        order = np.argsort(x, -1)
        for to, source in ((-2, -1), (1, 0)):
            values = np.take_along_axis(x, order[:, [source]], -1)
            np.put_along_axis(x, order[:, [to]], values, -1)
        return x

    return draw


def _halves(c, x, y):
    return c * ((x > y) + (x == y) / 2).astype(x.dtype), c * ((x < y) + (x == y) / 2).astype(x.dtype)


def _even_max(c, x, mistake=""):
    """Share c evenly among the largest."""
    largest = x == x.max(-1, keepdims=True)
    share = 1 if mistake == "all of it to each" else largest.sum(-1, keepdims=True)
    if mistake == "to the smallest":
        largest = x == x.min(-1, keepdims=True)
    return (c[:, None] * (~largest if mistake == "to all others" else largest) / share).astype(x.dtype)


def _norm_rows(c, x, mistake=""):
    """Zero for a row of zeros."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    if mistake == "not divided":
        return c[:, None] * x
    g = c[:, None] * x / np.where(norm > 0, norm, 1)
    return {"factor 2": 2 * g, "wrong sign": -g}.get(mistake, g)


def _eigenvalues(c, a, mistake=""):
    _, q = np.linalg.eigh((a + a.T) / 2)
    c = {"order turned round": c[::-1], "c forgotten": one(c)}.get(mistake, c)
    return (2 if mistake == "factor 2" else 1) * (q * c) @ q.T


def _twice(rng: np.random.Generator) -> np.ndarray:
    """Draw a symmetric matrix with eigenvalues 1, 1 and 3."""
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return (q * np.array([1.0, 1.0, 3.0])) @ q.T


def _hypot(c, x, y, mistake=""):
    r = np.hypot(x, y)
    r = np.where(r > 0, r, 1)
    if mistake == "x and y swapped":
        return c * y / r, c * x / r
    return c * x / r, c * (-y if mistake == "dy with a minus" else y) / (1 if mistake == "dy not divided" else r)


KINKS = family(
    "kinks",
    moved("ReLU", "at 0", x=MIXED),
    moved("leaky ReLU", "at 0", x=MIXED),
    moved(
        "PReLU, one slope a column", "at 0", x=constant([[0.7, 0.0, -0.5], [-1.2, 0.4, 0.9]]), a=constant(0.1, 0.2, 0.3)
    ),
    moved("abs", "at 0", x=MIXED),
    moved("clip", "at a bound", x=at(1.0)),
    moved("hardtanh", "at 1", x=at(1.0)),
    moved("ReLU6", "at 0 and 6", x=constant(0.0, 6.0, 3.0, 7.0, -1.0, 0.5)),
    moved("hard sigmoid", "at 3", x=at(3.0)),
    moved("hard swish", "at 3", x=at(3.0)),
    moved("softshrink, 0.5", "at 0.5", x=at(0.5)),
    moved("SELU", "at 0", x=MIXED),
    moved("1-norm", "with zeros", x=constant([[0.7, 0.0, -1.2], [0.0, 0.4, 0.0]])),
    moved("hinge", "at 1", x=constant(1.0, 0.3, -1.0, 1.7, -0.4, -0.8)),
    moved("absolute error", "of zero", x=MIXED, y=constant(0.2, 0.0, 0.1, -0.3, 0.0, 0.6)),
    moved("quantile loss, 0.3", "of zero", x=MIXED, y=constant(0.2, 0.0, 0.1, -0.3, 0.0, 0.6)),
    moved(
        "multi-class hinge",
        "at the margin",
        x=constant([[0.3, -0.5, 0.8, -0.2], [0.6, -0.4, 0.1, 1.3], [1.1, -0.3, 0.9, 0.4]]),
    ),
    moved(
        "triplet loss",
        "at the margin",
        a=constant([[0.0, 0.0], [0.5, 0.2], [0.0, 0.1]]),
        p=constant([[0.0, 1.0], [0.3, 0.1], [0.1, 0.3]]),
        n=constant([[1.0, 1.0], [0.2, 0.9], [2.0, 1.5]]),
    ),
    Function(
        "2-norm at a row of zeros",
        lambda x: np.linalg.norm(x, axis=-1),
        _norm_rows,
        {"x": constant([[0.7, -0.2, 0.4], [0.0, 0.0, 0.0]])},
        ("factor 2", "wrong sign", "not divided"),
        smooth=False,
    ),
    Function(
        "hypot at (0, 0)",
        np.hypot,
        _hypot,
        {"x": constant(0.7, 0.0, -0.4), "y": constant(0.2, 0.0, 1.1)},
        ("x and y swapped", "dy with a minus", "dy not divided"),
        smooth=False,
    ),
)

TIES = family(
    "ties",
    Function(
        "max of a tie",
        lambda x: x.max(-1),
        _even_max,
        {"x": tied(3, 5)},
        ("all of it to each", "to the smallest", "to all others"),
        smooth=False,
    ),
    moved("min", "of a tie", x=tied(3, 5)),
    moved("infinity norm", "of a tie", x=constant([[-0.7, 0.7, 0.2], [0.1, -0.9, -0.3]])),
    moved("median of an odd number", "of a tie", x=constant([[0.7, 0.2, 0.2, -0.5, 1.3], [0.1, 0.9, -0.3, 0.4, -0.8]])),
    moved("cummax", "of a tie", x=constant([[0.2, 0.7, 0.7, 0.1, 0.9], [0.5, 0.1, 0.8, 0.3, 0.8]])),
    moved("sort", "of a tie", x=tied(3, 5)),
    moved("two largest", "of a tie", ("smallest", "off by one", "wrong sign"), x=tied(3, 5)),
    moved("trimmed mean", "of a tie", x=tied(3, 6)),
    Function(
        "maximum of equal arrays",
        np.maximum,
        _halves,
        {"x": constant(0.7, -0.2, 0.4), "y": constant(0.7, 0.5, 0.4)},
        {
            "minimum": lambda c, x, y: _halves(c, y, x),
            "dy with a minus": lambda c, x, y: (_halves(c, x, y)[0], -_halves(c, x, y)[1]),
            "all of it twice": lambda c, x, y: (c, c),
        },
        smooth=False,
    ),
    Function(
        "eigenvalues, two equal",
        lambda a: np.linalg.eigvalsh((a + a.T) / 2),
        _eigenvalues,
        {"a": _twice},
        ("order turned round", "c forgotten", "factor 2"),
        smooth=False,
    ),
)

ONCE = family(
    "differentiable once",
    moved("x abs(x)", "at 0", x=MIXED),
    moved("softsign", "at 0", x=MIXED),
    moved("CELU, alpha 0.7", "at 0", x=MIXED),
    moved("squared hinge", "at 1", x=constant(1.0, 0.3, -1.0, 1.7, -0.4, -0.8)),
    moved("Huber loss", "at the threshold", x=constant(1.5, -1.0, 0.4, 2.9), y=constant(0.2, 0.3, 0.1, -0.3)),
    moved("smooth L1, beta 0.7", "at the threshold", x=constant(0.9, -0.4, 0.4, 2.9), y=constant(0.2, 0.3, 0.1, -0.3)),
)

FUNCTIONS = KINKS + TIES + ONCE

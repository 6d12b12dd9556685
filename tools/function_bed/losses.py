"""Losses of classification, similarity and regression, one value per row or element."""

import math

import numpy as np

from tools.function_bed.activations import sigmoid, softplus
from tools.function_bed.base import ALL, FROM_ONE, UP_TO_ONE, Function, away, between, family, normal, positive
from tools.function_bed.softmax import LABELS, ROWS, onehot

SIGNS = np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])


def _bce_logits_value(x, t):
    return softplus(x) - t * x


def _bce_probability(c, p, t, mistake=""):
    dp = (1 - t) / (1 - p) - (0 if mistake == "first term forgotten" else t / p)
    if mistake == "difference only":
        dp = p - t
    dt = np.log1p(-p) - np.log(p)
    return c * dp, c * (-dt if mistake == "dt with a minus" else dt)


def _multiclass_hinge_value(x):
    margins = np.maximum(0, 1 + x - x[ROWS, LABELS][:, None]) * (1 - onehot(x))
    return np.sum(margins, -1)


def _multiclass_hinge(c, x, mistake=""):
    active = (1 + x - x[ROWS, LABELS][:, None] > 0) * (1 - onehot(x))
    count = 1 if mistake == "label counted once" else active.sum(-1, keepdims=True)
    if mistake == "condition forgotten":
        active = 1 - onehot(x)
    return c[:, None] * (active - (0 if mistake == "label forgotten" else onehot(x) * count)).astype(x.dtype)


def _triplet_value(a, p, n):
    return np.maximum(0, np.sum((a - p) ** 2 - (a - n) ** 2, -1) + 1)


def _triplet(c, a, p, n, mistake=""):
    active = (np.sum((a - p) ** 2 - (a - n) ** 2, -1) + 1 > 0)[:, None]
    c = 2 * c[:, None] * (1 if mistake == "condition forgotten" else active)
    da = c * (n - p)
    if mistake == "anchor detached":
        da = 0 * a
    return da, c * (p - a), c * (n - a if mistake == "negative pulled, not pushed" else a - n)


def _cosine_value(x, y):
    return np.sum(x * y, -1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))


def _cosine(c, x, y, mistake=""):
    nx, ny = np.linalg.norm(x, axis=-1, keepdims=True), np.linalg.norm(y, axis=-1, keepdims=True)
    cosine = np.sum(x * y, -1, keepdims=True) / (nx * ny)
    if mistake == "norms detached":
        cosine = 0 * cosine
    if mistake == "plus":
        cosine = -cosine
    dx = c[:, None] * (y / ny - cosine * x / nx) / nx
    dy = c[:, None] * (x / nx - cosine * y / ny) / ny
    return dx, dy * ny if mistake == "dy not divided by its norm" else dy


def _pair_value(d, t):
    return t * d**2 + (1 - t) * np.maximum(0, 2 - d) ** 2


def _pair(c, d, t, mistake=""):
    push = -2 * (1 - t) * (2 - d if mistake == "margin not clipped" else np.maximum(0, 2 - d))
    dd = 2 * t * d + (-push if mistake == "wrong sign of the push" else push)
    dt = d**2 - np.maximum(0, 2 - d) ** 2
    return c * (dd / 2 if mistake == "factor 2 forgotten" else dd), c * dt


def _gaussian_nll_value(m, v, y):
    return (np.log(v) + (y - m) ** 2 / v) / 2


def _gaussian_nll(c, m, v, y, mistake=""):
    dm = c * (m - y) / v
    dv = (
        c
        * (
            (0 if mistake == "log detached" else 1 / v)
            - (y - m) ** 2 / (v if mistake == "square of v forgotten" else v**2)
        )
        / 2
    )
    return dm, dv, dm if mistake == "dy with the sign of dm" else -dm


def _dice_value(p, t):
    return 1 - 2 * np.sum(p * t, -1) / np.sum(p + t, -1)


def _dice(c, p, t, mistake=""):
    total = np.sum(p + t, -1, keepdims=True)
    overlap = 0 if mistake == "denominator detached" else np.sum(p * t, -1, keepdims=True) / total
    factor = (1 if mistake == "factor 2 forgotten" else 2) * c[:, None] / total
    dp, dt = factor * (overlap - t), factor * (overlap - p)
    return (dt, dp) if mistake == "p and t swapped" else (dp, dt)


def _residual_loss(name, value, slope, mistakes, scales, y=None):
    """Return the entry of a loss of the residual x - y, from its derivative; the mistakes are wrong derivatives."""

    def gradient(slope):
        return lambda c, x, y: (c * slope(x - y), -c * slope(x - y))

    wrong = {mistake: gradient(wrong) for mistake, wrong in mistakes.items()}
    wrong["dy with the sign of dx"] = lambda c, x, y: (c * slope(x - y), c * slope(x - y))
    point = {"x": lambda rng: np.linspace(-3, 3, 12) + rng.uniform(-0.1, 0.1, 12), "y": between(-0.05, 0.05, 12)}
    return Function(name, lambda x, y: value(x - y), gradient(slope), point, wrong, scales)


def _margin(x, slope):
    return SIGNS.astype(x.dtype) * slope(SIGNS.astype(x.dtype) * x)


def _margins(rng):
    """Draw margins y x below, within and above 1, for labels y of both signs."""
    return SIGNS * (np.array([0.4, -0.7, 1.5, 0.8, -1.2, 1.3]) + rng.uniform(-0.05, 0.05, 6))


CLASSIFICATION = family(
    "losses of classification and similarity",
    Function(
        "binary cross-entropy with logits",
        _bce_logits_value,
        lambda c, x, t: (c * (sigmoid(x) - t), -c * x),
        {"x": away(6), "t": between(0.1, 0.9, 6)},
        {
            "sigmoid forgotten": lambda c, x, t: (c * (x - t), -c * x),
            "wrong sign": lambda c, x, t: (c * (t - sigmoid(x)), -c * x),
            "label forgotten": lambda c, x, t: (c * sigmoid(x), -c * x),
        },
        UP_TO_ONE,
        scaled=("x",),
    ),
    Function(
        "binary cross-entropy of probabilities",
        lambda p, t: -t * np.log(p) - (1 - t) * np.log1p(-p),
        _bce_probability,
        {"p": between(0.1, 0.9, 6), "t": between(0.1, 0.9, 6)},
        ("first term forgotten", "difference only", "dt with a minus"),
    ),
    Function(
        "hinge",
        lambda x: np.maximum(0, 1 - SIGNS.astype(x.real.dtype) * x),
        lambda c, x: -c * _margin(x, lambda m: m < 1),
        {"x": _margins},
        {
            "label forgotten": lambda c, x: -c * (x < 1),
            "condition forgotten": lambda c, x: -c * SIGNS.astype(x.dtype),
            "wrong sign": lambda c, x: c * _margin(x, lambda m: m < 1),
        },
        ALL,
    ),
    Function(
        "squared hinge",
        lambda x: np.maximum(0, 1 - SIGNS.astype(x.real.dtype) * x) ** 2,
        lambda c, x: -2 * c * _margin(x, lambda m: np.maximum(0, 1 - m)),
        {"x": _margins},
        {
            "factor 2 forgotten": lambda c, x: -c * _margin(x, lambda m: np.maximum(0, 1 - m)),
            "gradient of the hinge": lambda c, x: -c * _margin(x, lambda m: m < 1),
            "not clipped": lambda c, x: -2 * c * _margin(x, lambda m: 1 - m),
        },
        ALL,
    ),
    Function(
        "multi-class hinge",
        _multiclass_hinge_value,
        _multiclass_hinge,
        {"x": normal(3, 4)},
        ("label counted once", "condition forgotten", "label forgotten"),
        FROM_ONE,
    ),
    Function(
        "soft-margin loss",
        lambda x: softplus(-SIGNS.astype(x.real.dtype) * x),
        lambda c, x: -c * _margin(x, lambda m: sigmoid(-m)),
        {"x": _margins},
        {
            "label forgotten": lambda c, x: -c * sigmoid(-x),
            "s(m) for s(-m)": lambda c, x: -c * _margin(x, sigmoid),
            "wrong sign": lambda c, x: c * _margin(x, lambda m: sigmoid(-m)),
        },
        UP_TO_ONE,
    ),
    Function(
        "triplet loss",
        _triplet_value,
        _triplet,
        {"a": normal(5, 2), "p": normal(5, 2), "n": normal(5, 2)},
        ("condition forgotten", "anchor detached", "negative pulled, not pushed"),
        ALL,
    ),
    Function(
        "cosine similarity",
        _cosine_value,
        _cosine,
        {"x": normal(3, 4), "y": normal(3, 4)},
        ("norms detached", "plus", "dy not divided by its norm"),
        ALL,
    ),
    Function(
        "contrastive loss of distances",
        _pair_value,
        _pair,
        {
            "d": lambda rng: np.array([0.4, 0.9, 1.4, 2.3, 2.9, 1.7]) + rng.uniform(-0.1, 0.1, 6),
            "t": between(0.2, 0.8, 6),
        },
        ("margin not clipped", "wrong sign of the push", "factor 2 forgotten"),
        ALL,
        scaled=("d",),
    ),
    Function(
        "soft Dice loss",
        _dice_value,
        _dice,
        {"p": between(0.1, 0.9, 3, 4), "t": between(0.1, 0.9, 3, 4)},
        ("denominator detached", "factor 2 forgotten", "p and t swapped"),
        ALL,
    ),
    Function(
        "margin ranking",
        lambda x, y: np.maximum(0, 0.5 - SIGNS.astype(x.real.dtype) * (x - y)),
        lambda c, x, y: (
            -c * SIGNS.astype(x.dtype) * (SIGNS * (x - y) < 0.5),
            c * SIGNS.astype(x.dtype) * (SIGNS * (x - y) < 0.5),
        ),
        {"x": away(6), "y": between(-0.2, 0.0, 6)},
        {
            "condition forgotten": lambda c, x, y: (-c * SIGNS.astype(x.dtype), c * SIGNS.astype(x.dtype)),
            "margin forgotten": lambda c, x, y: (
                -c * SIGNS.astype(x.dtype) * (SIGNS * (x + 1 - y) < 0),
                c * SIGNS.astype(x.dtype) * (SIGNS * (x + 1 - y) < 0),
            ),
            "label forgotten": lambda c, x, y: (-c * (SIGNS * (x - y) < 0.5), c * (SIGNS * (x - y) < 0.5)),
        },
        ALL,
    ),
)

REGRESSION = family(
    "losses of regression",
    _residual_loss(
        "squared error",
        lambda r: r**2,
        lambda r: 2 * r,
        {"factor 2 forgotten": lambda r: r, "mean": lambda r: 2 * r / 12},
        ALL,
    ),
    _residual_loss(
        "absolute error", np.abs, np.sign, {"sign forgotten": np.ones_like, "squared error": lambda r: 2 * r}, ALL
    ),
    _residual_loss(
        "Huber loss",
        lambda r: np.where(abs(r) < 1.3, r * r / 2, 1.3 * (abs(r) - 0.65)),
        lambda r: np.clip(r, -1.3, 1.3),
        {"not clipped": lambda r: r, "threshold 1": lambda r: np.clip(r, -1, 1)},
        ALL,
    ),
    _residual_loss(
        "smooth L1, beta 0.7",
        lambda r: np.where(abs(r) < 0.7, r * r / 1.4, abs(r) - 0.35),
        lambda r: np.clip(r / 0.7, -1, 1),
        {"Huber loss": lambda r: np.clip(r, -0.7, 0.7), "beta forgotten": lambda r: np.clip(r, -1, 1)},
        ALL,
    ),
    _residual_loss(
        "log-cosh",
        lambda r: softplus(2 * r) - r - math.log(2),
        np.tanh,
        {"residual itself": lambda r: r, "sigmoid": sigmoid},
        (1.0,),
    ),
    _residual_loss(
        "pseudo-Huber",
        lambda r: np.sqrt(1 + r * r) - 1,
        lambda r: r / np.sqrt(1 + r * r),
        {"root forgotten": lambda r: r / (1 + r * r), "factor 2": lambda r: 2 * r / np.sqrt(1 + r * r)},
        FROM_ONE,
    ),
    _residual_loss(
        "quantile loss, 0.3",
        lambda r: np.maximum(0.3 * r, -0.7 * r),
        lambda r: np.where(r > 0, 0.3 + 0 * r, -0.7 + 0 * r),
        {"sides swapped": lambda r: np.where(r > 0, 0.7 + 0 * r, -0.3 + 0 * r), "median": lambda r: np.sign(r) / 2},
        ALL,
    ),
    _residual_loss(
        "Cauchy loss",
        lambda r: np.log1p(r * r),
        lambda r: 2 * r / (1 + r * r),
        {"factor 2 forgotten": lambda r: r / (1 + r * r), "1 forgotten": lambda r: 2 / r},
        ALL,
    ),
    Function(
        "Poisson likelihood of log rates",
        lambda x, k: np.exp(x) - k * x,
        lambda c, x, k: (c * (np.exp(x) - k), -c * x),
        {"x": normal(6), "k": positive(6)},
        {
            "count forgotten": lambda c, x, k: (c * np.exp(x), -c * x),
            "of rates, not their logs": lambda c, x, k: (c * (1 - k / x), -c * x),
            "wrong sign": lambda c, x, k: (c * (k - np.exp(x)), -c * x),
        },
        UP_TO_ONE,
        scaled=("x",),
    ),
    Function(
        "Gaussian likelihood",
        _gaussian_nll_value,
        _gaussian_nll,
        {"m": normal(6), "v": positive(6), "y": normal(6)},
        ("log detached", "square of v forgotten", "dy with the sign of dm"),
    ),
)

FUNCTIONS = CLASSIFICATION + REGRESSION

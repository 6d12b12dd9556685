"""Sums, means and moments, along the last axis unless the name says otherwise. c has the shape of the result."""

import numpy as np

from tools.function_bed.base import ALL, Function, away, family, normal, positive


def up(c, x):
    """Repeat a reduced array along the last axis of `x`."""
    return np.broadcast_to(np.expand_dims(c, -1), x.shape).copy()


def _var(c, x, ddof=0, mistake=""):
    n = x.shape[-1] - (0 if mistake == "n for n - 1" else ddof)
    centred = x if mistake == "not centred" else x - x.mean(-1, keepdims=True)
    return (1 if mistake == "factor 2 forgotten" else 2) * up(c, x) * centred / (1 if mistake == "sum for mean" else n)


def _std(c, x, mistake=""):
    std = x.std(-1)
    if mistake == "gradient of the variance":
        return _var(c, x)
    if mistake == "1/2 forgotten":
        return _var(c / std, x)
    return _var(c / (2 * std), x, mistake=mistake)


def _prod(c, x, mistake=""):
    if mistake == "the factor itself not left out":
        return up(c * x.prod(-1), x)
    if mistake == "first factor left out everywhere":
        return up(c * x[:, 1:].prod(-1), x)
    others = np.stack([np.delete(x, k, -1).prod(-1) for k in range(x.shape[-1])], -1)
    return (-1 if mistake == "wrong sign" else 1) * up(c, x) * others


def _geometric(c, x, mistake=""):
    mean = np.exp(np.log(x).mean(-1, keepdims=True))
    n = 1 if mistake == "1/n forgotten" else x.shape[-1]
    return up(c, x) * (1 if mistake == "mean detached" else mean) / (n * (mean if mistake == "mean for x" else x))


def _harmonic(c, x, mistake=""):
    mean = 1 / np.mean(1 / x, -1, keepdims=True)
    n = 1 if mistake == "1/n forgotten" else x.shape[-1]
    ratio = mean / x if mistake == "square forgotten" else (mean / x) ** 2
    return (-1 if mistake == "wrong sign" else 1) * up(c, x) * ratio / n


def _weighted(c, x, w, mistake=""):
    total = w.sum()
    mean = (x @ w)[:, None] / total
    dw = np.sum(c[:, None] * (x if mistake == "total weight detached" else x - mean), 0) / total
    if mistake == "not divided by the total weight":
        return up(c, x) * w, dw
    return up(c, x) * w / total, -dw if mistake == "dw with a minus" else dw


def _rms(c, x, mistake=""):
    rms = np.sqrt(np.mean(x * x, -1, keepdims=True))
    if mistake == "1/n forgotten":
        return up(c, x) * x / rms
    return (
        (2 if mistake == "factor 2" else 1) * up(c, x) * x / (x.shape[-1] * (1 if mistake == "root detached" else rms))
    )


def _skewness(c, x, mistake=""):
    d = x - x.mean(-1, keepdims=True)
    s = x.std(-1, keepdims=True)
    z = d / s
    skew = np.mean(z**3, -1, keepdims=True)
    mean_of_squares = 0 if mistake == "mean detached" else 1
    spread = 0 if mistake == "spread detached" else skew * z
    g = 3 * up(c, x) * (z**2 - mean_of_squares - spread) / (x.shape[-1] * s)
    return g / 3 if mistake == "factor 3 forgotten" else g


def _diff(c, x, mistake=""):
    g = np.zeros_like(x)
    g[:, 1:] += c
    g[:, :-1] -= 0 * c if mistake == "second term forgotten" else c
    return -g if mistake == "wrong sign" else np.roll(g, 1, -1) if mistake == "off by one" else g


def _trapezoid(c, y, x, mistake=""):
    width = np.diff(x) / (1 if mistake == "1/2 forgotten" else 2)
    dy = np.zeros_like(y)
    dy[:, 1:] += c[:, None] * width
    if mistake != "left ends forgotten":
        dy[:, :-1] += c[:, None] * width
    d = np.sum(c[:, None] * (y[:, 1:] + y[:, :-1]), 0) / 2
    dx = np.zeros_like(x)
    dx[1:] += d
    dx[:-1] -= 0 if mistake == "dx: minus end forgotten" else d
    return dy, dx


def _trapezoid_value(y, x):
    return np.sum((y[:, 1:] + y[:, :-1]) / 2 * np.diff(x), -1)


def _covariance(x):
    d = x - x.mean(0)
    return d.T @ d / (len(x) - 1)


def _covariance_gradient(c, x, mistake=""):
    d = x if mistake == "not centred" else x - x.mean(0)
    symmetric = 2 * c if mistake == "c not symmetric" else c + c.T
    return d @ symmetric / (len(x) - (0 if mistake == "n for n - 1" else 1))


def _distances(c, x, y, mistake=""):
    d = x[:, None] - y[None]
    dx = 2 * np.einsum("ij,ijk->ik", c, d)
    dy = -2 * np.einsum("ij,ijk->jk", c, d)
    if mistake == "dy with a plus":
        dy = -dy
    if mistake == "dx of the first pair":
        dx = 2 * c[:, :1] * d[:, 0]
    return (dx / 2, dy) if mistake == "factor 2 forgotten" else (dx, dy)


FUNCTIONS = family(
    "sums, means and moments",
    Function(
        "sum",
        lambda x: x.sum(-1),
        lambda c, x: up(c, x),
        {"x": normal(3, 4)},
        {
            "mean": lambda c, x: up(c, x) / 4,
            "wrong axis": lambda c, x: np.tile(np.resize(c, 4), (3, 1)),
            "sum of c": lambda c, x: 0 * x + c.sum(),
        },
        ALL,
    ),
    Function(
        "mean, along the first axis",
        lambda x: x.mean(0),
        lambda c, x: np.tile(c / 3, (3, 1)),
        {"x": normal(3, 4)},
        {
            "sum": lambda c, x: np.tile(c, (3, 1)),
            "wrong length": lambda c, x: np.tile(c / 4, (3, 1)),
            "first row only": lambda c, x: np.vstack([c, 0 * c, 0 * c]) / 3,
        },
        ALL,
    ),
    Function(
        "variance",
        lambda x: x.var(-1),
        _var,
        {"x": normal(3, 5)},
        ("not centred", "factor 2 forgotten", "sum for mean"),
        ALL,
    ),
    Function(
        "variance, n - 1",
        lambda x: x.var(-1, ddof=1),
        lambda c, x, mistake="": _var(c, x, 1, mistake),
        {"x": normal(3, 5)},
        ("n for n - 1", "not centred", "factor 2 forgotten"),
        ALL,
    ),
    Function(
        "standard deviation",
        lambda x: x.std(-1),
        _std,
        {"x": normal(3, 5)},
        ("gradient of the variance", "1/2 forgotten", "not centred"),
        ALL,
    ),
    Function(
        "product",
        lambda x: x.prod(-1),
        _prod,
        {"x": away(3, 3)},
        ("the factor itself not left out", "first factor left out everywhere", "wrong sign"),
        ALL,
    ),
    Function(
        "root mean square",
        lambda x: np.sqrt(np.mean(x * x, -1)),
        _rms,
        {"x": normal(3, 5)},
        ("1/n forgotten", "factor 2", "root detached"),
        ALL,
    ),
    Function(
        "geometric mean",
        lambda x: np.exp(np.log(x).mean(-1)),
        _geometric,
        {"x": positive(3, 5)},
        ("1/n forgotten", "mean detached", "mean for x"),
        ALL,
    ),
    Function(
        "harmonic mean",
        lambda x: 1 / np.mean(1 / x, -1),
        _harmonic,
        {"x": positive(3, 5)},
        ("1/n forgotten", "square forgotten", "wrong sign"),
        ALL,
    ),
    Function(
        "weighted mean",
        lambda x, w: x @ w / w.sum(),
        _weighted,
        {"x": normal(3, 5), "w": positive(5)},
        ("total weight detached", "not divided by the total weight", "dw with a minus"),
        ALL,
    ),
    Function(
        "skewness",
        lambda x: np.mean(((x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)) ** 3, -1),
        _skewness,
        {"x": normal(3, 6)},
        ("mean detached", "spread detached", "factor 3 forgotten"),
        ALL,
    ),
    Function(
        "covariance matrix",
        _covariance,
        _covariance_gradient,
        {"x": normal(6, 3)},
        ("not centred", "c not symmetric", "n for n - 1"),
        ALL,
    ),
    Function(
        "squared distances of all pairs",
        lambda x, y: np.sum((x[:, None] - y[None]) ** 2, -1),
        _distances,
        {"x": normal(3, 2), "y": normal(4, 2)},
        ("dy with a plus", "dx of the first pair", "factor 2 forgotten"),
        ALL,
    ),
    Function(
        "differences",
        lambda x: np.diff(x, axis=-1),
        _diff,
        {"x": normal(3, 5)},
        ("second term forgotten", "wrong sign", "off by one"),
        ALL,
    ),
    Function(
        "trapezoid rule",
        _trapezoid_value,
        _trapezoid,
        {"y": normal(2, 5), "x": lambda rng: np.cumsum(rng.uniform(0.5, 1, 5))},
        ("1/2 forgotten", "left ends forgotten", "dx: minus end forgotten"),
        ALL,
    ),
)

"""Extremes, norms and running sums, along the last axis."""

import numpy as np
from scipy import special

from tools.function_bed.base import ALL, UP_TO_ONE, Function, apart, away, family, normal
from tools.function_bed.sums import up


def _picked(pick):
    """Return the gradient of a reduction that picks one element."""

    def gradient(c, x, mistake=""):
        g = np.zeros_like(x)
        position = (pick(x) + (mistake == "off by one")) % x.shape[-1]
        np.put_along_axis(g, position[..., None], c[..., None], -1)
        return up(c, x) / x.shape[-1] if mistake == "spread over all" else -g if mistake == "wrong sign" else g

    return gradient


PICKED = ("off by one", "spread over all", "wrong sign")


def _logsumexp(c, x, mistake=""):
    share = np.exp(x - x.max(-1, keepdims=True))
    if mistake != "not normalised":
        share = share / share.sum(0 if mistake == "wrong axis" else -1, keepdims=True)
    return up(c, x) * (share * (1 - share) if mistake == "slope of the softmax" else share)


def _norm(c, x, p, mistake=""):
    norm = np.sum(abs(x) ** p, -1, keepdims=True) ** (1 / p)
    if mistake == "sign forgotten":
        return up(c, x) * (abs(x) / norm) ** (p - 1)
    if mistake == "not divided by the norm":
        return up(c, x) * np.sign(x) * abs(x) ** (p - 1)
    return (p if mistake == "factor p" else 1) * up(c, x) * np.sign(x) * (abs(x) / norm) ** (p - 1)


NORMS = ("sign forgotten", "not divided by the norm", "factor p")


def _reverse_cumsum(c, mistake=""):
    if mistake == "not reversed":
        return np.cumsum(c, -1)
    g = np.cumsum(c[:, ::-1], -1)[:, ::-1]
    return g - c if mistake == "off by one" else g.mean(-1, keepdims=True) + 0 * c if mistake == "mean of it" else g


def _cumprod(c, x, mistake=""):
    p = np.cumprod(x, -1)
    g = _reverse_cumsum(c * p, "not reversed" if mistake == "not reversed" else "") / x
    return g * x if mistake == "not divided" else c * p / x if mistake == "no sum over later products" else g


def _logcumsumexp(c, x, mistake=""):
    out = np.logaddexp.accumulate(x, -1)
    n = x.shape[-1]
    share = np.exp(x[:, None, :] - out[:, :, None]) * np.tril(np.ones((n, n), x.dtype))
    if mistake == "later elements too":
        share = np.exp(x[:, None, :] - out[:, :, None])
    g = np.einsum("bi,bij->bj", c, share)
    return _reverse_cumsum(c) if mistake == "slope of cumsum" else -g if mistake == "wrong sign" else g


def _cummax(c, x, mistake=""):
    g = np.zeros_like(x)
    for row in range(len(x)):
        best = 0
        for k in range(x.shape[1]):
            if x[row, k] > x[row, best]:
                best = k
            if mistake == "overwritten":
                g[row, best] = c[row, k]
            else:
                g[row, k if mistake == "passes through" else best] += c[row, k]
    return -g if mistake == "wrong sign" else g


FUNCTIONS = family(
    "extremes, norms and running sums",
    Function("max", lambda x: x.max(-1), _picked(lambda x: x.argmax(-1)), {"x": apart(3, 4)}, PICKED, ALL),
    Function("min", lambda x: x.min(-1), _picked(lambda x: x.argmin(-1)), {"x": apart(3, 4)}, PICKED, ALL),
    Function(
        "median of an odd number",
        lambda x: np.median(x, -1),
        _picked(lambda x: np.argsort(x, -1)[..., x.shape[-1] // 2]),
        {"x": apart(3, 5)},
        PICKED,
        ALL,
    ),
    Function(
        "range",
        lambda x: np.ptp(x, -1),
        lambda c, x, mistake="": _picked(lambda x: x.argmax(-1))(c, x) - _picked(lambda x: x.argmin(-1))(c, x),
        {"x": apart(3, 4)},
        {
            "minimum forgotten": lambda c, x: _picked(lambda x: x.argmax(-1))(c, x),
            "plus": lambda c, x: _picked(lambda x: x.argmax(-1))(c, x) + _picked(lambda x: x.argmin(-1))(c, x),
            "maximum forgotten": lambda c, x: -_picked(lambda x: x.argmin(-1))(c, x),
        },
        ALL,
    ),
    Function(
        "logsumexp",
        lambda x: special.logsumexp(x, axis=-1),
        _logsumexp,
        {"x": normal(4, 4)},
        ("not normalised", "wrong axis", "slope of the softmax"),
        UP_TO_ONE,
    ),
    Function(
        "1-norm",
        lambda x: np.linalg.norm(x, 1, -1),
        lambda c, x: up(c, x) * np.sign(x),
        {"x": away(3, 4)},
        {
            "sign forgotten": up,
            "gradient of the square": lambda c, x: 2 * up(c, x) * x,
            "divided by the norm": lambda c, x: up(c / np.linalg.norm(x, 1, -1), x) * np.sign(x),
        },
        ALL,
    ),
    Function(
        "2-norm",
        lambda x: np.linalg.norm(x, 2, -1),
        lambda c, x, mistake="": _norm(c, x, 2, mistake),
        {"x": away(3, 4)},
        NORMS,
        ALL,
    ),
    Function(
        "3-norm",
        lambda x: np.sum(abs(x) ** 3, -1) ** (1 / 3),
        lambda c, x, mistake="": _norm(c, x, 3, mistake),
        {"x": away(3, 4)},
        NORMS,
        ALL,
    ),
    Function(
        "infinity norm",
        lambda x: np.linalg.norm(x, np.inf, -1),
        lambda c, x, mistake="": np.sign(x) * _picked(lambda x: abs(x).argmax(-1))(c, x, mistake),
        {"x": apart(3, 4)},
        {
            "sign forgotten": lambda c, x: _picked(lambda x: abs(x).argmax(-1))(c, x),
            "largest, not largest in magnitude": lambda c, x: np.sign(x) * _picked(lambda x: x.argmax(-1))(c, x),
            "1-norm": lambda c, x: up(c, x) * np.sign(x),
        },
        ALL,
    ),
    Function(
        "cumsum",
        lambda x: np.cumsum(x, -1),
        lambda c, x, mistake="": _reverse_cumsum(c, mistake),
        {"x": normal(3, 4)},
        ("not reversed", "off by one", "mean of it"),
        ALL,
    ),
    Function(
        "cumprod",
        lambda x: np.cumprod(x, -1),
        _cumprod,
        {"x": away(3, 3)},
        ("not reversed", "not divided", "no sum over later products"),
        ALL,
    ),
    Function(
        "logcumsumexp",
        lambda x: np.logaddexp.accumulate(x, -1),
        _logcumsumexp,
        {"x": normal(3, 4)},
        ("later elements too", "slope of cumsum", "wrong sign"),
        UP_TO_ONE,
    ),
    Function(
        "cummax",
        lambda x: np.maximum.accumulate(x, -1),
        _cummax,
        {"x": apart(3, 5)},
        ("overwritten", "passes through", "wrong sign"),
        ALL,
    ),
)

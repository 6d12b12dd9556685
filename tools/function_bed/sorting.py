"""Sorting and ranks of values that are all different: a permutation forward, its inverse backward."""

import numpy as np

from tools.function_bed.base import ALL, UP_TO_ONE, Function, apart, family, normal


def scattered(c, order, shape):
    """Return zeros with c[row, k] added at column order[row, k]."""
    g = np.zeros(shape, c.dtype)
    for row, k in np.ndindex(order.shape):
        g[row, order[row, k]] += c[row, k]
    return g


def _sort(c, x, mistake="", sign=1):
    order = np.argsort(sign * x, -1)
    if mistake == "permutation not inverted":
        return np.take_along_axis(c, order, -1)
    if mistake == "not permuted":
        return c.copy()
    if mistake == "order turned round":
        order = order[:, ::-1]
    return scattered(c, order, x.shape)


def _top(c, x, mistake=""):
    order = np.argsort(-x, -1)
    if mistake == "smallest":
        order = order[:, ::-1]
    order = order[:, 1:3] if mistake == "off by one" else order[:, :2]
    g = scattered(c[:, ::-1] if mistake == "first and second swapped" else c, order, x.shape)
    return -g if mistake == "wrong sign" else g


def _kth(c, x, mistake=""):
    order = np.argsort(x, -1)
    k = {"off by one": 2, "counted from the top": 3}.get(mistake, 1)
    g = scattered(c[:, None], order[:, k : k + 1], x.shape)
    return g + c[:, None] / x.shape[1] if mistake == "mean added" else g


def _trimmed(c, x, mistake=""):
    order = np.argsort(x, -1)
    kept = order if mistake == "nothing trimmed" else order[:, :-2] if mistake == "one side only" else order[:, 1:-1]
    n = x.shape[1] if mistake == "divided by all" else kept.shape[1]
    return scattered(np.repeat(c[:, None] / n, kept.shape[1], 1), kept, x.shape)


def _quantile(c, x, mistake=""):
    """At 0.35 of 6 values: between the sorted values 1 and 2, three quarters of the way."""
    order, t = np.argsort(x, -1), 0.75
    if mistake == "weights swapped":
        t = 0.25
    if mistake == "lower value only":
        t = 0.0
    shift = 1 if mistake == "off by one" else 0
    return scattered(np.stack([(1 - t) * c, t * c], 1), order[:, 1 + shift : 3 + shift], x.shape)


def _by_key(c, k, x, mistake=""):
    """Rows of x in the order of their keys, each times its key."""
    order = np.argsort(k)
    inverse = order if mistake == "permutation not inverted" else np.argsort(order)
    back = c[inverse]
    return (
        0 * k if mistake == "key detached" else np.sum(back * x, 1)
    ), back if mistake == "key forgotten in dx" else back * k[:, None]


def _soft_rank_value(x):
    """1 + sum_j s(x_i - x_j) - 1/2."""
    return 0.5 + np.sum((1 + np.tanh((x[:, :, None] - x[:, None, :]) / 2)) / 2, -1)


def _soft_rank(c, x, mistake=""):
    s = (1 + np.tanh((x[:, :, None] - x[:, None, :]) / 2)) / 2
    slope = s if mistake == "1 - s forgotten" else s * (1 - s)
    gain = c[:, :, None] - (0 if mistake == "others detached" else c[:, None, :])
    return np.sum(slope * (2 * c[:, :, None] - gain if mistake == "plus" else gain), -1)


def _gini(c, x, mistake=""):
    """Mean absolute difference of all pairs: 2 sum_k (2 k - n + 1) x_(k) / n^2 over the sorted x."""
    n = x.shape[1]
    rank = np.argsort(np.argsort(x, -1), -1) + (1 if mistake == "rank off by one" else 0)
    if mistake == "argsort for rank":
        rank = np.argsort(x, -1)
    return (c[:, None] * (1 if mistake == "factor 2 forgotten" else 2) * (2 * rank - n + 1) / n**2).astype(x.dtype)


FUNCTIONS = family(
    "sorting",
    Function(
        "sort",
        lambda x: np.sort(x, -1),
        _sort,
        {"x": apart(3, 5)},
        ("permutation not inverted", "not permuted", "order turned round"),
        ALL,
    ),
    Function(
        "sort, descending",
        lambda x: -np.sort(-x, -1),
        lambda c, x, mistake="": _sort(c, x, mistake, -1),
        {"x": apart(3, 5)},
        ("permutation not inverted", "not permuted", "order turned round"),
        ALL,
    ),
    Function(
        "two largest",
        lambda x: np.sort(x, -1)[:, :-3:-1],
        _top,
        {"x": apart(3, 5)},
        ("smallest", "off by one", "first and second swapped"),
        ALL,
    ),
    Function(
        "second smallest",
        lambda x: np.partition(x, 1, -1)[:, 1],
        _kth,
        {"x": apart(3, 5)},
        ("off by one", "counted from the top", "mean added"),
        ALL,
    ),
    Function(
        "trimmed mean",
        lambda x: np.sort(x, -1)[:, 1:-1].mean(-1),
        _trimmed,
        {"x": apart(3, 6)},
        ("nothing trimmed", "one side only", "divided by all"),
        ALL,
    ),
    Function(
        "quantile 0.35",
        lambda x: 0.25 * np.sort(x, -1)[:, 1] + 0.75 * np.sort(x, -1)[:, 2],
        _quantile,
        {"x": apart(3, 6)},
        ("weights swapped", "lower value only", "off by one"),
        ALL,
    ),
    Function(
        "rows in the order of a key",
        lambda k, x: (k[:, None] * x)[np.argsort(k)],
        _by_key,
        {"k": apart(4), "x": normal(4, 2)},
        ("permutation not inverted", "key detached", "key forgotten in dx"),
        ALL,
    ),
    Function(
        "soft rank",
        _soft_rank_value,
        _soft_rank,
        {"x": normal(3, 4)},
        ("1 - s forgotten", "others detached", "plus"),
        UP_TO_ONE,
    ),
    Function(
        "mean absolute difference",
        lambda x: np.mean(abs(x[:, :, None] - x[:, None]), (1, 2)),
        _gini,
        {"x": apart(3, 5)},
        ("rank off by one", "argsort for rank", "factor 2 forgotten"),
        ALL,
    ),
)

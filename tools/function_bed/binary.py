"""Functions of two and three arrays. What broadcasting repeats in the forward pass is summed in the backward pass."""

import math

import numpy as np

from tools.function_bed.base import (
    ALL,
    UP_TO_ONE,
    Function,
    apart,
    away,
    between,
    family,
    normal,
    positive,
    unbroadcast,
)

U = unbroadcast
LN2 = math.log(2)


def _sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2


def _logaddexp(c, x, y, mistake=""):
    share = _sigmoid(x - y)
    if mistake == "shares swapped":
        share = 1 - share
    if mistake == "sides turned round":
        return c * (1 - share), -c * (1 - share)
    return c * share, c * (share if mistake == "the same share twice" else 1 - share)


FUNCTIONS = family(
    "two and three arrays",
    Function(
        "add, a row to a matrix",
        lambda x, b: x + b,
        lambda c, x, b: (c, c.sum(0)),
        {"x": normal(4, 3), "b": normal(3)},
        {
            "db a mean over the batch": lambda c, x, b: (c, c.mean(0)),
            "db of the first row": lambda c, x, b: (c, c[0]),
            "db with a minus": lambda c, x, b: (c, -c.sum(0)),
        },
        ALL,
    ),
    Function(
        "subtract, a column from a matrix",
        lambda x, b: x - b,
        lambda c, x, b: (c, -U(c, b)),
        {"x": normal(4, 3), "b": normal(4, 1)},
        {
            "minus forgotten": lambda c, x, b: (c, U(c, b)),
            "db of the first column": lambda c, x, b: (c, -c[:, :1]),
            "db a mean": lambda c, x, b: (c, -c.mean(1, keepdims=True)),
        },
        ALL,
    ),
    Function(
        "multiply, row times column",
        lambda x, y: x * y,
        lambda c, x, y: (U(c * y, x), U(c * x, y)),
        {"x": away(1, 4), "y": away(3, 1)},
        {
            "factors swapped": lambda c, x, y: (U(c * x, x), U(c * y, y)),
            "dy detached": lambda c, x, y: (U(c * y, x), 0 * y),
            "dx a mean": lambda c, x, y: (np.mean(c * y, 0, keepdims=True), U(c * x, y)),
        },
        ALL,
    ),
    Function(
        "divide, by a number",
        lambda x, y: x / y,
        lambda c, x, y: (c / y, U(-c * x / y**2, y)),
        {"x": away(3, 4), "y": lambda rng: rng.uniform(0.5, 2)},
        {
            "minus forgotten": lambda c, x, y: (c / y, U(c * x / y**2, y)),
            "square forgotten": lambda c, x, y: (c / y, U(-c * x / y, y)),
            "dy detached": lambda c, x, y: (c / y, 0 * y),
        },
        ALL,
    ),
    Function(
        "power, both trained",
        lambda x, y: x**y,
        lambda c, x, y: (c * y * x ** (y - 1), c * np.log(x) * x**y),
        {"x": positive(3, 4), "y": between(0.5, 2.5, 3, 4)},
        {
            "exponent detached": lambda c, x, y: (c * y * x ** (y - 1), 0 * y),
            "log forgotten": lambda c, x, y: (c * y * x ** (y - 1), c * x**y),
            "exponent not lowered": lambda c, x, y: (c * y * x**y, c * np.log(x) * x**y),
        },
        ALL,
        scaled=("x",),
    ),
    Function(
        "hypot",
        np.hypot,
        lambda c, x, y: (c * x / np.hypot(x, y), c * y / np.hypot(x, y)),
        {"x": away(3, 4), "y": away(3, 4)},
        {
            "root forgotten": lambda c, x, y: (c * 2 * x, c * 2 * y),
            "x and y swapped": lambda c, x, y: (c * y / np.hypot(x, y), c * x / np.hypot(x, y)),
            "not divided": lambda c, x, y: (c * x, c * y),
        },
        ALL,
    ),
    Function(
        "arctan2",
        np.arctan2,
        lambda c, y, x: (c * x / (x * x + y * y), -c * y / (x * x + y * y)),
        {"y": away(3, 4), "x": away(3, 4)},
        {
            "minus forgotten": lambda c, y, x: (c * x / (x * x + y * y), c * y / (x * x + y * y)),
            "x and y swapped": lambda c, y, x: (c * y / (x * x + y * y), -c * x / (x * x + y * y)),
            "root in the denominator": lambda c, y, x: (c * x / np.hypot(x, y), -c * y / np.hypot(x, y)),
        },
        ALL,
    ),
    Function(
        "logaddexp",
        np.logaddexp,
        _logaddexp,
        {"x": normal(3, 4), "y": normal(3, 4)},
        ("shares swapped", "the same share twice", "sides turned round"),
        UP_TO_ONE,
    ),
    Function(
        "logaddexp2",
        np.logaddexp2,
        lambda c, x, y: _logaddexp(c, LN2 * x, LN2 * y),
        {"x": normal(3, 4), "y": normal(3, 4)},
        {
            "ln 2 forgotten": _logaddexp,
            "divided by ln 2": lambda c, x, y: _logaddexp(c / LN2, LN2 * x, LN2 * y),
            "shares swapped": lambda c, x, y: _logaddexp(c, LN2 * y, LN2 * x),
        },
        UP_TO_ONE,
    ),
    Function(
        "maximum",
        np.maximum,
        lambda c, x, y: (c * (x > y), c * (x < y)),
        {"x": lambda rng: apart(12)(rng).reshape(3, 4), "y": lambda rng: apart(12)(rng).reshape(3, 4) + 0.125},
        {
            "minimum": lambda c, x, y: (c * (x < y), c * (x > y)),
            "both get all": lambda c, x, y: (c, c),
            "loser gets its part too": lambda c, x, y: (c * (x > y), c),
        },
        ALL,
    ),
    Function(
        "minimum",
        np.minimum,
        lambda c, x, y: (c * (x < y), c * (x > y)),
        {"x": lambda rng: apart(12)(rng).reshape(3, 4), "y": lambda rng: apart(12)(rng).reshape(3, 4) + 0.125},
        {
            "maximum": lambda c, x, y: (c * (x > y), c * (x < y)),
            "halves": lambda c, x, y: (c / 2, c / 2),
            "dy detached": lambda c, x, y: (c * (x < y), 0 * y),
        },
        ALL,
    ),
    Function(
        "remainder",
        np.mod,
        lambda c, x, y: (c, -c * np.floor(x / y)),
        {
            "x": lambda rng: rng.integers(2, 5, 6) + rng.uniform(0.3, 0.7, 6),
            "y": lambda rng: np.ones(6) + rng.uniform(-0.02, 0.02, 6),
        },
        {
            "floor forgotten": lambda c, x, y: (c, -c * x / y),
            "dy detached": lambda c, x, y: (c, 0 * y),
            "wrong sign": lambda c, x, y: (c, c * np.floor(x / y)),
        },
        ALL,
    ),
    Function(
        "linear interpolation of two arrays",
        lambda x, y, t: x + t * (y - x),
        lambda c, x, y, t: (c * (1 - t), c * t, np.sum(c * (y - x))),
        {"x": normal(3, 4), "y": normal(3, 4), "t": lambda rng: rng.uniform(0.2, 0.4)},
        {
            "ends swapped": lambda c, x, y, t: (c * t, c * (1 - t), np.sum(c * (y - x))),
            "dt with a minus": lambda c, x, y, t: (c * (1 - t), c * t, np.sum(c * (x - y))),
            "dt of the first element": lambda c, x, y, t: (c * (1 - t), c * t, (c * (y - x))[0, 0]),
        },
        ALL,
        scaled=("x", "y"),
    ),
    Function(
        "product of complex numbers",
        lambda x, y: np.stack([x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]]),
        lambda c, x, y: (
            np.stack([c[0] * y[0] + c[1] * y[1], c[1] * y[0] - c[0] * y[1]]),
            np.stack([c[0] * x[0] + c[1] * x[1], c[1] * x[0] - c[0] * x[1]]),
        ),
        {"x": normal(2, 5), "y": normal(2, 5)},
        {
            "not conjugated": lambda c, x, y: (
                np.stack([c[0] * y[0] - c[1] * y[1], c[1] * y[0] + c[0] * y[1]]),
                np.stack([c[0] * x[0] - c[1] * x[1], c[1] * x[0] + c[0] * x[1]]),
            ),
            "real part only": lambda c, x, y: (
                np.stack([c[0] * y[0], -c[0] * y[1]]),
                np.stack([c[0] * x[0], -c[0] * x[1]]),
            ),
            "the same factor twice": lambda c, x, y: (
                np.stack([c[0] * y[0] + c[1] * y[1], c[1] * y[0] - c[0] * y[1]]),
                np.stack([c[0] * y[0] + c[1] * y[1], c[1] * y[0] - c[0] * y[1]]),
            ),
        },
        ALL,
    ),
    Function(
        "addcdiv, t + 0.3 x / y",
        lambda t, x, y: t + 0.3 * x / y,
        lambda c, t, x, y: (c, 0.3 * c / y, -0.3 * c * x / y**2),
        {"t": normal(3, 4), "x": away(3, 4), "y": positive(3, 4)},
        {
            "0.3 forgotten": lambda c, t, x, y: (c, c / y, -c * x / y**2),
            "0.3 forgotten in dy": lambda c, t, x, y: (c, 0.3 * c / y, -c * x / y**2),
            "square forgotten": lambda c, t, x, y: (c, 0.3 * c / y, -0.3 * c * x / y),
        },
        ALL,
    ),
)

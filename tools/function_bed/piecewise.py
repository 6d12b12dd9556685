"""Piecewise activation functions, away from their kinks."""

import numpy as np

from tools.function_bed.activations import one, sigmoid, step
from tools.function_bed.base import ALL, FROM_ONE, UP_TO_ONE, Function, away, between, family, unary

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _softsign_slope(x):
    return 1 / (1 + abs(x)) ** 2


FUNCTIONS = family(
    "piecewise activations",
    unary(
        "ReLU",
        lambda x: np.maximum(x, 0),
        step,
        {
            "passes through": one,
            "condition turned round": lambda x: 1 - step(x),
            "value for slope": lambda x: np.maximum(x, 0),
        },
        ALL,
    ),
    unary(
        "leaky ReLU",
        lambda x: np.where(x > 0, x, 0.1 * x),
        lambda x: np.where(x > 0, one(x), 0.1 * one(x)),
        {
            "slope of ReLU": step,
            "slope 0.01": lambda x: np.where(x > 0, one(x), 0.01 * one(x)),
            "sides swapped": lambda x: np.where(x > 0, 0.1 * one(x), one(x)),
        },
        ALL,
    ),
    Function(
        "PReLU, one slope a column",
        lambda x, a: np.where(x > 0, x, a * x),
        lambda c, x, a: (c * np.where(x > 0, one(x), a), np.sum(c * np.minimum(x, 0), 0)),
        {"x": away(5, 3), "a": between(0.1, 0.4, 3)},
        {
            "da summed over all x": lambda c, x, a: (c * np.where(x > 0, one(x), a), np.sum(c * x, 0)),
            "da a mean": lambda c, x, a: (c * np.where(x > 0, one(x), a), np.mean(c * np.minimum(x, 0), 0)),
            "dx of ReLU": lambda c, x, a: (c * step(x), np.sum(c * np.minimum(x, 0), 0)),
        },
        ALL,
        scaled=("x",),
    ),
    unary(
        "ReLU6",
        lambda x: np.clip(x, 0, 6),
        lambda x: np.where((x > 0) & (x < 6), one(x), 0 * x),
        {
            "not bounded above": step,
            "not bounded below": lambda x: np.where(x < 6, one(x), 0 * x),
            "bound at 1": lambda x: np.where((x > 0) & (x < 1), one(x), 0 * x),
        },
        UP_TO_ONE,
        lambda rng: np.concatenate([away(6)(rng), rng.uniform(1.5, 5, 4), [7.0]]),
    ),
    unary(
        "ELU, alpha 1.3",
        lambda x: np.where(x > 0, x, 1.3 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, one(x), 1.3 * np.exp(np.minimum(x, 0))),
        {
            "alpha forgotten": lambda x: np.where(x > 0, one(x), np.exp(np.minimum(x, 0))),
            "value for slope": lambda x: np.where(x > 0, one(x), 1.3 * np.expm1(np.minimum(x, 0))),
            "slope of ReLU": step,
        },
        ALL,
    ),
    unary(
        "CELU, alpha 0.7",
        lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0) / 0.7)),
        lambda x: np.where(x > 0, one(x), np.exp(np.minimum(x, 0) / 0.7)),
        {
            "alpha not cancelled": lambda x: np.where(x > 0, one(x), 0.7 * np.exp(np.minimum(x, 0) / 0.7)),
            "alpha forgotten": lambda x: np.where(x > 0, one(x), np.exp(np.minimum(x, 0))),
            "slope of ReLU": step,
        },
        ALL,
    ),
    unary(
        "SELU",
        lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
        lambda x: SELU_SCALE * np.where(x > 0, one(x), SELU_ALPHA * np.exp(np.minimum(x, 0))),
        {
            "scale forgotten": lambda x: np.where(x > 0, one(x), SELU_ALPHA * np.exp(np.minimum(x, 0))),
            "alpha forgotten": lambda x: SELU_SCALE * np.where(x > 0, one(x), np.exp(np.minimum(x, 0))),
            "wrong sign below": lambda x: SELU_SCALE * np.where(x > 0, one(x), -SELU_ALPHA * np.exp(np.minimum(x, 0))),
        },
        ALL,
    ),
    unary(
        "hardtanh",
        lambda x: np.clip(x, -1, 1),
        lambda x: np.where(abs(x) < 1, one(x), 0 * x),
        {
            "slope of tanh": lambda x: 1 - np.tanh(x) ** 2,
            "passes through": one,
            "one side only": lambda x: np.where(x < 1, one(x), 0 * x),
        },
        UP_TO_ONE,
        lambda rng: np.concatenate([0.5 * away(6)(rng), [1.2, -1.3, 1.5]]),
    ),
    unary(
        "hard sigmoid",
        lambda x: np.clip(x / 6 + 0.5, 0, 1),
        lambda x: np.where(abs(x) < 3, one(x) / 6, 0 * x),
        {
            "slope 1": lambda x: np.where(abs(x) < 3, one(x), 0 * x),
            "passes through": lambda x: one(x) / 6,
            "slope of the sigmoid": lambda x: sigmoid(x) * (1 - sigmoid(x)),
        },
        UP_TO_ONE,
        lambda rng: np.concatenate([away(6)(rng), [3.4, -3.5]]),
    ),
    unary(
        "hard swish",
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.where(x > 3, one(x), np.where(x > -3, (2 * x + 3) / 6, 0 * x)),
        {
            "gate detached": lambda x: np.clip(x + 3, 0, 6) / 6,
            "factor 2 forgotten": lambda x: np.where(x > 3, one(x), np.where(x > -3, (x + 3) / 6, 0 * x)),
            "not bounded": lambda x: (2 * x + 3) / 6,
        },
        UP_TO_ONE,
        lambda rng: np.concatenate([away(6)(rng), [3.4, -3.5]]),
    ),
    unary(
        "softsign",
        lambda x: x / (1 + abs(x)),
        _softsign_slope,
        {
            "square forgotten": lambda x: 1 / (1 + abs(x)),
            "abs forgotten": lambda x: 1 / (1 + x) ** 2,
            "sign of x": lambda x: np.sign(x) * _softsign_slope(x),
        },
        ALL,
    ),
    unary(
        "softshrink, 0.5",
        lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0),
        lambda x: np.where(abs(x) > 0.5, one(x), 0 * x),
        {
            "one side only": lambda x: np.where(x > 0.5, one(x), 0 * x),
            "passes through": one,
            "sign of x": lambda x: np.where(abs(x) > 0.5, np.sign(x), 0 * x),
        },
        FROM_ONE,
        lambda rng: np.concatenate([0.7 + 0.3 * away(1)(rng) ** 2, [-0.8, -1.3, 0.3, -0.2, 1.1]]),
    ),
    unary(
        "hardshrink, 0.5",
        lambda x: np.where(abs(x) > 0.5, x, 0 * x),
        lambda x: np.where(abs(x) > 0.5, one(x), 0 * x),
        {
            "one side only": lambda x: np.where(x > 0.5, one(x), 0 * x),
            "passes through": one,
            "value for slope": lambda x: np.where(abs(x) > 0.5, x, 0 * x),
        },
        FROM_ONE,
        lambda rng: np.concatenate([0.7 + 0.3 * away(1)(rng) ** 2, [-0.8, -1.3, 0.3, -0.2, 1.1]]),
    ),
    Function(
        "GLU",
        lambda x: x[:, :3] * sigmoid(x[:, 3:]),
        lambda c, x: np.hstack([c * sigmoid(x[:, 3:]), c * x[:, :3] * sigmoid(x[:, 3:]) * sigmoid(-x[:, 3:])]),
        {"x": away(2, 6)},
        {
            "gate detached": lambda c, x: np.hstack([c * sigmoid(x[:, 3:]), 0 * c]),
            "halves swapped": lambda c, x: np.hstack(
                [c * x[:, :3] * sigmoid(x[:, 3:]) * sigmoid(-x[:, 3:]), c * sigmoid(x[:, 3:])]
            ),
            "1 - s forgotten": lambda c, x: np.hstack([c * sigmoid(x[:, 3:]), c * x[:, :3] * sigmoid(x[:, 3:])]),
        },
        UP_TO_ONE,
    ),
)

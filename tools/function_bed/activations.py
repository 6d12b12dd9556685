"""Smooth activation functions. With s the sigmoid: s' = s (1 - s), and (1 + tanh(x/2))/2 never overflows."""

import math

import numpy as np
from scipy import special

from tools.function_bed.base import UP_TO_ONE, Function, away, between, family, unary

one = np.ones_like

ROOT_2, ROOT_2_PI = math.sqrt(2), math.sqrt(2 * math.pi)

K = math.sqrt(2 / math.pi)  # of the tanh form of GELU, with its 0.044715


def sigmoid(x):
    """Return 1/(1 + exp(-x))."""
    return (1 + np.tanh(x / 2)) / 2


def softplus(x):
    """Return log(1 + exp(x))."""
    return np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)


def step(x):
    """Return 1 where x > 0, else 0."""
    return np.where(x > 0, one(x), 0 * x)


def _density(x):
    return np.exp(-x * x / 2) / ROOT_2_PI


def _gelu_tanh_slope(x, inner=True):
    t = np.tanh(K * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * K * (1 + inner * 3 * 0.044715 * x**2)


def _mish_slope(x):
    t = np.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


FUNCTIONS = family(
    "activations",
    unary(
        "sigmoid",
        sigmoid,
        lambda x: sigmoid(x) * (1 - sigmoid(x)),
        {
            "1 - s forgotten": sigmoid,
            "plus": lambda x: sigmoid(x) * (1 + sigmoid(x)),
            "slope of tanh": lambda x: 1 - sigmoid(x) ** 2,
        },
        UP_TO_ONE,
    ),
    unary(
        "log sigmoid",
        lambda x: -softplus(-x),
        lambda x: sigmoid(-x),
        {"s(x)": sigmoid, "wrong sign": lambda x: -sigmoid(-x), "1/s": lambda x: 1 / sigmoid(x)},
        UP_TO_ONE,
    ),
    unary(
        "logit",
        lambda x: np.log(x / (1 - x)),
        lambda x: 1 / (x * (1 - x)),
        {
            "1 - x forgotten": lambda x: 1 / x,
            "difference": lambda x: 1 / x - 1 / (1 - x),
            "not inverted": lambda x: x * (1 - x),
        },
        UP_TO_ONE,
        between(0.1, 0.9, 3, 4),
    ),
    unary(
        "softplus",
        softplus,
        sigmoid,
        {"value for slope": softplus, "step": step, "s(-x)": lambda x: sigmoid(-x)},
        UP_TO_ONE,
    ),
    unary(
        "softplus with sharpness 3",
        lambda x: softplus(3 * x) / 3,
        lambda x: sigmoid(3 * x),
        {
            "divided by 3": lambda x: sigmoid(3 * x) / 3,
            "times 3": lambda x: 3 * sigmoid(3 * x),
            "sharpness forgotten": sigmoid,
        },
        UP_TO_ONE,
    ),
    unary(
        "GELU, exact",
        lambda x: x * special.erfc(-x / ROOT_2) / 2,
        lambda x: special.erfc(-x / ROOT_2) / 2 + x * _density(x),
        {
            "gate detached": lambda x: special.erfc(-x / ROOT_2) / 2,
            "2 pi without root": lambda x: special.erfc(-x / ROOT_2) / 2 + x * _density(x) / ROOT_2_PI,
            "x detached": lambda x: x * _density(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "GELU, tanh",
        lambda x: x / 2 * (1 + np.tanh(K * (x + 0.044715 * x**3))),
        _gelu_tanh_slope,
        {
            "cubic term detached": lambda x: _gelu_tanh_slope(x, inner=False),
            "slope of the exact GELU": lambda x: special.erfc(-x / ROOT_2) / 2 + x * _density(x),
            "1/2 forgotten": lambda x: 2 * _gelu_tanh_slope(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "SiLU",
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))),
        {
            "gate detached": sigmoid,
            "x forgotten": lambda x: sigmoid(x) * (2 - sigmoid(x)),
            "1 - s forgotten": lambda x: sigmoid(x) * (1 + x),
        },
        UP_TO_ONE,
    ),
    Function(
        "swish with trained sharpness",
        lambda x, b: x * sigmoid(b * x),
        lambda c, x, b: (
            c * sigmoid(b * x) * (1 + b * x * sigmoid(-b * x)),
            np.sum(c * x * x * sigmoid(b * x) * sigmoid(-b * x)),
        ),
        {"x": away(3, 4), "b": lambda rng: rng.uniform(0.5, 1.5)},
        {
            "db: one x too few": lambda c, x, b: (
                c * sigmoid(b * x) * (1 + b * x * sigmoid(-b * x)),
                np.sum(c * x * sigmoid(b * x) * sigmoid(-b * x)),
            ),
            "dx: b forgotten": lambda c, x, b: (
                c * sigmoid(b * x) * (1 + x * sigmoid(-b * x)),
                np.sum(c * x * x * sigmoid(b * x) * sigmoid(-b * x)),
            ),
            "db: mean for sum": lambda c, x, b: (
                c * sigmoid(b * x) * (1 + b * x * sigmoid(-b * x)),
                np.mean(c * x * x * sigmoid(b * x) * sigmoid(-b * x)),
            ),
        },
        UP_TO_ONE,
        scaled=("x",),
    ),
    unary(
        "mish",
        lambda x: x * np.tanh(softplus(x)),
        _mish_slope,
        {
            "gate detached": lambda x: np.tanh(softplus(x)),
            "sigmoid forgotten": lambda x: np.tanh(softplus(x)) + x * (1 - np.tanh(softplus(x)) ** 2),
            "wrong sign": lambda x: -_mish_slope(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "tanhshrink",
        lambda x: x - np.tanh(x),
        lambda x: np.tanh(x) ** 2,
        {
            "square forgotten": np.tanh,
            "1 not cancelled": lambda x: 1 + np.tanh(x) ** 2,
            "wrong sign": lambda x: -(np.tanh(x) ** 2),
        },
    ),
    unary(
        "squareplus",
        lambda x: (x + np.sqrt(x * x + 4)) / 2,
        lambda x: (1 + x / np.sqrt(x * x + 4)) / 2,
        {
            "1/2 forgotten": lambda x: 1 + x / np.sqrt(x * x + 4),
            "x forgotten": lambda x: (1 + 1 / np.sqrt(x * x + 4)) / 2,
            "minus": lambda x: (1 - x / np.sqrt(x * x + 4)) / 2,
        },
        UP_TO_ONE,
    ),
)

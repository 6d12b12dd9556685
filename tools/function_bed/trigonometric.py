"""Trigonometric and hyperbolic functions: each row is f, f', and three wrong f'."""

import math

import numpy as np

from tools.function_bed.base import ALL, FROM_ONE, UP_TO_ONE, between, family, unary


def _sinc_slope(x):
    near = -(math.pi**2) * x / 3 + math.pi**4 * x**3 / 30  # the quotient below cancels to nothing near zero
    far = np.cos(math.pi * x) / x - np.sin(math.pi * x) / (math.pi * x**2)
    return np.where(abs(x) < 1e-3, near, far)


FUNCTIONS = family(
    "trigonometric and hyperbolic",
    unary(
        "sin",
        np.sin,
        np.cos,
        {"wrong sign": lambda x: -np.cos(x), "value for slope": np.sin, "linearised": lambda x: 1 - x * x / 2},
        ALL,
    ),
    unary(
        "cos",
        np.cos,
        lambda x: -np.sin(x),
        {"wrong sign": np.sin, "value for slope": np.cos, "linearised": lambda x: -x},
        ALL,
    ),
    unary(
        "tan",
        np.tan,
        lambda x: 1 + np.tan(x) ** 2,
        {
            "1 forgotten": lambda x: np.tan(x) ** 2,
            "minus": lambda x: 1 - np.tan(x) ** 2,
            "square forgotten": lambda x: 1 / np.cos(x),
        },
        UP_TO_ONE,
        between(-1.2, 1.2, 3, 4),
    ),
    unary(
        "sinc",
        np.sinc,
        _sinc_slope,
        {
            "pi forgotten": lambda x: np.cos(x) / x - np.sin(x) / x**2,
            "second term forgotten": lambda x: np.cos(math.pi * x) / x,
            "wrong sign": lambda x: -_sinc_slope(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "arcsin",
        np.arcsin,
        lambda x: 1 / np.sqrt(1 - x * x),
        {
            "root forgotten": lambda x: 1 / (1 - x * x),
            "plus": lambda x: 1 / np.sqrt(1 + x * x),
            "slope of arccos": lambda x: -1 / np.sqrt(1 - x * x),
        },
        UP_TO_ONE,
        between(-0.9, 0.9, 3, 4),
    ),
    unary(
        "arccos",
        np.arccos,
        lambda x: -1 / np.sqrt(1 - x * x),
        {
            "wrong sign": lambda x: 1 / np.sqrt(1 - x * x),
            "not inverted": lambda x: -np.sqrt(1 - x * x),
            "square forgotten": lambda x: -1 / np.sqrt(1 - x),
        },
        UP_TO_ONE,
        between(-0.9, 0.9, 3, 4),
    ),
    unary(
        "arctan",
        np.arctan,
        lambda x: 1 / (1 + x * x),
        {
            "minus": lambda x: 1 / (1 - x * x),
            "root": lambda x: 1 / np.sqrt(1 + x * x),
            "square forgotten": lambda x: 1 / (1 + x),
        },
        ALL,
    ),
    unary(
        "sinh",
        np.sinh,
        np.cosh,
        {"value for slope": np.sinh, "wrong sign": lambda x: -np.cosh(x), "slope of sin": np.cos},
        UP_TO_ONE,
    ),
    unary(
        "cosh",
        np.cosh,
        np.sinh,
        {"wrong sign": lambda x: -np.sinh(x), "value for slope": np.cosh, "slope of cos": lambda x: -np.sin(x)},
        UP_TO_ONE,
    ),
    unary(
        "tanh",
        np.tanh,
        lambda x: 1 - np.tanh(x) ** 2,
        {
            "square forgotten": lambda x: 1 - np.tanh(x),
            "plus": lambda x: 1 + np.tanh(x) ** 2,
            "slope of the sigmoid": lambda x: np.tanh(x) * (1 - np.tanh(x)),
        },
        UP_TO_ONE,
    ),
    unary(
        "arcsinh",
        np.arcsinh,
        lambda x: 1 / np.sqrt(1 + x * x),
        {
            "minus": lambda x: 1 / np.sqrt(abs(1 - x * x)),
            "root forgotten": lambda x: 1 / (1 + x * x),
            "wrong sign": lambda x: -1 / np.sqrt(1 + x * x),
        },
        ALL,
    ),
    unary(
        "arccosh",
        np.arccosh,
        lambda x: 1 / np.sqrt(x * x - 1),
        {
            "plus": lambda x: 1 / np.sqrt(x * x + 1),
            "root forgotten": lambda x: 1 / (x * x - 1),
            "wrong sign": lambda x: -1 / np.sqrt(x * x - 1),
        },
        FROM_ONE,
        between(1.3, 4.0, 3, 4),
    ),
    unary(
        "arctanh",
        np.arctanh,
        lambda x: 1 / (1 - x * x),
        {
            "plus": lambda x: 1 / (1 + x * x),
            "square forgotten": lambda x: 1 / (1 - x),
            "root": lambda x: 1 / np.sqrt(1 - x * x),
        },
        UP_TO_ONE,
        between(-0.9, 0.9, 3, 4),
    ),
)

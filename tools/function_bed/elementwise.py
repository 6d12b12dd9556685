"""Exponentials, logarithms and powers, element by element: each row is f, f', and three wrong f'."""

import math

import numpy as np

from tools.function_bed.base import ALL, UP_TO_ONE, away, family, positive, unary

one = np.ones_like

LN2, LN10 = math.log(2), math.log(10)

EXPONENTIALS = family(
    "exponentials and logarithms",
    unary(
        "exp",
        np.exp,
        np.exp,
        {
            "power rule": lambda x: x * np.exp(x - 1),
            "wrong sign": lambda x: -np.exp(x),
            "off by one": lambda x: np.exp(x) - 1,
        },
        UP_TO_ONE,
    ),
    unary(
        "exp2",
        np.exp2,
        lambda x: LN2 * np.exp2(x),
        {
            "ln 2 forgotten": np.exp2,
            "divided by ln 2": lambda x: np.exp2(x) / LN2,
            "slope of exp": np.exp,
        },
        UP_TO_ONE,
    ),
    unary(
        "expm1",
        np.expm1,
        np.exp,
        {"value for slope": np.expm1, "wrong sign": lambda x: -np.exp(x), "detached": lambda x: 0 * x},
        UP_TO_ONE,
    ),
    unary(
        "exp(-x^2)",
        lambda x: np.exp(-x * x),
        lambda x: -2 * x * np.exp(-x * x),
        {
            "factor 2 forgotten": lambda x: -x * np.exp(-x * x),
            "wrong sign": lambda x: 2 * x * np.exp(-x * x),
            "chain rule forgotten": lambda x: np.exp(-x * x),
        },
        UP_TO_ONE,
    ),
    unary(
        "log",
        np.log,
        lambda x: 1 / x,
        {"wrong sign": lambda x: -1 / x, "square": lambda x: 1 / x**2, "value for slope": np.log},
        ALL,
        positive(3, 4),
    ),
    unary(
        "log2",
        np.log2,
        lambda x: 1 / (x * LN2),
        {
            "ln 2 forgotten": lambda x: 1 / x,
            "times ln 2": lambda x: LN2 / x,
            "wrong sign": lambda x: -1 / (x * LN2),
        },
        ALL,
        positive(3, 4),
    ),
    unary(
        "log10",
        np.log10,
        lambda x: 1 / (x * LN10),
        {"ln 10 forgotten": lambda x: 1 / x, "times ln 10": lambda x: LN10 / x, "ln 2": lambda x: 1 / (x * LN2)},
        ALL,
        positive(3, 4),
    ),
    unary(
        "log1p",
        np.log1p,
        lambda x: 1 / (1 + x),
        {"slope of log": lambda x: 1 / x, "wrong sign": lambda x: -1 / (1 + x), "1 - x": lambda x: 1 / (1 - x)},
        ALL,
        positive(3, 4),
    ),
    unary(
        "x log x",
        lambda x: x * np.log(x),
        lambda x: np.log(x) + 1,
        {"second factor detached": np.log, "first factor detached": one, "minus": lambda x: np.log(x) - 1},
        ALL,
        positive(3, 4),
    ),
)

POWERS = family(
    "powers and rounding",
    unary(
        "sqrt",
        np.sqrt,
        lambda x: 0.5 / np.sqrt(x),
        {
            "1/2 forgotten": lambda x: 1 / np.sqrt(x),
            "root not inverted": lambda x: np.sqrt(x) / 2,
            "x for root": lambda x: 0.5 / x,
        },
        ALL,
        positive(3, 4),
    ),
    unary(
        "cbrt",
        np.cbrt,
        lambda x: 1 / (3 * np.cbrt(x) ** 2),
        {
            "1/3 forgotten": lambda x: 1 / np.cbrt(x) ** 2,
            "square forgotten": lambda x: 1 / (3 * np.cbrt(x)),
            "sign of x": lambda x: np.sign(x) / (3 * np.cbrt(x) ** 2),
        },
        ALL,
    ),
    unary(
        "rsqrt",
        lambda x: 1 / np.sqrt(x),
        lambda x: -0.5 / (x * np.sqrt(x)),
        {
            "wrong sign": lambda x: 0.5 / (x * np.sqrt(x)),
            "slope of sqrt": lambda x: 0.5 / np.sqrt(x),
            "1/2 forgotten": lambda x: -1 / (x * np.sqrt(x)),
        },
        ALL,
        positive(3, 4),
    ),
    unary(
        "reciprocal",
        np.reciprocal,
        lambda x: -1 / x**2,
        {"wrong sign": lambda x: 1 / x**2, "square forgotten": lambda x: -1 / x, "slope of log": lambda x: 1 / x},
        ALL,
    ),
    unary(
        "square",
        np.square,
        lambda x: 2 * x,
        {"factor 2 forgotten": lambda x: x, "2 abs(x)": lambda x: 2 * abs(x), "wrong sign": lambda x: -2 * x},
        ALL,
    ),
    unary(
        "x^3",
        lambda x: x**3,
        lambda x: 3 * x**2,
        {
            "exponent not lowered": lambda x: 3 * x**3,
            "factor 2": lambda x: 2 * x**2,
            "factor forgotten": lambda x: x**2,
        },
        ALL,
    ),
    unary(
        "x^2.5",
        lambda x: x**2.5,
        lambda x: 2.5 * x**1.5,
        {
            "factor forgotten": lambda x: x**1.5,
            "exponent not lowered": lambda x: 2.5 * x**2.5,
            "exponent rounded": lambda x: 2.5 * x**2,
        },
        ALL,
        positive(3, 4),
    ),
    unary(
        "x^-1.5",
        lambda x: x**-1.5,
        lambda x: -1.5 * x**-2.5,
        {
            "wrong sign": lambda x: 1.5 * x**-2.5,
            "exponent raised": lambda x: -1.5 * x**-0.5,
            "factor forgotten": lambda x: -(x**-2.5),
        },
        ALL,
        positive(3, 4),
    ),
    unary(
        "abs",
        np.abs,
        np.sign,
        {"sign forgotten": one, "value for slope": np.abs, "wrong sign": lambda x: -np.sign(x)},
        ALL,
    ),
    unary(
        "x abs(x)",
        lambda x: x * np.abs(x),
        lambda x: 2 * np.abs(x),
        {"abs detached": np.abs, "slope of the square": lambda x: 2 * x, "factor 2 forgotten": lambda x: x},
        ALL,
    ),
    unary(
        "clip",
        lambda x: np.clip(x, -1, 1),
        lambda x: np.where(abs(x) < 1, one(x), 0 * x),
        {
            "passes through": one,
            "one side only": lambda x: np.where(x < 1, one(x), 0 * x),
            "condition turned round": lambda x: np.where(abs(x) < 1, 0 * x, one(x)),
        },
        UP_TO_ONE,
        lambda rng: np.concatenate([away(4)(rng) / 2, 1.2 * np.sign(away(3)(rng))]),
    ),
    unary(
        "fractional part",
        lambda x: x - np.floor(x),
        one,
        {
            "floor has slope 1": lambda x: 0 * x,
            "wrong sign": lambda x: -one(x),
            "value for slope": lambda x: x - np.floor(x),
        },
        UP_TO_ONE,
        lambda rng: rng.integers(0, 3, 7) + rng.uniform(0.2, 0.8, 7),
    ),
)

FUNCTIONS = EXPONENTIALS + POWERS

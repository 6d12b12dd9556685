"""Error functions and entropies of SciPy; derivatives after DLMF, https://dlmf.nist.gov, chapter 7."""

import math

import numpy as np
from scipy import special as s

from tools.function_bed.base import ALL, ONE, UP_TO_ONE, Function, away, between, family, positive, unary
from tools.function_bed.gamma import LARGE

ROOT_PI, ROOT_2_PI = math.sqrt(math.pi), math.sqrt(2 * math.pi)


def _density(x):
    return np.exp(-x * x / 2) / ROOT_2_PI


def _log_ndtr_slope(x):
    return np.exp(-x * x / 2 - s.log_ndtr(x)) / ROOT_2_PI


FUNCTIONS = family(
    "error functions and entropies",
    unary(
        "erf",
        s.erf,
        lambda x: 2 / ROOT_PI * np.exp(-x * x),
        {
            "2/sqrt(pi) forgotten": lambda x: np.exp(-x * x),
            "root forgotten": lambda x: 2 / math.pi * np.exp(-x * x),
            "density": _density,
        },
        UP_TO_ONE,
    ),
    unary(
        "erfc",
        s.erfc,
        lambda x: -2 / ROOT_PI * np.exp(-x * x),
        {
            "wrong sign": lambda x: 2 / ROOT_PI * np.exp(-x * x),
            "exp(-x)": lambda x: -2 / ROOT_PI * np.exp(-x),
            "factor 2 forgotten": lambda x: -1 / ROOT_PI * np.exp(-x * x),
        },
        UP_TO_ONE,
    ),
    unary(
        "erfcx",
        s.erfcx,
        lambda x: 2 * x * s.erfcx(x) - 2 / ROOT_PI,
        {
            "first term forgotten": lambda x: 0 * x - 2 / ROOT_PI,
            "second term forgotten": lambda x: 2 * x * s.erfcx(x),
            "wrong sign": lambda x: 2 / ROOT_PI - 2 * x * s.erfcx(x),
        },
    ),
    unary(
        "erfinv",
        s.erfinv,
        lambda x: ROOT_PI / 2 * np.exp(s.erfinv(x) ** 2),
        {
            "not inverted": lambda x: 2 / ROOT_PI * np.exp(-(s.erfinv(x) ** 2)),
            "x for erfinv(x)": lambda x: ROOT_PI / 2 * np.exp(x**2),
            "root forgotten": lambda x: math.pi / 2 * np.exp(s.erfinv(x) ** 2),
        },
        UP_TO_ONE,
        between(-0.8, 0.8, 3, 4),
    ),
    unary(
        "erfcinv",
        s.erfcinv,
        lambda x: -ROOT_PI / 2 * np.exp(s.erfcinv(x) ** 2),
        {
            "wrong sign": lambda x: ROOT_PI / 2 * np.exp(s.erfcinv(x) ** 2),
            "factor forgotten": lambda x: -np.exp(s.erfcinv(x) ** 2),
            "x for erfcinv(x)": lambda x: -ROOT_PI / 2 * np.exp(x**2),
        },
        (ONE,),
        between(0.2, 1.8, 3, 4),
    ),
    unary(
        "ndtr",
        s.ndtr,
        _density,
        {
            "2 pi without root": lambda x: _density(x) / ROOT_2_PI,
            "1/2 forgotten": lambda x: np.exp(-x * x) / ROOT_2_PI,
            "slope of erf": lambda x: 2 / ROOT_PI * np.exp(-x * x),
        },
        UP_TO_ONE,
    ),
    unary(
        "log_ndtr",
        s.log_ndtr,
        _log_ndtr_slope,
        {
            "density only": _density,
            "divided by ndtr(-x)": lambda x: _density(x) / s.ndtr(-x),
            "wrong sign": lambda x: -_log_ndtr_slope(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "ndtri",
        s.ndtri,
        lambda x: ROOT_2_PI * np.exp(s.ndtri(x) ** 2 / 2),
        {
            "not inverted": lambda x: _density(s.ndtri(x)),
            "density of x": lambda x: 1 / _density(x),
            "1/2 forgotten": lambda x: ROOT_2_PI * np.exp(s.ndtri(x) ** 2),
        },
        (ONE,),
        between(0.1, 0.9, 3, 4),
    ),
    unary(
        "entr",
        s.entr,
        lambda x: -np.log(x) - 1,
        {"1 forgotten": lambda x: -np.log(x), "wrong sign": lambda x: np.log(x) + 1, "log2": lambda x: -np.log2(x) - 1},
        ALL,
        positive(3, 4),
    ),
    Function(
        "rel_entr",
        s.rel_entr,
        lambda c, x, y: (c * (np.log(x / y) + 1), -c * x / y),
        {"x": positive(3, 4), "y": positive(3, 4)},
        {
            "1 forgotten": lambda c, x, y: (c * np.log(x / y), -c * x / y),
            "ratio turned round": lambda c, x, y: (c * (np.log(x / y) + 1), -c * y / x),
            "dy with a plus": lambda c, x, y: (c * (np.log(x / y) + 1), c * x / y),
        },
        ALL,
    ),
    Function(
        "kl_div",
        s.kl_div,
        lambda c, x, y: (c * np.log(x / y), c * (1 - x / y)),
        {"x": positive(3, 4), "y": positive(3, 4)},
        {
            "gradient of rel_entr": lambda c, x, y: (c * (np.log(x / y) + 1), -c * x / y),
            "dy detached": lambda c, x, y: (c * np.log(x / y), 0 * y),
            "ratio turned round": lambda c, x, y: (c * np.log(y / x), c * (1 - x / y)),
        },
        ALL,
    ),
    Function(
        "xlogy",
        s.xlogy,
        lambda c, x, y: (c * np.log(y), c * x / y),
        {"x": away(3, 4), "y": positive(3, 4)},
        {
            "dx detached": lambda c, x, y: (0 * x, c * x / y),
            "dy: y for x": lambda c, x, y: (c * np.log(y), c * y / x),
            "dx: log1p": lambda c, x, y: (c * np.log1p(y), c * x / y),
        },
        ALL,
    ),
    Function(
        "xlog1py",
        s.xlog1py,
        lambda c, x, y: (c * np.log1p(y), c * x / (1 + y)),
        {"x": away(3, 4), "y": positive(3, 4)},
        {
            "1 forgotten": lambda c, x, y: (c * np.log1p(y), c * x / y),
            "dx: log": lambda c, x, y: (c * np.log(y), c * x / (1 + y)),
            "dx detached": lambda c, x, y: (0 * x, c * x / (1 + y)),
        },
        ALL,
    ),
    Function(
        "boxcox",
        s.boxcox,
        lambda c, x, a: (c * x ** (a - 1), c * (a * x**a * np.log(x) - x**a + 1) / a**2),
        {"x": positive(3, 4), "a": positive(3, 4)},
        {
            "exponent not lowered": lambda c, x, a: (c * x**a, c * (a * x**a * np.log(x) - x**a + 1) / a**2),
            "quotient rule forgotten": lambda c, x, a: (c * x ** (a - 1), c * x**a * np.log(x) / a),
            "exponent detached": lambda c, x, a: (c * x ** (a - 1), 0 * a),
        },
        (ONE, LARGE),
        scaled=("x",),
    ),
)

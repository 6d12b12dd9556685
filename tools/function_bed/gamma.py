"""Gamma, beta and zeta functions of SciPy; derivatives after DLMF, https://dlmf.nist.gov, chapters 5, 8 and 25."""

import math

import numpy as np
from scipy import special as s

from tools.function_bed.base import ALL, LARGE, ONE, UP_TO_ONE, Function, between, family, positive, unary


def _psi(n, x):
    """Return the polygamma function, which SciPy has in float64 only, in the dtype of `x`."""
    return s.polygamma(n, x).astype(x.dtype)


FUNCTIONS = family(
    "gamma, beta and zeta functions",
    unary(
        "gammaln",
        s.gammaln,
        s.digamma,
        {"value for slope": s.gammaln, "log": np.log, "1/x forgotten": lambda x: s.digamma(x + 1)},
        ALL,
        between(1.6, 4, 3, 4),
    ),
    unary(
        "gamma",
        s.gamma,
        lambda x: s.gamma(x) * s.digamma(x),
        {
            "digamma only": s.digamma,
            "factor gamma only": s.gamma,
            "off by one": lambda x: s.gamma(x) * s.digamma(x + 1),
        },
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "1/gamma",
        s.rgamma,
        lambda x: -s.digamma(x) * s.rgamma(x),
        {
            "minus forgotten": lambda x: s.digamma(x) * s.rgamma(x),
            "gamma not inverted": lambda x: -s.digamma(x) * s.gamma(x),
            "digamma forgotten": lambda x: -s.rgamma(x),
        },
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "digamma",
        s.digamma,
        lambda x: _psi(1, x),
        {"1/x": lambda x: 1 / x, "next order": lambda x: _psi(2, x), "off by one": lambda x: _psi(1, x + 1)},
        ALL,
        positive(3, 4),
    ),
    unary(
        "trigamma",
        lambda x: _psi(1, x),
        lambda x: _psi(2, x),
        {"same order": lambda x: _psi(1, x), "wrong sign": lambda x: -_psi(2, x), "factor 2": lambda x: 2 * _psi(2, x)},
        ALL,
        positive(3, 4),
    ),
    Function(
        "zeta(x, q), by q",
        lambda q: s.zeta(2.5, q),
        lambda c, q: -2.5 * c * s.zeta(3.5, q),
        {"q": positive(3, 4)},
        {
            "factor x forgotten": lambda c, q: -c * s.zeta(3.5, q),
            "wrong sign": lambda c, q: 2.5 * c * s.zeta(3.5, q),
            "x not raised": lambda c, q: -2.5 * c * s.zeta(2.5, q),
        },
        ALL,
    ),
    Function(
        "betaln",
        s.betaln,
        lambda c, a, b: (c * (s.digamma(a) - s.digamma(a + b)), c * (s.digamma(b) - s.digamma(a + b))),
        {"a": positive(3, 4), "b": positive(3, 4)},
        {
            "sum forgotten": lambda c, a, b: (c * s.digamma(a), c * s.digamma(b)),
            "a and b swapped": lambda c, a, b: (
                c * (s.digamma(b) - s.digamma(a + b)),
                c * (s.digamma(a) - s.digamma(a + b)),
            ),
            "plus": lambda c, a, b: (c * (s.digamma(a) + s.digamma(a + b)), c * (s.digamma(b) + s.digamma(a + b))),
        },
        UP_TO_ONE,
    ),
    Function(
        "beta",
        s.beta,
        lambda c, a, b: (
            c * s.beta(a, b) * (s.digamma(a) - s.digamma(a + b)),
            c * s.beta(a, b) * (s.digamma(b) - s.digamma(a + b)),
        ),
        {"a": positive(3, 4), "b": positive(3, 4)},
        {
            "gradient of betaln": lambda c, a, b: (
                c * (s.digamma(a) - s.digamma(a + b)),
                c * (s.digamma(b) - s.digamma(a + b)),
            ),
            "db detached": lambda c, a, b: (c * s.beta(a, b) * (s.digamma(a) - s.digamma(a + b)), 0 * b),
            "sum forgotten": lambda c, a, b: (c * s.beta(a, b) * s.digamma(a), c * s.beta(a, b) * s.digamma(b)),
        },
        UP_TO_ONE,
    ),
    unary(
        "multigammaln, order 2",
        lambda x: s.gammaln(x) + s.gammaln(x - 0.5) + math.log(math.pi) / 2,
        lambda x: s.digamma(x) + s.digamma(x - 0.5),
        {
            "second term forgotten": s.digamma,
            "shift forgotten": lambda x: 2 * s.digamma(x),
            "mean for sum": lambda x: (s.digamma(x) + s.digamma(x - 0.5)) / 2,
        },
        (ONE, LARGE),
        between(2.2, 4, 3, 4),
    ),
    unary(
        "gammainc(2.5, x)",
        lambda x: s.gammainc(2.5, x).astype(x.dtype),
        lambda x: x**1.5 * np.exp(-x) / math.gamma(2.5),
        {
            "not normalised": lambda x: x**1.5 * np.exp(-x),
            "exponent not lowered": lambda x: x**2.5 * np.exp(-x) / math.gamma(2.5),
            "slope of gammaincc": lambda x: -(x**1.5) * np.exp(-x) / math.gamma(2.5),
        },
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "betainc(2, 3, x)",
        lambda x: s.betainc(2, 3, x),
        lambda x: 12 * x * (1 - x) ** 2,
        {
            "not normalised": lambda x: x * (1 - x) ** 2,
            "a and b swapped": lambda x: 12 * x**2 * (1 - x),
            "exponents not lowered": lambda x: 12 * x**2 * (1 - x) ** 3,
        },
        UP_TO_ONE,
        between(0.1, 0.9, 3, 4),
    ),
)

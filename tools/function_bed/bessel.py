"""Bessel, elliptic and other functions of SciPy; derivatives after DLMF, https://dlmf.nist.gov."""

import math

import numpy as np
from scipy import special as s

from tools.function_bed.base import ALL, ONE, UP_TO_ONE, between, family, positive, unary


def _i0e_slope(x):
    return s.i1e(x) - np.sign(x) * s.i0e(x)


def _lambertw(x):
    return s.lambertw(x).real.astype(x.dtype)


FUNCTIONS = family(
    "Bessel, elliptic and other functions",
    unary(
        "i0",
        s.i0,
        s.i1,
        {"value for slope": s.i0, "wrong sign": lambda x: -s.i1(x), "slope of J0": lambda x: -s.j1(x)},
        UP_TO_ONE,
    ),
    unary(
        "i1",
        s.i1,
        lambda x: s.i0(x) - s.i1(x) / x,
        {
            "second term forgotten": s.i0,
            "plus": lambda x: s.i0(x) + s.i1(x) / x,
            "1/x forgotten": lambda x: s.i0(x) - s.i1(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "i0e",
        s.i0e,
        _i0e_slope,
        {
            "scaling detached": s.i1e,
            "sign forgotten": lambda x: s.i1e(x) - s.i0e(x),
            "plus": lambda x: s.i1e(x) + np.sign(x) * s.i0e(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "i1e",
        s.i1e,
        lambda x: s.i0e(x) - s.i1e(x) / x - np.sign(x) * s.i1e(x),
        {
            "scaling detached": lambda x: s.i0e(x) - s.i1e(x) / x,
            "second term forgotten": lambda x: s.i0e(x) - np.sign(x) * s.i1e(x),
            "sign forgotten": lambda x: s.i0e(x) - s.i1e(x) / x - s.i1e(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "j0",
        s.j0,
        lambda x: -s.j1(x),
        {"minus forgotten": s.j1, "value for slope": s.j0, "I1": lambda x: -s.i1(x)},
        UP_TO_ONE,
    ),
    unary(
        "j1",
        s.j1,
        lambda x: s.j0(x) - s.j1(x) / x,
        {
            "second term forgotten": s.j0,
            "plus": lambda x: s.j0(x) + s.j1(x) / x,
            "wrong sign": lambda x: s.j1(x) / x - s.j0(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "y0",
        s.y0,
        lambda x: -s.y1(x),
        {"minus forgotten": s.y1, "J1": lambda x: -s.j1(x), "value for slope": s.y0},
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "k0",
        s.k0,
        lambda x: -s.k1(x),
        {"minus forgotten": s.k1, "value for slope": s.k0, "I1": s.i1},
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "k1",
        s.k1,
        lambda x: -s.k0(x) - s.k1(x) / x,
        {
            "second term forgotten": lambda x: -s.k0(x),
            "first term forgotten": lambda x: -s.k1(x) / x,
            "wrong sign": lambda x: s.k0(x) + s.k1(x) / x,
        },
        (ONE,),
        positive(3, 4),
    ),
    unary(
        "jv, order 2.5",
        lambda x: s.jv(2.5, x),
        lambda x: (s.jv(1.5, x) - s.jv(3.5, x)) / 2,
        {
            "1/2 forgotten": lambda x: s.jv(1.5, x) - s.jv(3.5, x),
            "plus": lambda x: (s.jv(1.5, x) + s.jv(3.5, x)) / 2,
            "lower order only": lambda x: s.jv(1.5, x) / 2,
        },
        (ONE,),
        positive(3, 4),
    ),
    unary(
        "Airy function Ai",
        lambda x: s.airy(x)[0],
        lambda x: s.airy(x)[1],
        {
            "value for slope": lambda x: s.airy(x)[0],
            "Bi'": lambda x: s.airy(x)[3],
            "second derivative": lambda x: x * s.airy(x)[0],
        },
        UP_TO_ONE,
    ),
    unary(
        "ellipk",
        s.ellipk,
        lambda m: (s.ellipe(m) / (1 - m) - s.ellipk(m)) / (2 * m),
        {
            "1/2 forgotten": lambda m: (s.ellipe(m) / (1 - m) - s.ellipk(m)) / m,
            "1 - m forgotten": lambda m: (s.ellipe(m) - s.ellipk(m)) / (2 * m),
            "by the modulus k": lambda m: (s.ellipe(m) / (1 - m) - s.ellipk(m)) / np.sqrt(m),
        },
        (ONE,),
        between(0.2, 0.8, 3, 4),
    ),
    unary(
        "ellipe",
        s.ellipe,
        lambda m: (s.ellipe(m) - s.ellipk(m)) / (2 * m),
        {
            "1/2 forgotten": lambda m: (s.ellipe(m) - s.ellipk(m)) / m,
            "turned round": lambda m: (s.ellipk(m) - s.ellipe(m)) / (2 * m),
            "by the modulus k": lambda m: (s.ellipe(m) - s.ellipk(m)) / np.sqrt(m),
        },
        (ONE,),
        between(0.2, 0.8, 3, 4),
    ),
    unary(
        "Dawson's integral",
        s.dawsn,
        lambda x: 1 - 2 * x * s.dawsn(x),
        {
            "factor 2 forgotten": lambda x: 1 - x * s.dawsn(x),
            "plus": lambda x: 1 + 2 * x * s.dawsn(x),
            "1 forgotten": lambda x: -2 * x * s.dawsn(x),
        },
        UP_TO_ONE,
    ),
    unary(
        "Fresnel S",
        lambda x: s.fresnel(x)[0],
        lambda x: np.sin(math.pi * x**2 / 2),
        {
            "slope of C": lambda x: np.cos(math.pi * x**2 / 2),
            "pi/2 forgotten": lambda x: np.sin(x**2),
            "square forgotten": lambda x: np.sin(math.pi * x / 2),
        },
    ),
    unary(
        "sine integral",
        lambda x: s.sici(x)[0],
        lambda x: np.sin(x) / x,
        {"1/x forgotten": np.sin, "cosine integral": lambda x: np.cos(x) / x, "normalised sinc": np.sinc},
        UP_TO_ONE,
    ),
    unary(
        "exponential integral E1",
        s.exp1,
        lambda x: -np.exp(-x) / x,
        {
            "minus forgotten": lambda x: np.exp(-x) / x,
            "slope of Ei": lambda x: np.exp(x) / x,
            "1/x forgotten": lambda x: -np.exp(-x),
        },
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "Spence's function",
        s.spence,
        lambda x: np.log(x) / (1 - x),
        {
            "wrong sign": lambda x: np.log(x) / (x - 1),
            "dilogarithm of x": lambda x: -np.log(abs(1 - x)) / x,
            "log forgotten": lambda x: 1 / (1 - x),
        },
        ALL,
        lambda rng: np.concatenate([rng.uniform(0.2, 0.8, 6), rng.uniform(1.3, 3, 6)]),
    ),
    unary(
        "Lambert W",
        _lambertw,
        lambda x: _lambertw(x) / (x * (1 + _lambertw(x))),
        {
            "1 + W forgotten": lambda x: _lambertw(x) / x,
            "x forgotten": lambda x: _lambertw(x) / (1 + _lambertw(x)),
            "inverse slope": lambda x: np.exp(x) * (1 + x),
        },
        UP_TO_ONE,
        positive(3, 4),
    ),
    unary(
        "exprel",
        s.exprel,
        lambda x: (np.exp(x) - s.exprel(x)) / x,
        {
            "quotient rule forgotten": lambda x: np.exp(x) / x,
            "value for slope": s.exprel,
            "wrong sign": lambda x: (s.exprel(x) - np.exp(x)) / x,
        },
    ),
    unary(
        "Legendre polynomial, degree 4",
        lambda x: (35 * x**4 - 30 * x**2 + 3) / 8,
        lambda x: (35 * x**3 - 15 * x) / 2,
        {
            "second term forgotten": lambda x: 35 * x**3 / 2,
            "factor 2": lambda x: 35 * x**3 - 15 * x,
            "degree 3": lambda x: (5 * x**3 - 3 * x) / 2,
        },
        UP_TO_ONE,
    ),
)

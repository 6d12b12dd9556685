"""Interpolation and resampling, differentiated by the values at the knots and, where stated, also by the place."""

import itertools

import numpy as np

from tools.function_bed.base import ALL, UP_TO_ONE, Function, family, normal, positive

PLACES = np.array([0.3, 1.6, 2.2, 3.7, 2.8])
LEFT = PLACES.astype(int)
PART = PLACES - LEFT
WITHIN = lambda rng: rng.integers(0, 4, 6) + rng.uniform(0.2, 0.8, 6)  # noqa: E731 - between the knots 0, ..., 4


def _linear_matrix(dtype, mistake=""):
    """Return rows of weights (1 - t, t) at the knots beside each place."""
    m = np.zeros((5, 5))
    rows = np.arange(5)
    m[rows, LEFT], m[rows, LEFT + 1] = (PART, 1 - PART) if mistake == "weights swapped" else (1 - PART, PART)
    if mistake == "nearest knot only":
        m = (m > 0.5).astype(float)
    if mistake == "right knot forgotten":
        m[rows, LEFT + 1] = 0
    return m.astype(dtype)


def _left(x):
    """Return the knot to the left of each place; values outside the knots are extrapolated."""
    return np.clip(np.floor(x.real), 0, 3).astype(int)


def _interp_value(x, y):
    k = _left(x)
    return y[k] + (x - k.astype(x.real.dtype)) * (y[k + 1] - y[k])


def _interp(c, x, y, mistake=""):
    k = _left(x)
    t = x - k.astype(x.dtype)
    dy = np.zeros_like(y)
    np.add.at(dy, k, c * (1 - t))
    if mistake == "overwritten, not added":
        dy[k + 1] = c * t
    else:
        np.add.at(dy, k + 1, c * t)
    dx = c * (y[k + 1] - y[k])
    return 0 * x if mistake == "place detached" else -dx if mistake == "slope turned round" else dx, dy


def _corners(x, p):
    """Return the four corners round each place p = (row, column), and the parts of the way."""
    k, l = _left(p[:, 0]), _left(p[:, 1])
    return k, l, p[:, 0] - k.astype(p.real.dtype), p[:, 1] - l.astype(p.real.dtype)


def _grid_value(x, p):
    k, l, s, t = _corners(x, p)
    top = (1 - t) * x[k, l] + t * x[k, l + 1]
    return (1 - s) * top + s * ((1 - t) * x[k + 1, l] + t * x[k + 1, l + 1])


def _grid(c, x, p, mistake=""):
    k, l, s, t = _corners(x, p)
    if mistake == "rows and columns swapped in dx":
        s, t = t, s
    dx = np.zeros_like(x)
    for i, j, weight in ((0, 0, (1 - s) * (1 - t)), (0, 1, (1 - s) * t), (1, 0, s * (1 - t)), (1, 1, s * t)):
        if mistake == "overwritten, not added":
            dx[k + i, l + j] = c * weight
        else:
            np.add.at(dx, (k + i, l + j), c * weight)
    ds = (1 - t) * (x[k + 1, l] - x[k, l]) + t * (x[k + 1, l + 1] - x[k, l + 1])
    dt = (1 - s) * (x[k, l + 1] - x[k, l]) + s * (x[k + 1, l + 1] - x[k + 1, l])
    return dx, c[:, None] * np.stack([dt, ds] if mistake == "dp: columns swapped" else [ds, dt], 1)


def _resize_matrix(size, new, dtype):
    places = np.linspace(0, size - 1, new)
    left = np.minimum(places.astype(int), size - 2)
    m = np.zeros((new, size))
    m[np.arange(new), left], m[np.arange(new), left + 1] = 1 - (places - left), places - left
    return m.astype(dtype)


def _resize_value(x):
    return _resize_matrix(3, 5, x.real.dtype) @ x @ _resize_matrix(4, 6, x.real.dtype).T


def _resize(c, x, mistake=""):
    rows, columns = _resize_matrix(3, 5, x.dtype), _resize_matrix(4, 6, x.dtype)
    g = rows.T @ c @ columns
    if mistake == "sampled again, not spread":
        return c[::2][:, [0, 2, 3, 5]]
    if mistake == "weights of a column made to sum to one":
        return (rows.T / rows.sum(0)[:, None]) @ c @ (columns / columns.sum(0))
    return g[::-1] if mistake == "rows turned round" else g


def _spline_matrix(dtype):
    """Return the natural cubic spline through 5 values at 0, ..., 4, read at `PLACES`, as a matrix."""
    inside = np.diag(4 * np.ones(3)) + np.diag(np.ones(2), 1) + np.diag(np.ones(2), -1)
    second = np.zeros((5, 5))  # second derivatives at the knots
    second[1:4] = np.linalg.solve(inside, 6 * np.diff(np.eye(5), 2, axis=0))
    a, b = 1 - PART[:, None], PART[:, None]
    y = np.eye(5)
    cubic = (a**3 - a) * second[LEFT] + (b**3 - b) * second[LEFT + 1]
    return (a * y[LEFT] + b * y[LEFT + 1] + cubic / 6).astype(dtype)


def _spline(c, y, mistake=""):
    if mistake == "linear part only":
        return _linear_matrix(y.dtype).T @ c
    m = _spline_matrix(y.dtype)
    return m @ c if mistake == "not transposed" else (m.T @ c)[::-1] if mistake == "knots turned round" else m.T @ c


def _catmull_rom(t, mistake=""):
    """Return the weights of four knots at part t of the middle interval."""
    w = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
    return np.stack(w[::-1] if mistake == "weights turned round" else w, -1) / (1 if mistake == "1/2 forgotten" else 2)


def _catmull_rom_slope(t):
    w = [-1 + 4 * t - 3 * t**2, -10 * t + 9 * t**2, 1 + 8 * t - 9 * t**2, -2 * t + 3 * t**2]
    return np.stack(w, -1) / 2


def _cubic_value(t, y):
    return np.sum(_catmull_rom(t) * y, -1)


def _cubic(c, t, y, mistake=""):
    dt = c * np.sum(_catmull_rom_slope(t) * y, -1)
    return 0 * t if mistake == "dt detached" else dt, c[:, None] * _catmull_rom(t, mistake)


def _horner_value(x, a):
    out = 0 * x
    for coefficient in a[::-1]:
        out = out * x + coefficient
    return out


def _horner(c, x, a, mistake=""):
    k = np.arange(len(a))
    powers = x[:, None] ** k.astype(x.dtype)
    slope = _horner_value(x, (a * k)[1:].astype(a.dtype))
    if mistake == "factor of the exponent forgotten":
        slope = _horner_value(x, a[1:])
    da = c @ powers
    return c * slope, da[::-1] if mistake == "coefficients turned round" else da / len(
        x
    ) if mistake == "da a mean" else da


def _casteljau_value(p, t):
    """Return a point of the Bezier curve with control points p at each t."""
    levels = [np.broadcast_to(row, (*np.shape(t), p.shape[1])) for row in p]
    while len(levels) > 1:
        levels = [(1 - t[:, None]) * a + t[:, None] * b for a, b in itertools.pairwise(levels)]
    return levels[0]


def _bernstein(t, degree=3):
    binomials = np.array([1, 2, 1] if degree == 2 else [1, 3, 3, 1], t.dtype)
    k = np.arange(degree + 1, dtype=t.dtype)
    return binomials * t[:, None] ** k * (1 - t[:, None]) ** (degree - k)


def _casteljau(c, p, t, mistake=""):
    weights = _bernstein(t)
    if mistake == "binomials forgotten":
        weights = weights / np.array([1, 3, 3, 1], t.dtype)
    slope = (1 if mistake == "degree forgotten" else 3) * _bernstein(t, 2) @ np.diff(p, axis=0)
    dp = weights.T @ c
    return dp[::-1] if mistake == "control points turned round" else dp, np.sum(c * slope, 1)


def _kernel_value(x, z, w):
    return np.exp(-((x[:, None] - z) ** 2) / 2) @ w


def _kernel(c, x, z, w, mistake=""):
    d = x[:, None] - z
    k = np.exp(-(d**2) / 2)
    inner = c[:, None] * k * w * (1 if mistake == "distance forgotten" else d)
    return (
        -inner.sum(1),
        (-1 if mistake == "dz with the sign of dx" else 1) * inner.sum(0),
        0 * w if mistake == "dw detached" else k.T @ c,
    )


FUNCTIONS = family(
    "interpolation",
    Function(
        "linear interpolation, by the values",
        lambda y: _linear_matrix(y.real.dtype) @ y,
        lambda c, y, mistake="": _linear_matrix(y.dtype, mistake).T @ c,
        {"y": normal(5)},
        ("weights swapped", "nearest knot only", "right knot forgotten"),
        ALL,
    ),
    Function(
        "linear interpolation, by place and values",
        _interp_value,
        _interp,
        {"x": WITHIN, "y": normal(5)},
        ("overwritten, not added", "place detached", "slope turned round"),
        ALL,
        scaled=("y",),
    ),
    Function(
        "grid sampling, bilinear",
        _grid_value,
        _grid,
        {"x": normal(5, 5), "p": lambda rng: np.stack([WITHIN(rng), WITHIN(rng)], 1)},
        ("rows and columns swapped in dx", "overwritten, not added", "dp: columns swapped"),
        ALL,
        scaled=("x",),
    ),
    Function(
        "resizing, bilinear",
        _resize_value,
        _resize,
        {"x": normal(3, 4)},
        ("sampled again, not spread", "weights of a column made to sum to one", "rows turned round"),
        ALL,
    ),
    Function(
        "cubic spline, by the values",
        lambda y: _spline_matrix(y.real.dtype) @ y,
        _spline,
        {"y": normal(5)},
        ("linear part only", "not transposed", "knots turned round"),
        ALL,
    ),
    Function(
        "Catmull-Rom interpolation",
        _cubic_value,
        _cubic,
        {"t": lambda rng: rng.uniform(0.1, 0.9, 4), "y": normal(4, 4)},
        ("weights turned round", "1/2 forgotten", "dt detached"),
        ALL,
        scaled=("y",),
    ),
    Function(
        "polynomial after Horner",
        _horner_value,
        _horner,
        {"x": positive(5), "a": normal(4)},
        ("factor of the exponent forgotten", "coefficients turned round", "da a mean"),
        ALL,
        scaled=("a",),
    ),
    Function(
        "Bezier curve",
        _casteljau_value,
        _casteljau,
        {"p": normal(4, 2), "t": lambda rng: rng.uniform(0.1, 0.9, 4)},
        ("binomials forgotten", "degree forgotten", "control points turned round"),
        ALL,
        scaled=("p",),
    ),
    Function(
        "Gaussian kernels",
        _kernel_value,
        _kernel,
        {"x": normal(4), "z": normal(3), "w": normal(3)},
        ("distance forgotten", "dz with the sign of dx", "dw detached"),
        UP_TO_ONE,
    ),
)

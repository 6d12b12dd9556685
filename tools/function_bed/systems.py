"""Inverses, determinants and linear systems.

The formulae are those of M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
differentiation (2008), with real matrices; X^-T is the transpose of the inverse.
"""

import numpy as np
from scipy import linalg

from tools.function_bed.base import ALL, Function, family, normal

inv = np.linalg.inv


def dominant(n):
    """Draw a matrix far from singular, not symmetric."""
    return lambda rng: rng.uniform(-0.5, 0.5, (n, n)) + np.diag(rng.uniform(1.5, 2.5, n))


def spd(n):
    """Draw a symmetric positive definite matrix with distinct eigenvalues."""

    def draw(rng):
        q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        return (q * (0.8 * np.arange(1, n + 1) + rng.uniform(0, 0.3, n))) @ q.T

    return draw


def symmetric(x):
    """Return the symmetric part, which is what a function of symmetric matrices reads here."""
    return (x + x.T) / 2


def _inverse(c, a, mistake=""):
    x = inv(a)
    if mistake == "not transposed":
        return -x @ c @ x
    if mistake == "one factor forgotten":
        return -x.T @ c
    return (1 if mistake == "minus forgotten" else -1) * x.T @ c @ x.T


def _det(c, a, mistake=""):
    if mistake == "gradient of the logarithm":
        return c * inv(a).T
    g = c * np.linalg.det(a) * inv(a)
    return g if mistake == "not transposed" else -g.T if mistake == "wrong sign" else g.T


def _solve(c, a, b, mistake=""):
    db = np.linalg.solve(a if mistake == "A not transposed" else a.T, c)
    x = np.linalg.solve(a, b)
    da = -db @ (b if mistake == "b for x" else x).T
    return -da if mistake == "minus forgotten" else da, db


def _triangular_solve(c, a, b, mistake=""):
    db = linalg.solve_triangular(np.tril(a), c, lower=True, trans=1)
    da = -db @ linalg.solve_triangular(np.tril(a), b, lower=True).T
    if mistake == "db detached":
        db = 0 * b
    return np.triu(da) if mistake == "other triangle" else da if mistake == "not masked" else np.tril(da), db


def _pinv(c, a, mistake=""):
    """For A of full column rank: P = (A^T A)^-1 A^T."""
    p = np.linalg.pinv(a)
    first = -p.T @ c @ p.T
    outside = (np.eye(len(a), dtype=a.dtype) - a @ p) @ c.T @ p @ p.T
    if mistake == "as of the inverse":
        return first
    if mistake == "first term with a plus":
        first = -first
    return first + (outside.mean() if mistake == "mean of the second" else outside)


def _least_squares(c, a, b, mistake=""):
    x = np.linalg.pinv(a) @ b
    u = np.linalg.solve(a.T @ a, c)
    residual = b - a @ x
    da = np.outer(residual, u) - np.outer(a @ u, x)
    if mistake == "residual forgotten":
        da = -np.outer(a @ u, x)
    if mistake == "minus":
        da = np.outer(residual, u) + np.outer(a @ u, x)
    return da, a @ u * (2 if mistake == "db twice" else 1)


def _lyapunov(c, a, q, mistake=""):
    """A X + X A^T = Q: Y solves A^T Y + Y A = c, then dQ = Y and dA = -(Y X^T + Y^T X)."""
    x = linalg.solve_sylvester(a, a.T, q)
    y = linalg.solve_sylvester(a.T, a, c)
    da = -(y @ x.T + y.T @ x)
    if mistake == "one term only":
        da = -y @ x.T
    return -da if mistake == "minus forgotten" else da, y.T if mistake == "dq transposed" else y


def _mahalanobis(c, x, a, mistake=""):
    """Return the gradient of x_b^T S^-1 x_b."""
    z = np.linalg.solve(symmetric(a), x.T).T
    dx = (1 if mistake == "factor 2 forgotten" else 2) * c[:, None] * z
    da = np.einsum("b,bi,bj->ij", c, z, x if mistake == "x for S^-1 x" else z)
    return dx, da if mistake == "minus forgotten" else -da


def _vandermonde(c, x, mistake=""):
    k = np.arange(c.shape[1])
    slope = k * x[:, None] ** np.maximum(k - 1, 0)
    if mistake == "exponent not lowered":
        slope = k * x[:, None] ** k
    if mistake == "factor forgotten":
        slope = (k > 0) * x[:, None] ** np.maximum(k - 1, 0)
    g = np.sum(c * slope.astype(x.dtype), 1)
    return np.sum(c[:, 1:2], 1) if mistake == "linear term only" else g


FUNCTIONS = family(
    "inverses, determinants and systems",
    Function(
        "inverse", inv, _inverse, {"a": dominant(3)}, ("not transposed", "one factor forgotten", "minus forgotten"), ALL
    ),
    Function(
        "determinant",
        np.linalg.det,
        _det,
        {"a": dominant(3)},
        ("gradient of the logarithm", "not transposed", "wrong sign"),
        ALL,
    ),
    Function(
        "log determinant",
        lambda a: np.linalg.slogdet(a)[1],
        lambda c, a: c * inv(a).T,
        {"a": dominant(3)},
        {
            "not transposed": lambda c, a: c * inv(a),
            "determinant left in": lambda c, a: c * np.linalg.det(a) * inv(a).T,
            "diagonal only": lambda c, a: c * np.diag(np.diag(inv(a))),
        },
        ALL,
    ),
    Function(
        "trace of the inverse",
        lambda a: np.trace(inv(a)),
        lambda c, a: -c * (inv(a) @ inv(a)).T,
        {"a": dominant(3)},
        {
            "not transposed": lambda c, a: -c * inv(a) @ inv(a),
            "minus forgotten": lambda c, a: c * (inv(a) @ inv(a)).T,
            "square element by element": lambda c, a: -c * inv(a).T ** 2,
        },
        ALL,
    ),
    Function(
        "solve",
        np.linalg.solve,
        _solve,
        {"a": dominant(3), "b": normal(3, 2)},
        ("A not transposed", "b for x", "minus forgotten"),
        ALL,
    ),
    Function(
        "triangular solve",
        lambda a, b: linalg.solve_triangular(np.tril(a), b, lower=True),
        _triangular_solve,
        {"a": dominant(3), "b": normal(3, 2)},
        ("other triangle", "not masked", "db detached"),
        ALL,
    ),
    Function(
        "pseudo-inverse",
        np.linalg.pinv,
        _pinv,
        {"a": normal(4, 2)},
        ("as of the inverse", "first term with a plus", "mean of the second"),
        ALL,
    ),
    Function(
        "least squares",
        lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0],
        _least_squares,
        {"a": normal(5, 2), "b": normal(5)},
        ("residual forgotten", "minus", "db twice"),
        ALL,
    ),
    Function(
        "Lyapunov equation",
        lambda a, q: linalg.solve_sylvester(a, a.T, q),
        _lyapunov,
        {"a": dominant(3), "q": normal(3, 3)},
        ("one term only", "minus forgotten", "dq transposed"),
        ALL,
    ),
    Function(
        "Mahalanobis distance, squared",
        lambda x, a: np.einsum("bi,bi->b", x, np.linalg.solve(symmetric(a), x.T).T),
        _mahalanobis,
        {"x": normal(4, 3), "a": spd(3)},
        ("factor 2 forgotten", "x for S^-1 x", "minus forgotten"),
        ALL,
    ),
    Function(
        "Vandermonde matrix",
        lambda x: np.stack([np.ones_like(x), x, x * x, x * x * x], 1),
        _vandermonde,
        {"x": normal(4)},
        ("exponent not lowered", "factor forgotten", "linear term only"),
        ALL,
    ),
    Function(
        "Frobenius norm",
        lambda a: np.linalg.norm(a),
        lambda c, a: c * a / np.linalg.norm(a),
        {"a": normal(3, 4)},
        {
            "not divided": lambda c, a: c * a,
            "gradient of the square": lambda c, a: 2 * c * a,
            "sign": lambda c, a: c * np.sign(a),
        },
        ALL,
    ),
)

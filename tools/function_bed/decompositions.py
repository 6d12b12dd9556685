"""Matrix decompositions, and functions of matrices.

The formulae are those of M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
differentiation (2008), with real matrices; X^-T is the transpose of the inverse.
"""

import numpy as np
from scipy import linalg

from tools.function_bed.base import ALL, UP_TO_ONE, Function, family, normal
from tools.function_bed.systems import dominant, inv, spd, symmetric


def _cholesky(c, a, mistake=""):
    """L L^T = S: dS = L^-T P(L^T c) L^-1, with P the lower triangle, its diagonal halved."""
    lower = np.linalg.cholesky(symmetric(a))
    p = np.tril(lower.T @ c)
    if mistake != "diagonal not halved":
        p = p - np.diag(np.diag(p)) / 2
    x = inv(lower)
    s = x.T @ p @ (x.T if mistake == "last factor transposed" else x)
    return s if mistake == "not symmetric" else symmetric(s)


def _eigenvalues(c, a, mistake=""):
    _, q = np.linalg.eigh(symmetric(a))
    if mistake == "rows for columns":
        q = q.T
    c = c[::-1] if mistake == "order turned round" else c
    return (2 if mistake == "factor 2" else 1) * (q * c) @ q.T


def _eigenvectors_value(a):
    _, q = np.linalg.eigh(symmetric(a))
    return q**2  # the sign of an eigenvector is arbitrary, its square is not


def _eigenvectors(c, a, mistake=""):
    """DS = Q (F * Q^T dQ) Q^T with F_ij = 1/(l_j - l_i) off the diagonal."""
    values, q = np.linalg.eigh(symmetric(a))
    gaps = values[None, :] - values[:, None] + np.eye(len(a), dtype=a.dtype)
    f = (1 - np.eye(len(a), dtype=a.dtype)) / gaps
    if mistake == "gaps turned round":
        f = f.T
    dq = c * (q if mistake == "factor 2 forgotten" else 2 * q)
    inner = q.T @ dq if mistake == "gaps forgotten" else f * (q.T @ dq)
    return symmetric(q @ inner @ q.T)


def _singular_values(c, a, mistake=""):
    u, _, vt = np.linalg.svd(a, full_matrices=False)
    c = np.ones_like(c) if mistake == "c forgotten" else c[::-1] if mistake == "order turned round" else c
    return (2 if mistake == "factor 2" else 1) * (u * c) @ vt


def _nuclear(c, a, mistake=""):
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    if mistake == "Frobenius norm":
        return c * a / np.sqrt(np.sum(a * a))
    if mistake == "singular values left in":
        return c * (u * s) @ vt
    return c * (u[:, :1] @ vt[:1] if mistake == "largest only" else u @ vt)


def _spectral(c, a, mistake=""):
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    k = 1 if mistake == "second vectors" else 0
    g = c * np.outer(u[:, k], vt[k])
    return g * s[0] if mistake == "value left in" else -g if mistake == "wrong sign" else g


def _matrix_exp(c, a, mistake=""):
    if mistake == "as of a number":
        return linalg.expm(a).T * c
    if mistake == "as if it commuted":
        return linalg.expm(a).T @ c
    return linalg.expm_frechet(a if mistake == "not transposed" else a.T, c, compute_expm=False).astype(a.dtype)


def _log_value(a):
    values, q = np.linalg.eigh(symmetric(a))
    return (q * np.log(values)) @ q.T


def _log(c, a, mistake=""):
    """DS = Q (G * Q^T c Q) Q^T with the divided differences G_ij = (log l_i - log l_j)/(l_i - l_j), G_ii = 1/l_i."""
    values, q = np.linalg.eigh(symmetric(a))
    if mistake == "inverse, as if it commuted":
        return symmetric(inv(symmetric(a)) @ c)
    n = len(a)
    gaps = values[:, None] - values[None, :] + np.eye(n, dtype=a.dtype)
    g = (np.log(values)[:, None] - np.log(values)[None, :]) / gaps
    if mistake != "diagonal forgotten":
        g = g + np.diag(1 / values)
    inner = q.T @ c @ q
    return symmetric(q @ (inner * np.diag(1 / values) if mistake == "diagonal only" else g * inner) @ q.T)


def _sqrtm(c, a, mistake=""):
    """X X = A: solve X^T Y + Y X^T = c for Y."""
    x = linalg.sqrtm(a).real.astype(a.dtype).T
    if mistake == "as of a number":
        return inv(x) @ c / 2
    y = linalg.solve_sylvester(x, x.T if mistake == "one factor transposed" else x, c)
    return y / 2 if mistake == "1/2 too much" else y


def _qr_value(a):
    r = np.linalg.qr(a)[1]
    return r * np.sign(np.diag(r))[:, None]  # the signs of the rows are arbitrary


def _qr(c, a, mistake=""):
    q, r = np.linalg.qr(a)
    sign = np.sign(np.diag(r))
    q, r, c = q * sign, r * sign[:, None], np.triu(c)
    m = r @ c.T
    inner = np.tril(m) + np.tril(m, -1).T
    if mistake == "lower triangle only":
        inner = np.tril(m)
    if mistake == "upper triangle":
        inner = np.triu(m) + np.triu(m, 1).T
    g = q @ inner @ inv(r).T
    return g if mistake != "R^-T forgotten" else q @ inner


def _singles(value):
    return lambda *a: np.asarray(value(*a)).real.astype(a[0].dtype)


FUNCTIONS = family(
    "matrix decompositions and functions",
    Function(
        "Cholesky factor",
        lambda a: np.linalg.cholesky(symmetric(a)),
        _cholesky,
        {"a": spd(3)},
        ("diagonal not halved", "last factor transposed", "not symmetric"),
        ALL,
    ),
    Function(
        "eigenvalues, symmetric",
        lambda a: np.linalg.eigvalsh(symmetric(a)),
        _eigenvalues,
        {"a": spd(3)},
        ("rows for columns", "order turned round", "factor 2"),
        ALL,
    ),
    Function(
        "eigenvectors squared, symmetric",
        _eigenvectors_value,
        _eigenvectors,
        {"a": spd(3)},
        ("gaps turned round", "factor 2 forgotten", "gaps forgotten"),
        ALL,
    ),
    Function(
        "singular values",
        lambda a: np.linalg.svd(a, compute_uv=False),
        _singular_values,
        {"a": normal(4, 3)},
        ("c forgotten", "order turned round", "factor 2"),
        ALL,
    ),
    Function(
        "nuclear norm",
        lambda a: np.linalg.norm(a, "nuc"),
        _nuclear,
        {"a": normal(4, 3)},
        ("Frobenius norm", "singular values left in", "largest only"),
        ALL,
    ),
    Function(
        "spectral norm",
        lambda a: np.linalg.norm(a, 2),
        _spectral,
        {"a": normal(4, 3)},
        ("second vectors", "value left in", "wrong sign"),
        ALL,
    ),
    Function(
        "R of QR", _qr_value, _qr, {"a": dominant(3)}, ("lower triangle only", "upper triangle", "R^-T forgotten"), ALL
    ),
    Function(
        "matrix exponential",
        linalg.expm,
        _matrix_exp,
        {"a": normal(3, 3)},
        ("as of a number", "as if it commuted", "not transposed"),
        UP_TO_ONE,
    ),
    Function(
        "matrix logarithm, symmetric",
        _log_value,
        _log,
        {"a": spd(3)},
        ("inverse, as if it commuted", "diagonal forgotten", "diagonal only"),
        ALL,
    ),
    Function(
        "matrix square root",
        _singles(linalg.sqrtm),
        _sqrtm,
        {"a": dominant(3)},
        ("as of a number", "one factor transposed", "1/2 too much"),
        ALL,
    ),
)

"""Normalisations: y = (x - mean)/std over some axes, then a scale g and a shift b.

With z the normalised x and d = c g: dx = (d - mean(d) - z mean(d z))/std, the means over the same axes.
"""

import numpy as np

from tools.function_bed.base import ALL, FROM_ONE, UP_TO_ONE, Function, family, normal, positive

EPS = 1e-5


def normalised(x, axes, eps=EPS):
    """Return (x - mean)/sqrt(variance + eps), and what it was divided by."""
    std = np.sqrt(x.var(axes, keepdims=True) + eps)
    return (x - x.mean(axes, keepdims=True)) / std, std


def _back(d, x, axes, mistake="", eps=EPS):
    z, std = normalised(x, axes, eps)
    if mistake == "mean and variance detached":
        return d / std
    mean = 0 if mistake == "mean detached" else d.mean(axes, keepdims=True)
    if mistake == "mean over the wrong axis":
        mean = d.mean(1 - axes, keepdims=True)
    spread = 0 if mistake == "variance detached" else z * np.mean(d * z, axes, keepdims=True)
    if mistake == "sum for mean":
        spread = z * np.sum(d * z, axes, keepdims=True)
    return (d - mean - spread) / (std**2 if mistake == "divided by the variance" else std)


def _affine_value(axes, others):
    def value(x, g, b):
        return normalised(x, axes)[0] * np.expand_dims(g, others) + np.expand_dims(b, others)

    return value


def _affine(axes, others, summed):
    def gradient(c, x, g, b, mistake=""):
        z = x if mistake == "dg: x not normalised" else normalised(x, axes)[0]
        dg, db = np.sum(c * z, summed), np.sum(c, summed)
        if mistake == "db a mean":
            db = np.mean(c, summed)
        scale = 1 if mistake == "scale forgotten in dx" else np.expand_dims(g, others)
        return _back(c * scale, x, axes, mistake), dg, db

    return gradient


def _group_value(x, g, b):
    """[batch, 4 channels, width] in 2 groups."""
    z = normalised(x.reshape(len(x), 2, -1), 2)[0].reshape(x.shape)
    return z * g[:, None] + b[:, None]


def _group(c, x, g, b, mistake=""):
    d = c * (1 if mistake == "scale forgotten in dx" else g[:, None])
    grouped = x.reshape(len(x), 2, -1)
    if mistake == "groups interleaved":
        dx = _back(d[:, [0, 2, 1, 3]].reshape(grouped.shape), x[:, [0, 2, 1, 3]].reshape(grouped.shape), 2)
        dx = dx.reshape(x.shape)[:, [0, 2, 1, 3]]
    else:
        dx = _back(d.reshape(grouped.shape), grouped, 2, mistake).reshape(x.shape)
    return dx, np.sum(c * normalised(grouped, 2)[0].reshape(x.shape), (0, 2)), c.sum((0, 2))


def _rms_value(x, g):
    return g * x / np.sqrt(np.mean(x * x, -1, keepdims=True) + EPS)


def _rms(c, x, g, mistake=""):
    rms = np.sqrt(np.mean(x * x, -1, keepdims=True) + EPS)
    z, d = x / rms, c * g
    inner = np.sum(d * z, -1, keepdims=True) / (1 if mistake == "sum for mean" else x.shape[-1])
    if mistake == "mean taken off too":
        d = d - d.mean(-1, keepdims=True)
    return (d - (0 if mistake == "root mean square detached" else z * inner)) / rms, np.sum(c * z, 0)


def _weight_norm_value(v, g):
    return g[:, None] * v / np.linalg.norm(v, axis=1, keepdims=True)


def _weight_norm(c, v, g, mistake=""):
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    u = v / norm
    along = np.sum(c * u, 1)
    dv = g[:, None] / norm * (c - (0 if mistake == "norm detached" else along[:, None] * u))
    if mistake == "not divided by the norm":
        dv = dv * norm
    return dv, along * (norm[:, 0] if mistake == "dg: v not normalised" else 1)


def _unit(c, x, mistake=""):
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    u = x / norm
    along = np.sum(c * (x if mistake == "x for x/norm" else u), -1, keepdims=True)
    return (c + along * u if mistake == "plus" else c - along * u) / (
        1 if mistake == "not divided by the norm" else norm
    )


def _local_value(x):
    """Divide each channel by (1 + 0.1 times the squares of it and its two neighbours)^0.75."""
    padded = np.pad(x * x, ((0, 0), (1, 1)))
    return x / (1 + 0.1 * (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:])) ** 0.75


def _local(c, x, mistake=""):
    padded = np.pad(x * x, ((0, 0), (1, 1)))
    base = 1 + 0.1 * (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:])
    inner = np.pad(-0.75 * c * x * base**-1.75, ((0, 0), (1, 1)))
    window = inner[:, :-2] + inner[:, 1:-1] + inner[:, 2:]
    if mistake == "neighbours forgotten":
        window = inner[:, 1:-1]
    if mistake == "denominator detached":
        window = 0 * window
    return c * base**-0.75 + (0.1 if mistake == "factor 2 forgotten" else 0.2) * x * window


def _whiten_value(x):
    centred = x - x.mean(0)
    return centred @ np.linalg.inv(np.linalg.cholesky(centred.T @ centred / len(x))).T


def _whiten(c, x, mistake=""):
    """Return the gradient of y = d L^-T with S = L L^T = d^T d/n; dS as of the Cholesky factor."""
    d = x - x.mean(0)
    lower = np.linalg.cholesky(d.T @ d / len(x))
    inverse = np.linalg.inv(lower)
    dlower = -np.tril(inverse.T @ (d.T @ c).T @ inverse.T)
    p = np.tril(lower.T @ dlower)
    p = p if mistake == "diagonal not halved" else p - np.diag(np.diag(p)) / 2
    ds = inverse.T @ p @ inverse
    if mistake == "covariance detached":
        ds = 0 * ds
    dd = c @ inverse + d @ (ds + ds.T) / len(x)
    return dd if mistake == "mean detached" else dd - dd.mean(0)


FUNCTIONS = family(
    "normalisations",
    Function(
        "standardisation",
        lambda x: normalised(x, 1, 0.0)[0],
        lambda c, x, mistake="": _back(c, x, 1, mistake, 0.0),
        {"x": normal(3, 5)},
        ("mean detached", "variance detached", "divided by the variance"),
        ALL,
    ),
    Function(
        "layer normalisation",
        _affine_value(1, 0),
        _affine(1, 0, 0),
        {"x": normal(5, 4), "g": positive(4), "b": normal(4)},
        ("mean over the wrong axis", "variance detached", "scale forgotten in dx"),
        FROM_ONE,
        scaled=("x",),
    ),
    Function(
        "batch normalisation",
        _affine_value(0, 0),
        _affine(0, 0, 0),
        {"x": normal(5, 3), "g": positive(3), "b": normal(3)},
        ("mean and variance detached", "dg: x not normalised", "db a mean"),
        FROM_ONE,
        scaled=("x",),
    ),
    Function(
        "batch normalisation of images",
        _affine_value((0, 2), (0, 2)),
        _affine((0, 2), (0, 2), (0, 2)),
        {"x": normal(2, 3, 3), "g": positive(3), "b": normal(3)},
        ("sum for mean", "mean detached", "scale forgotten in dx"),
        FROM_ONE,
        scaled=("x",),
    ),
    Function(
        "instance normalisation",
        _affine_value(2, (0, 2)),
        _affine(2, (0, 2), (0, 2)),
        {"x": normal(2, 3, 4), "g": positive(3), "b": normal(3)},
        ("variance detached", "dg: x not normalised", "divided by the variance"),
        FROM_ONE,
        scaled=("x",),
    ),
    Function(
        "group normalisation",
        _group_value,
        _group,
        {"x": normal(2, 4, 3), "g": positive(4), "b": normal(4)},
        ("groups interleaved", "scale forgotten in dx", "sum for mean"),
        FROM_ONE,
        scaled=("x",),
    ),
    Function(
        "RMS normalisation",
        _rms_value,
        _rms,
        {"x": normal(5, 4), "g": positive(4)},
        ("root mean square detached", "sum for mean", "mean taken off too"),
        FROM_ONE,
        scaled=("x",),
    ),
    Function(
        "weight normalisation",
        _weight_norm_value,
        _weight_norm,
        {"v": normal(3, 4), "g": positive(3)},
        ("norm detached", "not divided by the norm", "dg: v not normalised"),
        ALL,
    ),
    Function(
        "division by the 2-norm",
        lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
        _unit,
        {"x": normal(3, 4)},
        ("plus", "x for x/norm", "not divided by the norm"),
        ALL,
    ),
    Function(
        "local response normalisation",
        _local_value,
        _local,
        {"x": normal(2, 5)},
        ("neighbours forgotten", "denominator detached", "factor 2 forgotten"),
        UP_TO_ONE,
    ),
    Function(
        "whitening by a Cholesky factor",
        _whiten_value,
        _whiten,
        {"x": normal(6, 2)},
        ("diagonal not halved", "covariance detached", "mean detached"),
        ALL,
    ),
)

"""Attention: out = P v with P = softmax(q k^T / sqrt(d)) by rows. Backward: dP = c v^T, dS = P (dP - sum(P dP))."""

import numpy as np

from tools.function_bed.base import ALL, UP_TO_ONE, Function, family, normal
from tools.function_bed.softmax import softmax

KEPT = np.array([[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]], bool)
CAUSAL = np.tril(np.ones((4, 4), bool))


def _swap(x):
    return np.swapaxes(x, -1, -2)


def _weights(q, k, kept=None):
    scores = q @ _swap(k) / q.shape[-1] ** 0.5
    return softmax(scores if kept is None else np.where(kept, scores, -1e4 + 0 * scores))


def _attention_value(kept=None):
    return lambda q, k, v: _weights(q, k, kept) @ v


def _attention(kept=None):
    def gradient(c, q, k, v, mistake=""):
        p = _weights(q, k, None if mistake == "mask forgotten" else kept)
        dp = c @ _swap(v)
        inner = 0 if mistake == "sum of the softmax forgotten" else np.sum(p * dp, -1, keepdims=True)
        if mistake == "softmax over the wrong axis":
            inner = np.sum(p * dp, -2, keepdims=True)
        ds = p * (dp - inner) / (1 if mistake == "1/sqrt(d) forgotten" else q.shape[-1] ** 0.5)
        dv = (p if mistake == "dv: P not transposed" else _swap(p)) @ c
        dk = (ds if mistake == "dk: dS not transposed" else _swap(ds)) @ q
        return 0 * q if mistake == "query detached" else ds @ k, dk, dv

    return gradient


def _heads(x):
    """[time, 2 heads * width] to [2 heads, time, width]."""
    return x.reshape(len(x), 2, -1).swapaxes(0, 1)


def _joined(x):
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def _self_value(x, wq, wk, wv):
    return _joined(_attention_value()(_heads(x @ wq), _heads(x @ wk), _heads(x @ wv)))


def _self(c, x, wq, wk, wv, mistake=""):
    ends = [_heads(x @ w) for w in (wq, wk, wv)]
    dq, dk, dv = (_joined(d) for d in _attention()(_heads(c), *ends))
    if mistake == "heads swapped in dv":
        dv = np.roll(dv, 2, 1)
    dx = dq @ wq.T + dv @ wv.T + (0 if mistake == "dx through the keys forgotten" else dk @ wk.T)
    dwk = x.T @ (dq if mistake == "dq for dk" else dk)
    return dx, x.T @ dq, dwk, x.T @ dv


def _linear_value(q, k, v):
    """Attention with feature map x^2 + 1 and no softmax, normalised."""
    a, b = q * q + 1, k * k + 1
    return a @ (b.T @ v) / (a @ b.sum(0))[:, None]


def _linear(c, q, k, v, mistake=""):
    a, b = q * q + 1, k * k + 1
    total = (a @ b.sum(0))[:, None]
    scaled = c / total
    inner = np.sum(scaled * (a @ (b.T @ v)) / total, 1, keepdims=True)
    if mistake == "normaliser detached":
        inner = 0 * inner
    da = scaled @ v.T @ b - inner * b.sum(0)
    db = v @ scaled.T @ a - (0 if mistake == "normaliser detached in dk" else np.sum(inner * a, 0))
    slope = 1 if mistake == "feature map forgotten in dq" else 2 * q
    return slope * da, 2 * k * db, b @ (a.T @ scaled)


def _turn(x, sign=1):
    """Rotate the pairs (x_j, x_{j + d/2}) of row t by the angles t and t/10."""
    angle = sign * np.arange(len(x))[:, None] * np.array([1.0, 0.1])
    cos, sin = np.cos(angle).astype(x.real.dtype), np.sin(angle).astype(x.real.dtype)
    a, b = x[:, :2], x[:, 2:]
    return np.hstack([a * cos - b * sin, a * sin + b * cos])


def _rotary_value(q, k):
    return _turn(q) @ _turn(k).T


def _rotary(c, q, k, mistake=""):
    back = 1 if mistake == "turned the same way" else -1
    dq = _turn(c @ (k if mistake == "keys not turned" else _turn(k)), back)
    dk = (c if mistake == "c not transposed" else c.T) @ _turn(q)
    return dq, _turn(dk, back)


def _additive_value(q, k, u):
    """Scores u . tanh(q_i + k_j)."""
    return np.tanh(q[:, None] + k[None]) @ u


def _additive(c, q, k, u, mistake=""):
    t = np.tanh(q[:, None] + k[None])
    inner = c[..., None] * u * (1 if mistake == "slope of tanh forgotten" else 1 - t * t)
    dk = inner.mean(0) if mistake == "dk a mean over the queries" else inner.sum(0)
    du = np.einsum("ij,ijd->d", c, 1 - t * t if mistake == "du: slope for value" else t)
    return inner.sum(1), dk, du


POINT = {"q": normal(4, 3), "k": normal(4, 3), "v": normal(4, 3)}

FUNCTIONS = family(
    "attention",
    Function(
        "attention, one head",
        _attention_value(),
        _attention(),
        POINT,
        ("1/sqrt(d) forgotten", "dv: P not transposed", "sum of the softmax forgotten"),
        UP_TO_ONE,
    ),
    Function(
        "attention, causal",
        _attention_value(CAUSAL),
        _attention(CAUSAL),
        POINT,
        ("mask forgotten", "dk: dS not transposed", "softmax over the wrong axis"),
    ),
    Function(
        "attention, masked",
        _attention_value(KEPT),
        _attention(KEPT),
        POINT,
        ("mask forgotten", "query detached", "1/sqrt(d) forgotten"),
        UP_TO_ONE,
    ),
    Function(
        "self-attention, two heads",
        _self_value,
        _self,
        {"x": normal(3, 3), "wq": normal(3, 4), "wk": normal(3, 4), "wv": normal(3, 4)},
        ("heads swapped in dv", "dx through the keys forgotten", "dq for dk"),
    ),
    Function(
        "attention without softmax",
        _linear_value,
        _linear,
        {"q": normal(4, 2), "k": normal(4, 2), "v": normal(4, 3)},
        ("normaliser detached", "normaliser detached in dk", "feature map forgotten in dq"),
    ),
    Function(
        "scores with rotary positions",
        _rotary_value,
        _rotary,
        {"q": normal(3, 4), "k": normal(3, 4)},
        ("turned the same way", "keys not turned", "c not transposed"),
        ALL,
    ),
    Function(
        "additive scores",
        _additive_value,
        _additive,
        {"q": normal(3, 2), "k": normal(4, 2), "u": normal(2)},
        ("slope of tanh forgotten", "dk a mean over the queries", "du: slope for value"),
        UP_TO_ONE,
    ),
)

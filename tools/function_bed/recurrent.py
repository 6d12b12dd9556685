"""Recurrent steps, h' = f(x, h), and short loops of them. With s the sigmoid: s' = s (1 - s)."""

import numpy as np

from tools.function_bed.activations import sigmoid
from tools.function_bed.base import ALL, UP_TO_ONE, Function, family, normal, positive


def _elman_value(x, h, w, u, b):
    return np.tanh(x @ w.T + h @ u.T + b)


def _elman(c, x, h, w, u, b, mistake=""):
    out = _elman_value(x, h, w, u, b)
    d = c * (1 - out if mistake == "square forgotten" else 1 - out**2)
    dh = d @ (u.T if mistake == "U transposed" else u)
    return d @ w, dh, d.T @ x, d.T @ h, d.mean(0) if mistake == "db a mean" else d.sum(0)


def _elman_loop_value(x, h, u):
    for row in x:
        h = np.tanh(row + h @ u.T)
    return h


def _elman_loop(c, x, h, u, mistake=""):
    states = [h]
    for row in x:
        states.append(np.tanh(row + states[-1] @ u.T))
    dx, du = np.zeros_like(x), np.zeros_like(u)
    for t in reversed(range(len(x))):
        d = c * (1 - states[t + 1] ** 2)
        dx[t] = d
        du += np.outer(d, states[t + 1 if mistake == "state off by one" else t])
        if mistake == "truncated after one step":
            return dx, 0 * h, du
        c = d @ u
    return dx, c, np.outer(dx[-1], states[-2]) if mistake == "du of the last step" else du


def _lstm_parts(x, h, memory, w):
    """Gates of [x | h | 1] W^T: input, forget, output, candidate."""
    z = np.concatenate([x, h, np.ones_like(x[:, :1])], 1) @ w.T
    i, f, o, g = np.split(z, 4, 1)
    return sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)


def _lstm_value(x, h, memory, w):
    i, f, o, g = _lstm_parts(x, h, memory, w)
    new = f * memory + i * g
    return np.concatenate([o * np.tanh(new), new], 1)


def _lstm(c, x, h, memory, w, mistake=""):
    i, f, o, g = _lstm_parts(x, h, memory, w)
    new = f * memory + i * g
    dh, dc = np.split(c, 2, 1)
    t = np.tanh(new)
    dnew = (0 if mistake == "cotangent of the memory forgotten" else dc) + dh * o * (1 - t**2)
    forget = i * g if mistake == "forget gate: i g for c" else memory
    gates = [dnew * g * i * (1 - i), dnew * forget * f * (1 - f), dh * t * o * (1 - o), dnew * i * (1 - g**2)]
    if mistake == "output gate detached":
        gates[2] = 0 * gates[2]
    dz = np.concatenate(gates, 1)
    dinput = dz @ w
    m, n = x.shape[1], h.shape[1]
    dw = dz.T @ np.concatenate([x, h, np.ones_like(x[:, :1])], 1)
    return dinput[:, :m], dinput[:, m : m + n], dnew * f, dw


def _gru_parts(x, h, w, u):
    n = h.shape[1]
    gates = sigmoid(x @ w[: 2 * n].T + h @ u[: 2 * n].T)
    r, z = gates[:, :n], gates[:, n:]
    return r, z, np.tanh(x @ w[2 * n :].T + (r * h) @ u[2 * n :].T)


def _gru_value(x, h, w, u):
    _, z, g = _gru_parts(x, h, w, u)
    return (1 - z) * g + z * h


def _gru(c, x, h, w, u, mistake=""):
    n = h.shape[1]
    r, z, g = _gru_parts(x, h, w, u)
    dg = c * (1 - z) * (1 - g**2)
    inner = dg @ u[2 * n :]
    dz = c * (g - h if mistake == "update gate turned round" else h - g) * z * (1 - z)
    dr = (0 if mistake == "reset gate detached" else 1) * inner * h * r * (1 - r)
    d = np.concatenate([dr, dz, dg], 1)
    dh = np.concatenate([dr, dz], 1) @ u[: 2 * n] + c * z + (inner if mistake == "r forgotten in dh" else inner * r)
    du = np.concatenate([np.concatenate([dr, dz], 1).T @ h, dg.T @ (r * h)])
    return d @ w, dh, d.T @ x, du


def _minimal_value(x, h, u):
    """One gate f for both: h' = (1 - f) h + f tanh(x + (f h) U^T), f = s(x + h)."""
    f = sigmoid(x + h)
    return (1 - f) * h + f * np.tanh(x + (f * h) @ u.T)


def _minimal(c, x, h, u, mistake=""):
    f = sigmoid(x + h)
    g = np.tanh(x + (f * h) @ u.T)
    dg = c * f * (1 - g**2)
    inner = dg @ u
    df = c * (g - h) + (0 if mistake == "gate inside the candidate detached" else inner * h)
    d = 0 * df if mistake == "gate detached" else df * f * (1 - f)
    dh = d + inner * f + (0 if mistake == "leak forgotten" else c * (1 - f))
    return d + dg, dh, dg.T @ (f * h)


def _euler_value(x, h, w):
    a = w - w.T - 0.1 * np.eye(len(w))
    return h + 0.2 * np.tanh(x + h @ a.T.astype(w.dtype))


def _euler(c, x, h, w, mistake=""):
    a = (w - w.T - 0.1 * np.eye(len(w))).astype(w.dtype)
    d = 0.2 * c * (1 - np.tanh(x + h @ a.T) ** 2)
    da = d.T @ h
    dh = d @ a + (0 if mistake == "identity forgotten" else c)
    if mistake == "diffusion forgotten":
        dh = dh + 0.1 * d
    return d, dh, da if mistake == "- dA^T forgotten" else da - da.T


def _scan_value(a, b):
    """h_t = a_t h_{t-1} + b_t, all of them."""
    states, h = [], 0 * b[0]
    for decay, new in zip(a, b, strict=True):
        h = decay * h + new
        states.append(h)
    return np.stack(states)


def _scan(c, a, b, mistake=""):
    states = _scan_value(a, b)
    da, db = np.zeros_like(a), np.zeros_like(b)
    flow = 0 * c[0]
    for t in reversed(range(len(a))):
        flow = c[t] + (0 if mistake == "later steps forgotten" else flow)
        db[t] = flow
        da[t] = flow * (states[t - 1] if t else 0)
        if mistake == "state off by one":
            da[t] = flow * states[t]
        flow = flow * a[t - 1 if mistake == "decay off by one" else t]
    return da, db


def _norm_clipped_value(x, h):
    """An update whose norm a row is kept below one: u / max(1, norm(u))."""
    u = x + h
    norm = np.sqrt(np.sum(u * u, 1, keepdims=True))
    return u / np.maximum(1, norm)


def _norm_clipped(c, x, h, mistake=""):
    u = x + h
    norm = np.sqrt(np.sum(u * u, 1, keepdims=True))
    along = np.sum(c * u, 1, keepdims=True) * u / norm**2
    scaled = (c if mistake == "norm detached" else c - along) / norm
    g = np.where(norm > 1, scaled, c)
    return (c if mistake == "clipping forgotten" else g), (0 * h if mistake == "state detached" else g)


FUNCTIONS = family(
    "recurrent steps",
    Function(
        "Elman step",
        _elman_value,
        _elman,
        {"x": normal(3, 2), "h": normal(3, 3), "w": normal(3, 2), "u": normal(3, 3), "b": normal(3)},
        ("square forgotten", "U transposed", "db a mean"),
        UP_TO_ONE,
    ),
    Function(
        "Elman, four steps",
        _elman_loop_value,
        _elman_loop,
        {"x": normal(4, 3), "h": normal(3), "u": normal(3, 3)},
        ("state off by one", "truncated after one step", "du of the last step"),
    ),
    Function(
        "LSTM step",
        _lstm_value,
        _lstm,
        {"x": normal(3, 2), "h": normal(3, 2), "memory": normal(3, 2), "w": normal(8, 5)},
        ("cotangent of the memory forgotten", "forget gate: i g for c", "output gate detached"),
    ),
    Function(
        "GRU step",
        _gru_value,
        _gru,
        {"x": normal(3, 2), "h": normal(3, 2), "w": normal(6, 2), "u": normal(6, 2)},
        ("update gate turned round", "reset gate detached", "r forgotten in dh"),
    ),
    Function(
        "minimal gated step",
        _minimal_value,
        _minimal,
        {"x": normal(3, 3), "h": normal(3, 3), "u": normal(3, 3)},
        ("gate detached", "gate inside the candidate detached", "leak forgotten"),
        UP_TO_ONE,
    ),
    Function(
        "antisymmetric Euler step",
        _euler_value,
        _euler,
        {"x": normal(3, 3), "h": normal(3, 3), "w": normal(3, 3)},
        ("identity forgotten", "diffusion forgotten", "- dA^T forgotten"),
        UP_TO_ONE,
    ),
    Function(
        "linear recurrence",
        _scan_value,
        _scan,
        {"a": positive(4, 3), "b": normal(4, 3)},
        ("later steps forgotten", "state off by one", "decay off by one"),
        ALL,
        scaled=("b",),
    ),
    Function(
        "update with clipped norm",
        _norm_clipped_value,
        _norm_clipped,
        {"x": lambda rng: np.array([[0.3], [0.5], [2.0], [3.0]]) * rng.uniform(0.6, 1, (4, 3)), "h": normal(4, 3)},
        ("norm detached", "clipping forgotten", "state detached"),
        ALL,
    ),
)

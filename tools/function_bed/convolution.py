"""Convolutions (cross-correlations, as in neural networks) and pooling, over windows of the input.

Forward: out[b, o, t] = sum_{i, k} w[o, i, k] x[b, i, s t + d k], with stride s and dilation d. Backward: dw correlates
c with the same windows, and dx adds each c back to its window.
"""

import functools

import numpy as np

from tools.function_bed.base import ALL, Function, apart, family, normal


def _conv1d_value(x, w, b, stride=1, dilation=1, pad=0):
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    size = dilation * (w.shape[2] - 1) + 1
    steps = (x.shape[2] - size) // stride + 1
    windows = [x[:, :, stride * t : stride * t + size : dilation] for t in range(steps)]
    return np.stack([np.einsum("bik,oik->bo", window, w) for window in windows], 2) + b[:, None]


def _conv1d(c, x, w, b, stride=1, dilation=1, pad=0, mistake=""):
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    size = dilation * (w.shape[2] - 1) + 1
    flipped = w[:, :, ::-1] if mistake == "kernel flipped in dx" else w
    for t in range(c.shape[2]):
        first = t if mistake == "stride forgotten in dx" else stride * t
        step = 1 if mistake == "dilation forgotten in dx" else dilation
        window = np.s_[:, :, first : first + step * (w.shape[2] - 1) + 1 : step]
        if mistake == "overwritten, not added":
            dx[window] = np.einsum("bo,oik->bik", c[:, :, t], flipped)
        else:
            dx[window] += np.einsum("bo,oik->bik", c[:, :, t], flipped)
        dw += np.einsum("bo,bik->oik", c[:, :, t], x[:, :, stride * t : stride * t + size : dilation])
    if mistake == "kernel flipped in dw":
        dw = dw[:, :, ::-1]
    if mistake == "dw a mean over the batch":
        dw = dw / len(x)
    end = x.shape[2] - pad
    dx = dx[:, :, : end - pad] if mistake == "padding not cut off on the left" else dx[:, :, pad:end]
    return dx, dw, c.mean((0, 2)) if mistake == "db a mean" else c.sum((0, 2))


def _conv1d_function(name, mistakes, **options):
    point = {"x": normal(2, 2, 7), "w": normal(3, 2, 3), "b": normal(3)}
    value, gradient = functools.partial(_conv1d_value, **options), functools.partial(_conv1d, **options)
    return Function(name, value, gradient, point, mistakes, ALL, scaled=("x", "b"))


def _transposed_value(x, w, stride=2):
    out = np.zeros((len(x), w.shape[1], stride * (x.shape[2] - 1) + w.shape[2]), np.result_type(x, w))
    for t in range(x.shape[2]):
        out[:, :, stride * t : stride * t + w.shape[2]] += np.einsum("bi,iok->bok", x[:, :, t], w)
    return out


def _transposed(c, x, w, stride=2, mistake=""):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(x.shape[2]):
        first = t if mistake == "stride forgotten" else stride * t
        window = c[:, :, first : first + w.shape[2]]
        dx[:, :, t] = np.einsum("bok,iok->bi", window[:, :, ::-1] if mistake == "kernel flipped in dx" else window, w)
        dw += np.einsum("bok,bi->iok", window, x[:, :, t])
    return dx, dw[..., ::-1] if mistake == "kernel flipped in dw" else dw


def _conv2d_value(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("bihwkl,oikl->bohw", windows, w)


def _conv2d(c, x, w, mistake=""):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    dw = np.einsum("bohw,bihwkl->oikl", c, windows)
    dx = np.zeros_like(x)
    for k, l in np.ndindex(w.shape[2:]):
        row, column = (l, k) if mistake == "rows and columns of the kernel swapped" else (k, l)
        dx[:, :, k : k + c.shape[2], l : l + c.shape[3]] += np.einsum("bohw,oi->bihw", c, w[:, :, row, column])
    if mistake == "kernel flipped in dw":
        dw = dw[:, :, ::-1, ::-1]
    return dx, dw[:, ::-1] if mistake == "channels turned round in dw" else dw


def _depthwise_value(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[1], 2)
    return np.einsum("bitk,ik->bit", windows, w)


def _depthwise(c, x, w, mistake=""):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[1], 2)
    dw = np.einsum("bit,bitk->ik", c, windows)
    dx = np.zeros_like(x)
    for k in range(w.shape[1]):
        dx[:, :, k : k + c.shape[2]] += c * w[:, k, None]
    if mistake == "channels mixed":
        dw = np.broadcast_to(dw.mean(0), dw.shape).copy()
    if mistake == "last tap forgotten in dx":
        dx[:, :, w.shape[1] - 1 :] -= c * w[:, -1, None]
    return dx, -dw if mistake == "dw with a minus" else dw


def _causal_value(x, w):
    padded = np.concatenate([np.zeros((len(w) - 1, x.shape[1]), x.dtype), x])
    return sum(w[k] * padded[k : k + len(x)] for k in range(len(w)))


def _causal(c, x, w, mistake=""):
    n, dx, dw = len(x), np.zeros_like(x), np.zeros_like(w)
    for k in range(len(w)):
        lag = len(w) - 1 - k
        lag_back = lag + 1 if mistake == "one step late in dx" else lag
        dx[: n - lag_back] += w[k] * c[lag_back:]
        dw[k] = np.sum(c[lag:] * x[: n - lag], 0)
    if mistake == "not causal: future for past":
        dx = dx[::-1]
    return dx, 0 * w if mistake == "dw detached" else dw


def _full(c, x, w, mistake=""):
    """Differentiate np.convolve(x, w), the full one."""
    if mistake == "w turned round":
        return np.convolve(c, w, "valid"), np.correlate(c, x, "valid")
    dx = np.correlate(c, w, "valid")
    if mistake == "off by one":
        dx = np.roll(dx, 1)
    return dx, np.convolve(c, x, "valid") if mistake == "x turned round" else np.correlate(c, x, "valid")


def pooled(x, rows=2, columns=2):
    """Return x[b, h, w] as windows that do not overlap: [b, h/rows, w/columns, rows * columns]."""
    b, h, w = x.shape
    windows = x.reshape(b, h // rows, rows, w // columns, columns).swapaxes(2, 3)
    return windows.reshape(b, h // rows, w // columns, rows * columns)


def unpooled(g, like):
    """Undo `pooled`."""
    b, h, w = g.shape[:3]
    size = like.shape[1] // h
    return g.reshape(b, h, w, size, -1).swapaxes(2, 3).reshape(like.shape)


def _average(c, x, mistake=""):
    n = 1 if mistake == "sum for mean" else 2 if mistake == "divided by the side" else 4
    g = np.repeat(c[..., None], 4, -1) / n
    if mistake == "first of the window only":
        g = g * np.array([1, 0, 0, 0], x.dtype)
    return unpooled(g, x)


def _max(c, x, mistake=""):
    windows = pooled(x)
    best = windows.argmin(-1) if mistake == "smallest" else windows.argmax(-1)
    g = np.zeros_like(windows)
    np.put_along_axis(g, best[..., None], c[..., None], -1)
    if mistake == "spread over the window":
        g = np.repeat(c[..., None], 4, -1) / 4
    if mistake == "off by one":
        g = np.roll(g, 1, -1)
    return unpooled(g, x)


def _overlapping_max_value(x):
    return np.lib.stride_tricks.sliding_window_view(x, 3, 1).max(-1)


def _overlapping_max(c, x, mistake=""):
    g = np.zeros_like(x)
    for row, t in np.ndindex(c.shape):
        k = t + x[row, t : t + 3].argmax()
        if mistake == "overwritten, not added":
            g[row, k] = c[row, t]
        else:
            g[row, k - t if mistake == "place in the window for place" else k] += c[row, t]
    return -g if mistake == "wrong sign" else g


def _overlapping_average(c, x, mistake=""):
    g = np.zeros_like(x)
    for t in range(c.shape[1]):
        g[:, t : t + 3] += c[:, t : t + 1] / (1 if mistake == "sum for mean" else 3)
    if mistake == "overlap not added":
        g[:, 2:-2] = c[:, : x.shape[1] - 4] / 3
    return np.roll(g, 1, 1) if mistake == "off by one" else g


def _lp(c, x, mistake=""):
    windows = pooled(x)
    norm = np.sqrt(np.sum(windows**2, -1, keepdims=True))
    g = c[..., None] * windows / (1 if mistake == "root forgotten" else norm)
    if mistake == "norm of everything":
        g = c[..., None] * windows / np.sqrt(np.sum(windows**2))
    return unpooled(2 * g if mistake == "factor 2" else g, x)


def _shuffle_value(x):
    """[4 channels, h, w] to [2 h, 2 w]."""
    _, h, w = x.shape
    return x.reshape(2, 2, h, w).transpose(2, 0, 3, 1).reshape(2 * h, 2 * w)


def _shuffle(c, x, mistake=""):
    _, h, w = x.shape
    order = (3, 1, 0, 2) if mistake == "rows and columns swapped" else (1, 3, 0, 2)
    g = c.reshape(h, 2, w, 2).transpose(order).reshape(x.shape)
    if mistake == "reshaped only":
        return c.reshape(x.shape)
    return g[::-1].copy() if mistake == "channels turned round" else g


FUNCTIONS = family(
    "convolutions and pooling",
    _conv1d_function("convolution 1-D", ("kernel flipped in dx", "kernel flipped in dw", "db a mean")),
    _conv1d_function(
        "convolution 1-D, padded",
        ("padding not cut off on the left", "overwritten, not added", "dw a mean over the batch"),
        pad=1,
    ),
    _conv1d_function(
        "convolution 1-D, stride 2",
        ("stride forgotten in dx", "kernel flipped in dw", "overwritten, not added"),
        stride=2,
    ),
    _conv1d_function(
        "convolution 1-D, dilated", ("dilation forgotten in dx", "kernel flipped in dx", "db a mean"), dilation=2
    ),
    Function(
        "convolution 1-D, transposed, stride 2",
        _transposed_value,
        _transposed,
        {"x": normal(2, 2, 4), "w": normal(2, 3, 3)},
        ("stride forgotten", "kernel flipped in dx", "kernel flipped in dw"),
        ALL,
        scaled=("x",),
    ),
    Function(
        "convolution 2-D",
        _conv2d_value,
        _conv2d,
        {"x": normal(2, 2, 4, 4), "w": normal(3, 2, 2, 2)},
        ("rows and columns of the kernel swapped", "kernel flipped in dw", "channels turned round in dw"),
        ALL,
        scaled=("x",),
    ),
    Function(
        "convolution, depthwise",
        _depthwise_value,
        _depthwise,
        {"x": normal(2, 3, 5), "w": normal(3, 3)},
        ("channels mixed", "last tap forgotten in dx", "dw with a minus"),
        ALL,
        scaled=("x",),
    ),
    Function(
        "convolution, causal",
        _causal_value,
        _causal,
        {"x": normal(6, 2), "w": normal(3, 2)},
        ("one step late in dx", "not causal: future for past", "dw detached"),
        ALL,
        scaled=("x",),
    ),
    Function(
        "convolution, full",
        np.convolve,
        _full,
        {"x": normal(5), "w": normal(3)},
        ("w turned round", "x turned round", "off by one"),
        ALL,
    ),
    Function(
        "average pooling 2-D",
        lambda x: pooled(x).mean(-1),
        _average,
        {"x": normal(2, 4, 4)},
        ("sum for mean", "divided by the side", "first of the window only"),
        ALL,
    ),
    Function(
        "average pooling 1-D, overlapping",
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 1).mean(-1),
        _overlapping_average,
        {"x": normal(2, 7)},
        ("sum for mean", "overlap not added", "off by one"),
        ALL,
    ),
    Function(
        "max pooling 2-D",
        lambda x: pooled(x).max(-1),
        _max,
        {"x": apart(2, 4, 4)},
        ("smallest", "spread over the window", "off by one"),
        ALL,
    ),
    Function(
        "max pooling 1-D, overlapping",
        _overlapping_max_value,
        _overlapping_max,
        {"x": apart(2, 7)},
        ("overwritten, not added", "place in the window for place", "wrong sign"),
        ALL,
    ),
    Function(
        "2-norm pooling",
        lambda x: np.sqrt(np.sum(pooled(x) ** 2, -1)),
        _lp,
        {"x": normal(2, 4, 4)},
        ("root forgotten", "norm of everything", "factor 2"),
        ALL,
    ),
    Function(
        "pixel shuffle",
        _shuffle_value,
        _shuffle,
        {"x": normal(4, 2, 2)},
        ("rows and columns swapped", "reshaped only", "channels turned round"),
        ALL,
    ),
)

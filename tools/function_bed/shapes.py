"""Shapes: transposes, joins, padding and copies. All but two are linear."""

import numpy as np

from tools.function_bed.base import ALL, Function, family, normal


def _reflect(c, x, mistake=""):
    """Pad by two: columns 2, 1 | 0 ... n-1 | n-2, n-3."""
    n = x.shape[1]
    g = c[:, 2 : 2 + n].copy()
    if mistake == "padding forgotten":
        return g
    shift = 1 if mistake == "edge repeated" else 0
    for k in (0, 1):
        g[:, 2 - k - shift] += c[:, k]
        if mistake != "right side forgotten":
            g[:, n - 2 - k + shift] += c[:, 2 + n + k]
    return g


def _edge(c, x, mistake=""):
    g = c[:, 2:-2].copy()
    if mistake == "first copy only":
        g[:, 0] += c[:, 1]
    else:
        g[:, 0] += (c[:, :2].mean(1) if mistake == "mean of the copies" else c[:, :2].sum(1)) * (
            mistake != "padding forgotten"
        )
        g[:, -1] += c[:, -2:].sum(1) * (mistake != "padding forgotten")
    return g


def _windows(c, x, mistake=""):
    g = np.zeros_like(x)
    for k in range(c.shape[1]):
        for j in range(c.shape[2]):
            if mistake == "overwritten":
                g[:, k + j] = c[:, k, j]
            else:
                g[:, (k + j + (mistake == "off by one")) % x.shape[1]] += c[:, k, j]
    return g / 3 if mistake == "mean over windows" else g


def _blocks(x, y):
    return np.block([[x, y], [y.T, x @ y]])


def _blocks_gradient(c, x, y, mistake=""):
    n = len(x)
    c11, c12, c21, c22 = c[:n, :n], c[:n, n:], c[n:, :n], c[n:, n:]
    dx = c11 + c22 @ y.T
    dy = c12 + (0 if mistake == "second place forgotten" else c21 if mistake == "not transposed" else c21.T) + x.T @ c22
    return (c11, dy) if mistake == "product forgotten" else (dx, dy)


FUNCTIONS = family(
    "shapes",
    Function(
        "transpose",
        lambda x: x.T,
        lambda c, x: c.T,
        {"x": normal(3, 3)},
        {
            "not transposed": lambda c, x: c,
            "reversed too": lambda c, x: c.T[::-1],
            "symmetric part": lambda c, x: (c + c.T) / 2,
        },
        ALL,
    ),
    Function(
        "axes in another order",
        lambda x: x.transpose(2, 0, 1),
        lambda c, x: c.transpose(1, 2, 0),
        {"x": normal(3, 3, 3)},
        {
            "not the inverse order": lambda c, x: c.transpose(2, 0, 1),
            "last two swapped": lambda c, x: c.transpose(1, 0, 2),
            "not permuted": lambda c, x: c,
        },
        ALL,
    ),
    Function(
        "reshape",
        lambda x: x.reshape(4, 3),
        lambda c, x: c.reshape(3, 4),
        {"x": normal(3, 4)},
        {
            "transposed": lambda c, x: c.T,
            "column order": lambda c, x: c.reshape(3, 4, order="F"),
            "reversed": lambda c, x: c.reshape(-1)[::-1].reshape(3, 4),
        },
        ALL,
    ),
    Function(
        "flip",
        lambda x: x[:, ::-1],
        lambda c, x: c[:, ::-1],
        {"x": normal(3, 4)},
        {"not flipped": lambda c, x: c, "wrong axis": lambda c, x: c[::-1], "both axes": lambda c, x: c[::-1, ::-1]},
        ALL,
    ),
    Function(
        "roll by 2",
        lambda x: np.roll(x, 2, 1),
        lambda c, x: np.roll(c, -2, 1),
        {"x": normal(3, 5)},
        {
            "same way": lambda c, x: np.roll(c, 2, 1),
            "by 1": lambda c, x: np.roll(c, -1, 1),
            "wrong axis": lambda c, x: np.roll(c, -2, 0),
        },
        ALL,
    ),
    Function(
        "rotation by 90 degrees",
        np.rot90,
        lambda c, x: np.rot90(c, -1),
        {"x": normal(3, 3)},
        {"same way": lambda c, x: np.rot90(c), "transposed": lambda c, x: c.T, "not rotated": lambda c, x: c},
        ALL,
    ),
    Function(
        "concatenate",
        lambda x, y: np.concatenate([x, y, x], 0),
        lambda c, x, y: (c[:2] + c[5:], c[2:5]),
        {"x": normal(2, 3), "y": normal(3, 3)},
        {
            "second place forgotten": lambda c, x, y: (c[:2], c[2:5]),
            "split off by one": lambda c, x, y: (c[1:3] + c[5:], c[3:6]),
            "mean of both places": lambda c, x, y: ((c[:2] + c[5:]) / 2, c[2:5]),
        },
        ALL,
    ),
    Function(
        "stack",
        lambda x, y: np.stack([x, y], 1),
        lambda c, x, y: (c[:, 0], c[:, 1]),
        {"x": normal(2, 3), "y": normal(2, 3)},
        {
            "swapped": lambda c, x, y: (c[:, 1], c[:, 0]),
            "wrong axis": lambda c, x, y: (c[0, :], c[1, :]),
            "the same twice": lambda c, x, y: (c[:, 0], c[:, 0]),
        },
        ALL,
    ),
    Function(
        "split and multiply",
        lambda x: x[:, :2] * x[:, 2:],
        lambda c, x: np.hstack([c * x[:, 2:], c * x[:, :2]]),
        {"x": normal(3, 4)},
        {
            "parts swapped": lambda c, x: np.hstack([c * x[:, :2], c * x[:, 2:]]),
            "second part detached": lambda c, x: np.hstack([c * x[:, 2:], 0 * c]),
            "c alone": lambda c, x: np.hstack([c, c]),
        },
        ALL,
    ),
    Function(
        "pad with a constant",
        lambda x: np.pad(x, ((1, 2), (0, 1)), constant_values=0.5),
        lambda c, x: c[1:-2, :-1],
        {"x": normal(2, 3)},
        {
            "off by one": lambda c, x: c[:2, :3],
            "sides swapped": lambda c, x: c[2:-1, 1:],
            "padding wrapped round": lambda c, x: c[1:-2, :-1] + c[-2:, :-1],
        },
        ALL,
    ),
    Function(
        "pad by reflection",
        lambda x: np.pad(x, ((0, 0), (2, 2)), "reflect"),
        _reflect,
        {"x": normal(2, 5)},
        ("padding forgotten", "edge repeated", "right side forgotten"),
        ALL,
    ),
    Function(
        "pad with the edge",
        lambda x: np.pad(x, ((0, 0), (2, 2)), "edge"),
        _edge,
        {"x": normal(2, 4)},
        ("padding forgotten", "first copy only", "mean of the copies"),
        ALL,
    ),
    Function(
        "repeat",
        lambda x: np.repeat(x, 3, 0),
        lambda c, x: c.reshape(2, 3, 4).sum(1),
        {"x": normal(2, 4)},
        {
            "as of tile": lambda c, x: c.reshape(3, 2, 4).sum(0),
            "mean": lambda c, x: c.reshape(2, 3, 4).mean(1),
            "first copy": lambda c, x: c[::3],
        },
        ALL,
    ),
    Function(
        "tile",
        lambda x: np.tile(x, (3, 1)),
        lambda c, x: c.reshape(3, 2, 4).sum(0),
        {"x": normal(2, 4)},
        {
            "as of repeat": lambda c, x: c.reshape(2, 3, 4).sum(1),
            "mean": lambda c, x: c.reshape(3, 2, 4).mean(0),
            "first copy": lambda c, x: c[:2],
        },
        ALL,
    ),
    Function(
        "broadcast",
        lambda x: np.broadcast_to(x, (3, 4, 2)),
        lambda c, x: c.sum(0).sum(1, keepdims=True),
        {"x": normal(4, 1)},
        {
            "kept axis not summed": lambda c, x: c.sum(0)[:, :1],
            "new axis not summed": lambda c, x: c[0].sum(1, keepdims=True),
            "mean": lambda c, x: c.mean(0).mean(1, keepdims=True),
        },
        ALL,
    ),
    Function(
        "sliding windows",
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 1),
        _windows,
        {"x": normal(2, 6)},
        ("overwritten", "off by one", "mean over windows"),
        ALL,
    ),
    Function(
        "block matrix of two",
        _blocks,
        _blocks_gradient,
        {"x": normal(2, 2), "y": normal(2, 2)},
        ("second place forgotten", "not transposed", "product forgotten"),
        ALL,
    ),
)

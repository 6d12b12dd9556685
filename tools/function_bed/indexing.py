"""Indexing. Everything is linear: a picked element gets its cotangent back, twice if it was picked twice."""

import numpy as np

from tools.function_bed.base import ALL, Function, family, normal

PICK = np.array([2, 0, 2, 3])  # one row twice

ROWS = np.array([0, 1, 2])

LABELS = np.array([1, 0, 3])

ORDER = np.array([[2, 0, 1, 1], [3, 3, 0, 2], [1, 0, 2, 3]])

MASK = np.array([[True, False, True, True], [False, True, False, True], [True, True, False, False]])

SEGMENTS = np.array([0, 2, 0, 1, 2, 2])


def put(x, where, c):
    """Return zeros like `x` with `c` added at an index that has no repetitions."""
    g = np.zeros_like(x)
    g[where] = c
    return g


def add_at(x, where, c):
    """Return zeros like `x` with `c` added at an index that may have repetitions."""
    g = np.zeros_like(x)
    np.add.at(g, where, c)
    return g


def _scatter_value(x, v):
    out = x.copy()
    np.add.at(out, PICK, v)
    return out


def _along(c, x, mistake=""):
    if mistake == "gathered again":
        return np.take_along_axis(c, ORDER, 1)
    g = np.zeros_like(x)
    for row, column in np.ndindex(ORDER.shape):
        if mistake == "overwritten":
            g[row, ORDER[row, column]] = c[row, column]
        else:
            g[row, ORDER[row, column]] += c[row, column]
    return g[::-1] if mistake == "rows turned round" else g


def _assign_value(x, v):
    out = x + 0
    out[1:3] = v
    return out


FUNCTIONS = family(
    "indexing",
    Function(
        "slice",
        lambda x: x[1:3],
        lambda c, x: put(x, slice(1, 3), c),
        {"x": normal(5, 3)},
        {
            "off by one": lambda c, x: put(x, slice(0, 2), c),
            "everywhere": lambda c, x: np.resize(c, x.shape),
            "order turned round": lambda c, x: put(x, slice(1, 3), c[::-1]),
        },
        ALL,
    ),
    Function(
        "slice with step",
        lambda x: x[:, ::2],
        lambda c, x: put(x, np.s_[:, ::2], c),
        {"x": normal(3, 5)},
        {
            "odd for even": lambda c, x: put(x, np.s_[:, 1::2], c[:, :2]),
            "step forgotten": lambda c, x: put(x, np.s_[:, :3], c),
            "repeated": lambda c, x: np.repeat(c, 2, 1)[:, :5],
        },
        ALL,
    ),
    Function(
        "slice from the end",
        lambda x: x[::-2],
        lambda c, x: put(x, np.s_[::-2], c),
        {"x": normal(6)},
        {
            "not reversed": lambda c, x: put(x, np.s_[1::2], c),
            "off by one": lambda c, x: put(x, np.s_[-2::-2], c),
            "wrong sign": lambda c, x: -put(x, np.s_[::-2], c),
        },
        ALL,
    ),
    Function(
        "boolean mask",
        lambda x: x[MASK],
        lambda c, x: put(x, MASK, c),
        {"x": normal(3, 4)},
        {
            "mask turned round": lambda c, x: put(x, ~MASK, c[: np.sum(~MASK)]),
            "order turned round": lambda c, x: put(x, MASK, c[::-1]),
            "first only": lambda c, x: put(x, MASK, c * (np.arange(len(c)) < 1)),
        },
        ALL,
    ),
    Function(
        "rows by number, one twice",
        lambda x: x[PICK],
        lambda c, x: add_at(x, PICK, c),
        {"x": normal(4, 3)},
        {
            "overwritten, not added": lambda c, x: put(x, PICK, c),
            "off by one": lambda c, x: add_at(x, (PICK + 1) % 4, c),
            "mean of the repetitions": lambda c, x: (
                add_at(x, PICK, c) / np.maximum(np.bincount(PICK), 1)[:, None].astype(x.dtype)
            ),
        },
        ALL,
    ),
    Function(
        "take along columns",
        lambda x: np.take(x, PICK, 1),
        lambda c, x: add_at(x.T, PICK, c.T).T,
        {"x": normal(3, 4)},
        {
            "overwritten, not added": lambda c, x: put(x.T, PICK, c.T).T,
            "rows for columns": lambda c, x: add_at(x, np.minimum(PICK, 2), c.T[:, [0, 1, 2, 2]]),
            "taken again": lambda c, x: np.take(c, PICK, 1),
        },
        ALL,
    ),
    Function(
        "one element a row, by label",
        lambda x: x[ROWS, LABELS],
        lambda c, x: put(x, (ROWS, LABELS), c),
        {"x": normal(3, 4)},
        {
            "label off by one": lambda c, x: put(x, (ROWS, (LABELS + 1) % 4), c),
            "whole row": lambda c, x: np.tile(c[:, None], 4),
            "label of the row before": lambda c, x: put(x, (ROWS, np.roll(LABELS, 1)), c),
        },
        ALL,
    ),
    Function(
        "gather along an axis",
        lambda x: np.take_along_axis(x, ORDER, 1),
        _along,
        {"x": normal(3, 4)},
        ("overwritten", "gathered again", "rows turned round"),
        ALL,
    ),
    Function(
        "scatter-add of rows",
        _scatter_value,
        lambda c, x, v: (c, c[PICK]),
        {"x": normal(4, 3), "v": normal(4, 3)},
        {
            "dv not gathered": lambda c, x, v: (c, c),
            "dx zero where added to": lambda c, x, v: (c * (~np.isin(np.arange(4), PICK))[:, None], c[PICK]),
            "dv detached": lambda c, x, v: (c, 0 * v),
        },
        ALL,
    ),
    Function(
        "assignment to rows",
        _assign_value,
        lambda c, x, v: (np.vstack([c[:1], 0 * c[1:3], c[3:]]), c[1:3].sum(0)),
        {"x": normal(4, 3), "v": normal(3)},
        {
            "dx not cleared": lambda c, x, v: (c, c[1:3].sum(0)),
            "dv not summed": lambda c, x, v: (np.vstack([c[:1], 0 * c[1:3], c[3:]]), c[1]),
            "dv off by one": lambda c, x, v: (np.vstack([c[:1], 0 * c[1:3], c[3:]]), c[2:4].sum(0)),
        },
        ALL,
    ),
    Function(
        "embedding, token 0 as padding",
        lambda w: w[PICK] * (PICK != 0)[:, None],
        lambda c, w: add_at(w, PICK, c * (PICK != 0)[:, None]),
        {"w": normal(4, 3)},
        {
            "padding gets a gradient": lambda c, w: add_at(w, PICK, c),
            "overwritten, not added": lambda c, w: put(w, PICK, c * (PICK != 0)[:, None]),
            "divided by the count": lambda c, w: add_at(w, PICK, c * (PICK != 0)[:, None]) / 4,
        },
        ALL,
    ),
    Function(
        "sums by segment",
        lambda x: add_at(x[:3], SEGMENTS, x),
        lambda c, x: c[SEGMENTS],
        {"x": normal(6, 2)},
        {
            "divided by the count": lambda c, x: c[SEGMENTS] / np.bincount(SEGMENTS)[SEGMENTS][:, None].astype(x.dtype),
            "segments in order": lambda c, x: np.repeat(c, 2, 0),
            "one segment on": lambda c, x: c[(SEGMENTS + 1) % 3],
        },
        ALL,
    ),
    Function(
        "where",
        lambda x, y: np.where(MASK, x, y),
        lambda c, x, y: (c * MASK, c * ~MASK),
        {"x": normal(3, 4), "y": normal(3, 4)},
        {
            "branches swapped": lambda c, x, y: (c * ~MASK, c * MASK),
            "not masked": lambda c, x, y: (c, c),
            "second branch detached": lambda c, x, y: (c * MASK, 0 * y),
        },
        ALL,
    ),
    Function(
        "lower triangle",
        np.tril,
        lambda c, x: np.tril(c),
        {"x": normal(4, 4)},
        {
            "not masked": lambda c, x: c,
            "upper": lambda c, x: np.triu(c),
            "diagonal forgotten": lambda c, x: np.tril(c, -1),
        },
        ALL,
    ),
    Function(
        "upper triangle, above the diagonal",
        lambda x: np.triu(x, 1),
        lambda c, x: np.triu(c, 1),
        {"x": normal(4, 4)},
        {
            "with the diagonal": lambda c, x: np.triu(c),
            "transposed": lambda c, x: np.tril(c, -1),
            "off by one": lambda c, x: np.triu(c, 2),
        },
        ALL,
    ),
    Function(
        "diagonal",
        np.diag,
        lambda c, x: np.diag(c),
        {"x": normal(4, 4)},
        {
            "order turned round": lambda c, x: np.diag(c[::-1]),
            "the other diagonal": lambda c, x: np.diag(c)[:, ::-1],
            "whole rows": lambda c, x: c[:, None] + 0 * x,
        },
        ALL,
    ),
    Function(
        "vector to diagonal matrix",
        np.diag,
        lambda c, x: np.diag(c).copy(),
        {"x": normal(4)},
        {
            "row sums": lambda c, x: c.sum(1),
            "column sums": lambda c, x: c.sum(0),
            "first column": lambda c, x: c[:, 0].copy(),
        },
        ALL,
    ),
)

"""Products of matrices and tensors. For C = A B with cotangent c: dA = c B^T and dB = A^T c; the others follow."""

import numpy as np

from tools.function_bed.base import ALL, Function, family, normal


def swapped(x):
    """Transpose the last two axes."""
    return np.swapaxes(x, -1, -2)


def _matmul(c, a, b, mistake=""):
    da, db = c @ swapped(b), swapped(a) @ c
    if mistake == "summed over the batch":
        db = np.broadcast_to(db.sum(0, keepdims=True), db.shape).copy()
    if mistake == "mean over the batch":
        db = db / len(db)
    if mistake == "da of the first of the batch":
        da = np.broadcast_to(da[:1], da.shape).copy()
    return da, db


def _linear_layer(c, x, w, b, mistake=""):
    db = c.mean(0) if mistake == "db a mean" else c.sum(0)
    dw = c.T @ x / (len(x) if mistake == "dw a mean" else 1)
    return c @ (w * (-1 if mistake == "dx with a minus" else 1)), dw, db


def _einsum(c, a, b, v, mistake=""):
    da = np.einsum("i,jk,k->ij", c, b, v)
    db = np.einsum("i,ij,k->jk", c, a, v)
    dv = np.einsum("i,ij,jk->k", c, a, b)
    if mistake == "dv detached":
        dv = 0 * v
    if mistake == "db: c forgotten":
        db = np.einsum("ij,k->jk", a, v)
    if mistake == "da: v summed by itself":
        da = np.einsum("i,jk,l->ij", c, b, v)
    return da, db, dv


def _bilinear(c, x, w, y, mistake=""):
    """Differentiate out[b, o] = sum_ij x[b, i] w[o, i, j] y[b, j]."""
    if mistake == "dy detached":
        return np.einsum("bo,oij,bj->bi", c, w, y), np.einsum("bo,bi,bj->oij", c, x, y), 0 * y
    dw = np.einsum("bo,bi,bj->oij", c, x, y)
    if mistake == "dw transposed":
        dw = swapped(dw)
    if mistake == "dw: batch summed before the product":
        dw = np.einsum("bo,bi,dj->oij", c, x, y)
    return np.einsum("bo,oij,bj->bi", c, w, y), dw, np.einsum("bo,oij,bi->bj", c, w, x)


def _kron(c, a, b, mistake=""):
    blocks = c.reshape(a.shape[0], b.shape[0], a.shape[1], b.shape[1])
    if mistake == "blocks in the wrong order":
        blocks = c.reshape(b.shape[0], a.shape[0], b.shape[1], a.shape[1]).transpose(1, 0, 3, 2)
    da, db = np.einsum("ipjq,pq->ij", blocks, b), np.einsum("ipjq,ij->pq", blocks, a)
    if mistake == "db of the first block":
        db = a[0, 0] * blocks[0, :, 0]
    return da, 0 * b if mistake == "db detached" else db


def _chain(c, a, b, d, mistake=""):
    da, db, dd = c @ (b @ d).T, a.T @ c @ d.T, (a @ b).T @ c
    if mistake == "outer factor forgotten":
        db = a.T @ (c @ np.ones_like(d).T)
    if mistake == "middle detached":
        db = 0 * b
    if mistake == "not transposed":
        db = a @ c @ d
    return da, db, dd


def _cube(c, a, mistake=""):
    """Differentiate A^3: the cotangent meets each of the three factors."""
    t = a.T
    terms = [c @ t @ t, t @ c @ t, t @ t @ c]
    if mistake == "3 A^2, as of a number":
        return 3 * t @ t @ c
    if mistake == "middle term forgotten":
        return terms[0] + terms[2]
    return sum(c @ a @ a if mistake == "not transposed" and k == 0 else term for k, term in enumerate(terms))


def _gram(c, a, mistake=""):
    if mistake == "c not symmetric":
        return 2 * a @ c
    return a @ c if mistake == "one factor detached" else a @ (c - c.T if mistake == "minus" else c + c.T)


def _quadratic(c, x, a, mistake=""):
    """Differentiate x_b^T A x_b for each row x_b."""
    symmetric = 2 * a if mistake == "2 A for A + A^T" else a if mistake == "A^T forgotten" else a + a.T
    da = np.einsum("b,bi,bj->ij", c, x, x)
    return c[:, None] * (x @ symmetric.T), da + da.T if mistake == "da twice" else da


def _triangular_part(c, a, b, mistake=""):
    da, db = c @ b.T, a.T @ c
    if mistake == "da not masked":
        return da, db
    if mistake == "db: a not masked":
        return np.tril(da), db
    return np.triu(da) if mistake == "da of the other triangle" else np.tril(da), np.tril(a).T @ c


def _commutator(c, a, b, mistake=""):
    if mistake == "second term forgotten":
        return c @ b.T, a.T @ c
    sign = -1 if mistake == "anticommutator" else 1
    return c @ b.T - sign * b.T @ c, (a @ c if mistake == "not transposed" else a.T @ c) - sign * c @ a.T


FUNCTIONS = family(
    "products",
    Function(
        "dot",
        lambda a, b: a @ b,
        lambda c, a, b: (c * b, c * a),
        {"a": normal(5), "b": normal(5)},
        {
            "factors swapped": lambda c, a, b: (c * a, c * b),
            "db detached": lambda c, a, b: (c * b, 0 * b),
            "db reversed": lambda c, a, b: (c * b, c * a[::-1]),
        },
        ALL,
    ),
    Function(
        "matmul, square",
        lambda a, b: a @ b,
        lambda c, a, b: (c @ b.T, a.T @ c),
        {"a": normal(3, 3), "b": normal(3, 3)},
        {
            "da: B not transposed": lambda c, a, b: (c @ b, a.T @ c),
            "db: A not transposed": lambda c, a, b: (c @ b.T, a @ c),
            "db: factors in the wrong order": lambda c, a, b: (c @ b.T, c @ a.T),
        },
        ALL,
    ),
    Function(
        "matrix times vector",
        lambda a, x: a @ x,
        lambda c, a, x: (np.outer(c, x), a.T @ c),
        {"a": normal(4, 4), "x": normal(4)},
        {
            "A not transposed": lambda c, a, x: (np.outer(c, x), a @ c),
            "da transposed": lambda c, a, x: (np.outer(x, c), a.T @ c),
            "da detached": lambda c, a, x: (0 * a, a.T @ c),
        },
        ALL,
    ),
    Function(
        "matmul, batched",
        lambda a, b: a @ b,
        _matmul,
        {"a": normal(2, 3, 2), "b": normal(2, 2, 3)},
        ("summed over the batch", "mean over the batch", "da of the first of the batch"),
        ALL,
    ),
    Function(
        "linear layer, x W^T + b",
        lambda x, w, b: x @ w.T + b,
        _linear_layer,
        {"x": normal(5, 3), "w": normal(2, 3), "b": normal(2)},
        ("db a mean", "dw a mean", "dx with a minus"),
        ALL,
        scaled=("x",),
    ),
    Function(
        "einsum, ij,jk,k->i",
        lambda a, b, v: np.einsum("ij,jk,k->i", a, b, v),
        _einsum,
        {"a": normal(2, 3), "b": normal(3, 4), "v": normal(4)},
        ("dv detached", "db: c forgotten", "da: v summed by itself"),
        ALL,
    ),
    Function(
        "bilinear layer",
        lambda x, w, y: np.einsum("bi,oij,bj->bo", x, w, y),
        _bilinear,
        {"x": normal(4, 2), "w": normal(3, 2, 2), "y": normal(4, 2)},
        ("dy detached", "dw transposed", "dw: batch summed before the product"),
        ALL,
    ),
    Function(
        "outer",
        np.outer,
        lambda c, a, b: (c @ b, a @ c),
        {"a": normal(4), "b": normal(4)},
        {
            "db: c not transposed": lambda c, a, b: (c @ b, c @ a),
            "da: c transposed": lambda c, a, b: (c.T @ b, a @ c),
            "factors swapped": lambda c, a, b: (c @ a, b @ c),
        },
        ALL,
    ),
    Function(
        "kron",
        np.kron,
        _kron,
        {"a": normal(2, 3), "b": normal(3, 2)},
        ("blocks in the wrong order", "db of the first block", "db detached"),
        ALL,
    ),
    Function(
        "trace",
        np.trace,
        lambda c, a: c * np.eye(len(a), dtype=a.dtype),
        {"a": normal(3, 3)},
        {
            "all elements": lambda c, a: c + 0 * a,
            "mean": lambda c, a: c * np.eye(len(a), dtype=a.dtype) / 3,
            "the other diagonal": lambda c, a: c * np.eye(len(a), dtype=a.dtype)[::-1],
        },
        ALL,
    ),
    Function(
        "trace of a product",
        lambda a, b: np.trace(a @ b),
        lambda c, a, b: (c * b.T, c * a.T),
        {"a": normal(3, 3), "b": normal(3, 3)},
        {
            "not transposed": lambda c, a, b: (c * b, c * a),
            "diagonal only": lambda c, a, b: (c * b.T * np.eye(3, dtype=a.dtype), c * a.T),
            "the same factor twice": lambda c, a, b: (c * a.T, c * a.T),
        },
        ALL,
    ),
    Function(
        "tensordot over two axes",
        lambda a, b: np.tensordot(a, b, 2),
        lambda c, a, b: (np.tensordot(c, b, ([1], [2])), np.tensordot(a, c, ([0], [0]))),
        {"a": normal(2, 3, 3), "b": normal(3, 3, 2)},
        {
            "axes of da swapped": lambda c, a, b: (
                np.swapaxes(np.tensordot(c, b, ([1], [2])), 1, 2),
                np.tensordot(a, c, ([0], [0])),
            ),
            "axes of db swapped": lambda c, a, b: (
                np.tensordot(c, b, ([1], [2])),
                np.swapaxes(np.tensordot(a, c, ([0], [0])), 0, 1),
            ),
            "c transposed": lambda c, a, b: (np.tensordot(c.T, b, ([1], [2])), np.tensordot(a, c, ([0], [0]))),
        },
        ALL,
    ),
    Function(
        "chain of three matrices",
        lambda a, b, d: a @ b @ d,
        _chain,
        {"a": normal(3, 3), "b": normal(3, 3), "d": normal(3, 3)},
        ("outer factor forgotten", "middle detached", "not transposed"),
        ALL,
    ),
    Function(
        "matrix power 3",
        lambda a: np.linalg.matrix_power(a, 3),
        _cube,
        {"a": normal(3, 3)},
        ("3 A^2, as of a number", "middle term forgotten", "not transposed"),
        ALL,
    ),
    Function(
        "Gram matrix A^T A",
        lambda a: a.T @ a,
        _gram,
        {"a": normal(4, 3)},
        ("c not symmetric", "one factor detached", "minus"),
        ALL,
    ),
    Function(
        "quadratic form",
        lambda x, a: np.einsum("bi,ij,bj->b", x, a, x),
        _quadratic,
        {"x": normal(4, 3), "a": normal(3, 3)},
        ("2 A for A + A^T", "A^T forgotten", "da twice"),
        ALL,
    ),
    Function(
        "product with a lower triangle",
        lambda a, b: np.tril(a) @ b,
        _triangular_part,
        {"a": normal(3, 3), "b": normal(3, 2)},
        ("da not masked", "db: a not masked", "da of the other triangle"),
        ALL,
    ),
    Function(
        "cross product",
        np.cross,
        lambda c, a, b: (np.cross(b, c), np.cross(c, a)),
        {"a": normal(3, 3), "b": normal(3, 3)},
        {
            "factors in the wrong order": lambda c, a, b: (np.cross(c, b), np.cross(a, c)),
            "db with a minus": lambda c, a, b: (np.cross(b, c), np.cross(a, c)),
            "da of the other factor": lambda c, a, b: (np.cross(a, c), np.cross(c, a)),
        },
        ALL,
    ),
    Function(
        "commutator AB - BA",
        lambda a, b: a @ b - b @ a,
        _commutator,
        {"a": normal(3, 3), "b": normal(3, 3)},
        ("second term forgotten", "anticommutator", "not transposed"),
        ALL,
    ),
)

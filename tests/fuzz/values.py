"""Malformed values: wrong types, wrong numbers, wrong arrays, and a valid value that is broken in one place."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HUGE = 10**400
Draw = Callable[[np.random.Generator], Any]


def matrix() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix([[1.0, 2.0], [3.0, 4.0]])


class Odd:
    """An object of no use, whose text has two lines."""

    def __repr__(self) -> str:
        return "Odd(\n)"


SCALARS: tuple[Draw, ...] = tuple(
    (lambda rng, value=value: value)
    for value in (
        None,
        True,
        False,
        0,
        1,
        -1,
        3,
        -7,
        2**31,
        2**63,
        -(2**63),
        10**5000,
        HUGE,
        -HUGE,
        0.0,
        -0.0,
        1.5,
        -1.5,
        1e308,
        5e-324,
        1e-320,
        math.nan,
        math.inf,
        -math.inf,
        1j,
        "",
        "x",
        "no such",
        "a\nb",
        "nan",
        "\0",
        "é" * 1000,
        b"x",
        np.float32(math.nan),
        np.float64(math.inf),
        np.int64(-3),
        np.bool_(True),
        np.str_("x"),
        np.datetime64("2020-01-01"),
        Ellipsis,
        NotImplemented,
        int,
        float,
        object,
        len,
        math.sin,
    )
)
CONTAINERS: tuple[Draw, ...] = (
    lambda rng: [],
    lambda rng: {},
    lambda rng: (),
    lambda rng: set(),
    lambda rng: frozenset({1}),
    lambda rng: range(3),
    lambda rng: [1, "a"],
    lambda rng: [None],
    lambda rng: [[1.0], [2.0, 3.0]],
    lambda rng: [math.nan],
    lambda rng: [HUGE],
    lambda rng: {"a": 1},
    lambda rng: {3: "a"},
    lambda rng: {None: None},
    lambda rng: {"W": "x"},
    lambda rng: {"W": math.nan},
    lambda rng: (x for x in (1, 2)),
    lambda rng: iter(()),
    lambda rng: Odd(),
    lambda rng: [Odd()],
    lambda rng: slice(3),
    lambda rng: lambda *_, **__: None,
    lambda rng: lambda: math.nan,
    lambda rng: Path("no/such/path"),
    lambda rng: b"\xff",
)
ARRAYS: tuple[Draw, ...] = (
    lambda rng: np.empty(0),
    lambda rng: np.empty((0, 3)),
    lambda rng: np.empty((5, 0, 3)),
    lambda rng: np.array(None),
    lambda rng: np.array([object()]),
    lambda rng: np.array(["x", "y"]),
    lambda rng: np.array(math.nan),
    lambda rng: matrix(),
    lambda rng: np.array([1.0, math.nan]),
    lambda rng: np.ma.masked_invalid([1.0, math.nan]),
    lambda rng: np.array([HUGE]),
    lambda rng: np.zeros((2, 2), [("x", "f4")]),
    lambda rng: np.array(["2020"], "datetime64[Y]"),
    lambda rng: np.ones(3, bool),
    lambda rng: rng.standard_normal(tuple(rng.integers(1, 5, rng.integers(0, 5)))),
    lambda rng: rng.standard_normal(tuple(rng.integers(1, 5, 2))).astype(np.float32),
    lambda rng: rng.integers(-5, 5, tuple(rng.integers(1, 5, rng.integers(1, 4)))),
    lambda rng: rng.standard_normal(3) + 1j,
    lambda rng: np.full((2, 4), 1e308),
    lambda rng: np.full((2, 4), 5e-324),
    lambda rng: np.full(3, math.inf),
    lambda rng: np.float16([1, 2]),
    lambda rng: np.longdouble([1, 2]),
    lambda rng: np.array([2**64 - 1], np.uint64),
    lambda rng: np.lib.stride_tricks.as_strided(np.ones(1), (2, 4), (0, 0)),
)
# Sizes that no memory holds.
SIZES = {
    "input_size",
    "hidden_size",
    "batch_size",
    "length",
    "delay",
    "n_memory",
    "n_symbols",
    "n_classes",
    "n_outputs",
    "image_shape",
    "k",
    "n_sequences",
}
NO_MEMORY: tuple[Draw, ...] = tuple((lambda rng, value=value: value) for value in (10**10, 10**12, 2**40 + 1, 2**62))


def broken(value: Any, rng: np.random.Generator) -> Any:
    """Return a valid value that is broken in one place, or something malformed where that cannot be."""
    if isinstance(value, np.ndarray) and value.size:
        kinds: list[Callable[[], Any]] = [
            lambda: value[..., :-1],
            lambda: value[None],
            lambda: value[0],
            lambda: value.astype(object),
            lambda: np.ma.masked_array(value),
            lambda: value.astype(complex),
            lambda: value.tolist(),
            lambda: value.T,
            lambda: value.astype(str),
            lambda: np.concatenate([value, value], -1) if value.ndim else value,
        ]
        if value.dtype.kind == "f":
            kinds += [
                (lambda bad=bad: spoiled(value, bad, rng)) for bad in (math.nan, math.inf, -math.inf, 1e308, 1e-310)
            ]
            kinds += [lambda: value.astype(np.float32), lambda: value.astype(np.float16), lambda: value.astype(int)]
        else:
            kinds += [
                lambda: value.real.astype(np.int64) - 9,
                lambda: value.real.astype(np.int64) + 10**6,
                lambda: value.real.astype(float) + 0.5,
            ]
        return kinds[rng.integers(len(kinds))]()
    if isinstance(value, dict) and value:
        name = list(value)[rng.integers(len(value))]
        if rng.random() < 0.2:
            return {key: one for key, one in value.items() if key != name}
        if rng.random() < 0.1:
            return {**value, "no such": one_of(SCALARS, rng)}
        return {**value, name: broken(value[name], rng)}
    if isinstance(value, list | tuple) and value:
        place = int(rng.integers(len(value)))
        return type(value)([*value[:place], broken(value[place], rng), *value[place + 1 :]])
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, Path):
        return value.with_name("no such file")
    return anything("", rng)


def spoiled(array: np.ndarray, bad: float, rng: np.random.Generator) -> np.ndarray:
    """Return a copy with one other number in it."""
    copy = array.copy()
    copy.flat[rng.integers(copy.size)] = bad
    return copy


def one_of(values: tuple[Draw, ...], rng: np.random.Generator) -> Any:
    return values[rng.integers(len(values))](rng)


def anything(name: str, rng: np.random.Generator) -> Any:
    """Return a malformed value of any kind."""
    kinds = (SCALARS, SCALARS, CONTAINERS, ARRAYS, *((NO_MEMORY,) if name in SIZES else ()))
    return one_of(kinds[rng.integers(len(kinds))], rng)


def malformed(name: str, valid: Any, rng: np.random.Generator) -> Any:
    """Return a malformed value for an argument; some of them happen to be valid."""
    return broken(valid, rng) if rng.random() < 0.4 else anything(name, rng)

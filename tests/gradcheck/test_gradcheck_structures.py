"""Structures and layouts: odd mappings, dataclasses, named tuples, floats, several arguments, libraries that narrow."""

import collections
import dataclasses
import random
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradcheck import FunctionError, check_gradient, check_purity, numerical_gradient

rng = np.random.default_rng(0)
W, B = rng.normal(size=(3, 2)), rng.normal(size=3)


class Lenient(dict):
    __getattr__ = dict.get  # answers None to every attribute


class Strict(dict):
    __getattr__ = dict.__getitem__  # raises KeyError for attributes that are not there


class Frozen(collections.abc.Mapping):
    def __init__(self, items):
        self._items = dict(items)

    def __getitem__(self, key):
        return self._items[key]

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)


class Pair(NamedTuple):
    W: Any
    b: Any


@dataclasses.dataclass
class Layer:
    W: Any
    b: Any
    name: str = "layer"
    size: int = 3


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenLayer:
    W: Any
    b: Any


def by_key(p):
    return p["W"], p["b"]


def by_attribute(p):
    return p.W, p.b


KINDS = {
    "dict": (dict, by_key),
    "ordered": (collections.OrderedDict, by_key),
    "lenient": (Lenient, by_key),
    "strict": (Strict, by_key),
    "strict, by attribute": (Strict, by_attribute),
    "frozen mapping": (Frozen, by_key),
    "default": (lambda items: collections.defaultdict(list, items), by_key),
    "named tuple": (lambda items: Pair(**items), by_attribute),
    "dataclass": (lambda items: Layer(**items), by_attribute),
    "frozen dataclass": (lambda items: FrozenLayer(**items), by_attribute),
}


@pytest.mark.parametrize("method", ["auto", "elements", "richardson"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_structure_is_handed_on_as_it_came(kind, nested, method):
    make, parts = KINDS[kind]
    params = make({"W": W, "b": B})
    seen = set()

    def loss(p):
        p = p["first"][0] if nested else p
        seen.add(type(p))
        w, b = parts(p)
        return np.sum(np.sin(w)) + np.sum(b**3)

    def gradient(factor):
        found = make({"W": np.cos(W), "b": factor * 3 * B**2})
        return {"first": [found]} if nested else found

    given = {"first": [params]} if nested else params
    assert check_gradient(loss, gradient(1), given, method=method).passed
    report = check_gradient(loss, gradient(1.01), given, method=method)
    prefix = "first[0]." if nested else ""
    assert (report[prefix + "W"].verdict, report[prefix + "b"].verdict) == ("passed", "failed")
    assert seen == {type(params)}


def test_plain_fields_of_a_dataclass_are_handed_on():
    params = Layer(W, B, name="hidden", size=7)

    def loss(p):
        assert (p.name, p.size) == ("hidden", 7)
        return np.sum(p.W**2) + np.sum(p.b)

    assert check_gradient(loss, Layer(2 * W, np.ones(3)), params).passed


@pytest.mark.parametrize("method", ["auto", "elements", "richardson", "central"])
def test_floats_of_python_are_parameters(method):
    draw = random.Random(0)
    for _ in range(10):
        x, y = draw.uniform(-2, 2), draw.uniform(-2, 2)
        assert check_gradient(lambda p: p**3, 3 * x**2, x, method=method).passed
        assert check_gradient(lambda p: p**3, 3.1 * x**2, x, method=method).failed
        right = {"x": y, "y": x}
        assert check_gradient(lambda p: p["x"] * p["y"], right, {"x": x, "y": y}, method=method).passed
        wrong = {"x": y, "y": -x}
        assert check_gradient(lambda p: p["x"] * p["y"], wrong, {"x": x, "y": y}, method=method).failed
    assert isinstance(numerical_gradient(lambda p: p**2, 3.0), float)


def test_several_positional_arguments_take_the_parts_of_a_tuple():
    def loss(w, b, scale=1.0):
        return scale * (np.sum(w**2) + np.sum(b**3))

    assert check_gradient(loss, (2 * W, 3 * B**2), (W, B)).passed
    assert check_gradient(loss, lambda w, b: (2 * w, 3 * b**2), (W, B)).passed
    assert check_gradient(loss, (2 * W, 2 * B**2), (W, B)).failed
    assert check_gradient(lambda p: np.sum(p[0] ** 2) + np.sum(p[1]), (2 * W, np.ones(3)), (W, B)).passed


@pytest.mark.parametrize("method", ["auto", "elements", "richardson", "central"])
def test_layout_of_the_users_arrays_is_kept(method):
    for seed in range(10):
        draw = np.random.default_rng(seed)
        shape = tuple(draw.integers(2, 5, size=3))
        axes = tuple(draw.permutation(3))
        p = draw.normal(size=[shape[axis] for axis in np.argsort(axes)])
        p = np.asfortranarray(p) if seed % 2 else p.transpose(axes)
        weights = draw.normal(size=p.size)
        strides = []

        def loss(q, weights=weights, strides=strides):
            strides.append(tuple(np.argsort(q.strides)))
            return np.sum(weights * np.sin(q.ravel(order="K")))

        order = np.argsort(p.strides)[::-1]
        flat = weights * np.cos(p.ravel(order="K"))
        g = flat.reshape([p.shape[axis] for axis in order]).transpose(np.argsort(order))
        assert check_gradient(loss, g, p, method=method).passed
        assert check_gradient(loss, lambda q, g=g: g.astype(q.dtype), p, method=method).passed
        assert set(strides) == {tuple(np.argsort(p.strides))}
        wrong = g.copy()
        wrong[0, 0, 0] *= 1.01
        assert check_gradient(loss, wrong, p, method=method).failed


class Narrow:
    """An array of a library that makes float32 of whatever it is given, and takes no complex numbers."""

    def __init__(self, values):
        values = np.asarray(values)
        if values.dtype.kind == "c":
            raise TypeError("no complex numbers here")
        self.values = np.array(values, np.float32)
        self.shape, self.dtype, self.device = self.values.shape, self.values.dtype, "cpu"

    def __array_namespace__(self):
        return NarrowLibrary

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or np.float32)

    def __getitem__(self, key):
        return self.values[key]


class NarrowLibrary:
    @staticmethod
    def asarray(values, device=None):
        return Narrow(values)


class Narrowing(Narrow):
    """The same, but it narrows complex numbers too."""

    def __init__(self, values):
        values = np.asarray(values)
        self.values = np.array(values, np.complex64 if values.dtype.kind == "c" else np.float32)
        self.shape, self.dtype, self.device = self.values.shape, self.values.dtype, "cpu"

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or self.values.dtype)

    def __array_namespace__(self):
        return NarrowingLibrary


class NarrowingLibrary:
    @staticmethod
    def asarray(values, device=None):
        return Narrowing(values)


@pytest.mark.parametrize("given_as", ["function", "arrays"])
@pytest.mark.parametrize("kind", [Narrow, Narrowing])
def test_library_that_narrows_is_told_in_one_line_and_checked_in_single_precision(kind, given_as):
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=5)

        def loss(p):
            return kind(np.sum(np.sin(p["w"].values) ** 2))

        def gradient(p, factor=1):
            return {"w": kind(factor * np.sin(2 * p["w"].values))}

        params = {"w": kind(x)}
        claims = [gradient, lambda p: gradient(p, -1)]
        right, wrong = claims if given_as == "function" else [claim(params) for claim in claims]
        report = check_gradient(loss, right, params, seed=seed)
        # real differences of single precision are all that is left where the library has no complex numbers
        assert report.passed if kind is Narrowing else not report.failed, str(report)
        note = "narrowed float64 to float32, so the check is in float32 and shows about four digits"
        assert [note in line for line in report.notes].count(True) == 1, str(report)
        assert check_gradient(loss, wrong, params, seed=seed).failed


def test_gradient_that_a_library_narrowed_is_told_so():
    x = np.ones(3)
    with pytest.raises(TypeError, match="a library narrowed it; enable 64-bit numbers there"):
        check_gradient(lambda p: np.sum(p**2), lambda p: Narrow(2 * p), x)


def test_loss_that_changes_its_input_is_told_though_the_library_narrows():
    def loss(p):
        p.values[0] = 7
        return Narrow(np.sum(p.values))

    with pytest.raises(FunctionError, match="loss changes its input: the values of params"):
        check_gradient(loss, Narrow(np.ones(3)), Narrow(np.ones(3)))


@pytest.mark.parametrize("value", [1.0, None, "text", np.ones(2), [np.ones(1)]])
@pytest.mark.parametrize("make", [dict, Lenient, Strict])
def test_function_that_adds_to_its_mapping_is_not_pure(make, value):
    def adds(p):
        p["cache"] = value
        return np.sum(p["w"])

    def leaves(p):
        return np.sum(p["w"])

    report = check_purity(adds, make({"w": np.ones(2)}))
    assert report.failed
    assert any("cache" in entry.parameter for entry in report.entries if entry.verdict == "failed")
    assert check_purity(leaves, make({"w": np.ones(2)})).passed

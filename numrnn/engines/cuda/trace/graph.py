"""Arrays that record what is done with them: the operations of a cell's step as a graph.

A `Traced` array has a shape and no numbers. The cells run on any library of arrays, so that they run on these: `record`
calls a function with them and returns what it computes. What a graph cannot hold raises `Untraceable` with the reason:
a branch that depends on a number, a function that is not in the tables below, an array that is no argument.

Nodes are made once: the same operation on the same nodes is the same node. Columns are kept at the leaves and joins at
the top: a slice of columns of a sum is the sum of slices, and a function of joined columns joins functions of each
part. So all elementwise work between two products has one shape, and becomes one kernel (plan.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numrnn.backend import trusted_values

Shape = tuple[int, ...]

# C++ text of every elementwise operation: {f} is "f" in float32, where the functions have other names.
ELEMENTWISE = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "negative": "-{0}",
    "tanh": "tanh{f}({0})",
    "exp": "exp{f}({0})",
    "expm1": "expm1{f}({0})",
    "log": "log{f}({0})",
    "log1p": "log1p{f}({0})",
    "sqrt": "sqrt{f}({0})",
    "sin": "sin{f}({0})",
    "cos": "cos{f}({0})",
    "abs": "fabs{f}({0})",
    "square": "{0} * {0}",
    "maximum": "{0} > {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} < {1} || {0} != {0} ? {0} : {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "where": "{0} ? {1} : {2}",
}
CONDITIONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
OF_MATRICES = ("triu", "tril")  # of constants, and of sums over the batch


class Untraceable(Exception):
    """A step that cannot be traced; the text says what of it."""


@dataclass(frozen=True, eq=False)
class Node:
    """An operation.

    Attributes
    ----------
    op : str
        "leaf", "scalar", a key of `ELEMENTWISE`, "matmul", "transpose", "index", "join", "sum", "eye", "zeros" or one
        of `OF_MATRICES`.
    inputs : tuple of Node
    value : object
        Name of a leaf, number of a scalar, index, axis and keepdims of a sum, k of triu and tril.
    shape : tuple of int
    reads : frozenset of str
        The leaves that it depends on.
    """

    op: str
    inputs: tuple[Node, ...]
    value: Any
    shape: Shape
    reads: frozenset[str] = field(repr=False)

    @property
    def is_elementwise(self) -> bool:
        """Whether the operation is one of `ELEMENTWISE`."""
        return self.op in ELEMENTWISE


class Graph:
    """The nodes of one trace, each made once; `dtype` is that of its arrays."""

    def __init__(self, dtype: Any = None) -> None:
        self.dtype = dtype
        self._made: dict[Any, Node] = {}

    def node(self, op: str, inputs: Sequence[Node], value: Any, shape: Shape) -> Node:
        """Return the node of an operation."""
        key = op, tuple(map(id, inputs)), repr(value), shape
        if key not in self._made:
            own = frozenset([value]) if op == "leaf" else frozenset()
            reads = own.union(*(one.reads for one in inputs))
            self._made[key] = Node(op, tuple(inputs), value, shape, reads)
        return self._made[key]

    def leaf(self, name: str, shape: Shape) -> Node:
        """Return an argument."""
        return self.node("leaf", (), name, tuple(shape))

    def scalar(self, number: float) -> Node:
        """Return a number."""
        return self.node("scalar", (), float(number), ())

    def elementwise(self, op: str, *inputs: Node) -> Node:
        """Return an elementwise operation; of joined columns, the operations on each part, joined."""
        try:
            shape = np.broadcast_shapes(*(one.shape for one in inputs))
        except ValueError:
            shapes = ", ".join(str(one.shape) for one in inputs)
            raise Untraceable(f"{op} of arrays of shapes {shapes}") from None
        joined = next((one for one in inputs if one.op == "join" and one.shape == shape), None)
        if joined is None:
            return self.node(op, inputs, None, shape)
        parts = []
        for start, stop in _edges(joined):
            cut = [one if one.shape[-1:] in ((), (1,)) else self.columns(one, start, stop) for one in inputs]
            parts.append(self.elementwise(op, *cut))
        return self.join(parts)

    def columns(self, node: Node, start: int, stop: int) -> Node:
        """Return columns `start` to `stop` of the last axis, taken from the leaves of elementwise operations."""
        if (start, stop) == (0, node.shape[-1]):
            return node
        if node.is_elementwise:
            cut = (one if one.shape[-1:] in ((), (1,)) else self.columns(one, start, stop) for one in node.inputs)
            return self.elementwise(node.op, *cut)
        if node.op == "join":
            parts = []
            for part, (first, last) in zip(node.inputs, _edges(node), strict=True):
                if max(start, first) < min(stop, last):
                    parts.append(self.columns(part, max(start, first) - first, min(stop, last) - first))
            return self.join(parts)
        if node.op == "index" and node.value[:-1] == (slice(None),) * (len(node.value) - 1):
            offset = node.value[-1].start
            return self.columns(node.inputs[0], offset + start, offset + stop)
        key = (*(slice(None) for _ in node.shape[:-1]), slice(start, stop))
        return self.node("index", (node,), key, (*node.shape[:-1], stop - start))

    def join(self, parts: Sequence[Node]) -> Node:
        """Return matrices side by side."""
        if len(parts) == 1:
            return parts[0]
        rows = parts[0].shape[:-1]
        if len(rows) != 1 or any(one.shape[:-1] != rows for one in parts):
            raise Untraceable("arrays joined otherwise than as columns of matrices")
        flat = [one for part in parts for one in (part.inputs if part.op == "join" else (part,))]
        return self.node("join", flat, None, (*rows, sum(one.shape[-1] for one in flat)))


def _edges(joined: Node) -> Iterable[tuple[int, int]]:
    """Return first and last column of every part."""
    return itertools.pairwise(itertools.accumulate((one.shape[-1] for one in joined.inputs), initial=0))


Outputs = dict[str, Node]
Function = Callable[[Graph], Outputs]


def texts_of(outputs: Outputs) -> list[str]:
    """Return what the outputs compute as texts, the same for two graphs that compute the same."""
    numbers: dict[Node, int] = {}
    lines = []

    def number(node: Node) -> int:
        if node not in numbers:
            inputs = [number(one) for one in node.inputs]
            numbers[node] = len(numbers)
            lines.append(f"{node.op} {inputs} {node.value!r} {node.shape}")
        return numbers[node]

    return [f"{name} = {number(node)}" for name, node in outputs.items()] + lines


def record(function: Function, dtype: Any) -> Outputs:
    """Return what a function computes, as nodes by name; it gets a graph.

    Cells check their arguments; here there are no numbers to check.

    Raises
    ------
    Untraceable
        If it cannot be traced.
    """
    try:
        with trusted_values():
            return function(Graph(dtype))
    except Untraceable:
        raise
    except Exception as error:  # whatever a cell makes of an array that it does not expect
        raise Untraceable(f"a step that fails on arrays without numbers ({type(error).__name__}: {error})") from error

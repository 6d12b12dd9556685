"""The arrays that a traced step computes with, and the functions of their library."""

from __future__ import annotations

import types
from typing import Any, NoReturn

from numrnn.engines.cuda.trace.graph import ELEMENTWISE, OF_MATRICES, Graph, Node, Shape, Untraceable


class Traced:
    """An array with a shape, a dtype and no numbers; see graph.py."""

    __slots__ = ("graph", "node", "parts", "zero")

    def __init__(self, graph: Graph, node: Node | None, shape: Shape = (), zero: bool = False) -> None:
        self.graph, self.zero = graph, zero
        self.node: Any = node
        # Of a new array that is filled column by column: its shape, and the nodes by first and last column.
        self.parts: Any = None if node else (shape, {})

    @property
    def device(self) -> Graph:
        """The graph, as what numrnn.backend passes on to make new arrays of the same trace."""
        return self.graph

    @property
    def dtype(self) -> Any:
        """Data type of all arrays of the trace; conditions have it too."""
        return self.graph.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    @property
    def shape(self) -> Shape:
        """Shape."""
        return self.parts[0] if self.node is None else self.node.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def T(self) -> Traced:
        """Transpose of a matrix."""
        if self.ndim != 2:
            raise Untraceable(f"the transpose of an array of {self.ndim} axes")
        node = self.filled()
        inner = node.inputs[0] if node.op == "transpose" else None
        return self._new(inner or self.graph.node("transpose", (node,), None, node.shape[::-1]))

    mT = T

    def __matmul__(self, other: Any) -> Traced:
        a, b = self.filled(), _node(self, other)
        if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
            raise Untraceable(f"a product of arrays of shapes {a.shape} and {b.shape}")
        return self._new(self.graph.node("matmul", (a, b), None, (a.shape[0], b.shape[1])))

    def __getitem__(self, index: Any) -> Traced:
        node, key = self.filled(), _key(index, self.shape)
        whole, last = key[:-1], key[-1]
        if all(one == slice(0, extent) for one, extent in zip(whole, node.shape, strict=False)):
            return self._new(self.graph.columns(node, last.start, last.stop))
        shape = tuple(one.stop - one.start for one in key)
        return self._new(self.graph.node("index", (node,), key, shape))

    def __setitem__(self, index: Any, value: Any) -> None:
        key = _key(index, self.shape)
        if self.parts is None or key[0] != slice(0, self.shape[0]):
            raise Untraceable("a step that writes into an array, but for columns of a new matrix")
        start, stop = key[1].start, key[1].stop
        node = _node(self, value)
        if node.shape != (self.shape[0], stop - start):
            raise Untraceable(f"an assignment of shape {node.shape} to {stop - start} columns")
        if any(start < last and first < stop for first, last in self.parts[1]):
            raise Untraceable("columns that are written twice")
        self.parts[1][start, stop] = node

    def filled(self) -> Node:
        """Return the node; of an array that is filled column by column, the join of its columns."""
        if self.node is None:
            (rows, columns), parts = self.parts
            in_order, at = [], 0
            for start, stop in [*sorted(parts), (columns, columns)]:
                if start > at:
                    if not self.zero:
                        raise Untraceable("a new array that is read before all its columns are written")
                    in_order.append(self.graph.node("zeros", (), None, (rows, start - at)))
                in_order += [parts[start, stop]] if start < stop else []
                at = stop
            self.node, self.parts = self.graph.join(in_order), None
        return self.node

    def _new(self, node: Node) -> Traced:
        return Traced(self.graph, node)

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Untraceable("a step that depends on the numbers in an array")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = __array__ = __iter__ = _refuse

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Traced:
        name = "abs" if ufunc.__name__ == "absolute" else ufunc.__name__
        if method != "__call__" or kwargs or name not in ELEMENTWISE:
            raise Untraceable(f"the function numpy.{ufunc.__name__}")
        return operation(name, *args)

    def __array_function__(self, function: Any, *args: Any) -> NoReturn:
        raise Untraceable(f"the function numpy.{function.__name__}")

    def _in_place(self, other: Any) -> NoReturn:
        raise Untraceable("a step that changes an array in place, as += does")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = _in_place

    def __add__(self, other: Any) -> Traced:
        return operation("add", self, other)

    def __radd__(self, other: Any) -> Traced:
        return operation("add", other, self)

    def __sub__(self, other: Any) -> Traced:
        return operation("subtract", self, other)

    def __rsub__(self, other: Any) -> Traced:
        return operation("subtract", other, self)

    def __mul__(self, other: Any) -> Traced:
        return operation("multiply", self, other)

    def __rmul__(self, other: Any) -> Traced:
        return operation("multiply", other, self)

    def __truediv__(self, other: Any) -> Traced:
        return operation("divide", self, other)

    def __rtruediv__(self, other: Any) -> Traced:
        return operation("divide", other, self)

    def __lt__(self, other: Any) -> Traced:
        return operation("less", self, other)

    def __le__(self, other: Any) -> Traced:
        return operation("less_equal", self, other)

    def __gt__(self, other: Any) -> Traced:
        return operation("greater", self, other)

    def __ge__(self, other: Any) -> Traced:
        return operation("greater_equal", self, other)

    def __neg__(self) -> Traced:
        return operation("negative", self)

    def __abs__(self) -> Traced:
        return operation("abs", self)

    def __pow__(self, power: Any) -> Traced:
        if power != 2:
            raise Untraceable(f"the power {power!r}")
        return operation("square", self)


def _node(like: Traced, value: Any) -> Node:
    """Return the node of an operand: a traced array of the same trace, or a number."""
    if isinstance(value, Traced) and value.graph is like.graph:
        return value.filled()
    if isinstance(value, (bool, int, float)) or (type(value).__module__ == "numpy" and not getattr(value, "shape", 1)):
        return like.graph.scalar(value)
    raise Untraceable(f"an operand that is neither an argument nor a number: {type(value).__name__}")


def operation(op: str, *values: Any) -> Traced:
    """Return an elementwise operation on traced arrays and numbers."""
    like = next((value for value in values if isinstance(value, Traced)), None)
    if like is None:
        raise Untraceable(f"{op} of {', '.join(type(value).__name__ for value in values)}")
    return like._new(like.graph.elementwise(op, *(_node(like, value) for value in values)))


def _key(index: Any, shape: Shape) -> tuple[slice, ...]:
    """Return an index as one slice of step 1 for each axis."""
    given = list(index) if isinstance(index, tuple) else [index]
    if given.count(...) == 1 if all(one is ... or isinstance(one, slice) for one in given) else False:
        at = given.index(...)
        given[at : at + 1] = [slice(None)] * (len(shape) - len(given) + 1)
    given += [slice(None)] * (len(shape) - len(given))
    if len(given) != len(shape) or not all(isinstance(one, slice) and one.step in (None, 1) for one in given):
        raise Untraceable("an index that is not a slice of each axis")
    bounds = [one.indices(extent)[:2] for one, extent in zip(given, shape, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop in bounds)


def _sum(array: Any, axis: Any = None, keepdims: bool = False, **unknown: Any) -> Traced:
    if unknown or axis not in (0, 1, -1) or array.ndim != 2:
        raise Untraceable("a sum that is not over one axis of a matrix")
    node, axis = array.filled(), axis % 2
    shape = tuple(1 if i == axis else n for i, n in enumerate(node.shape) if keepdims or i != axis)
    return array._new(array.graph.node("sum", (node,), (axis, bool(keepdims)), shape))


def _mean(array: Any, axis: Any = None, keepdims: bool = False, **unknown: Any) -> Traced:
    return _sum(array, axis, keepdims, **unknown) / array.shape[axis]


def _of_matrix(op: str) -> Any:
    def function(array: Any, k: int = 0) -> Traced:
        return array._new(array.graph.node(op, (array.filled(),), int(k), array.shape))

    return function


def _elementwise(op: str) -> Any:
    def function(*arrays: Any) -> Traced:
        return operation(op, *arrays)

    return function


def _concat(arrays: Any, axis: int = 0) -> Traced:
    if axis not in (1, -1):
        raise Untraceable(f"arrays joined along axis {axis}")
    return arrays[0]._new(arrays[0].graph.join([one.filled() for one in arrays]))


class Namespace(types.ModuleType):
    """The functions that a traced step may call; any other is `Untraceable`."""

    def __getattr__(self, name: str) -> NoReturn:
        if name[:2] == "__":
            raise AttributeError(name)
        raise Untraceable(f"the function {name}")


NAMESPACE = Namespace("traced")
for _name in ELEMENTWISE:
    setattr(NAMESPACE, _name, _elementwise(_name))
for _name in OF_MATRICES:
    setattr(NAMESPACE, _name, _of_matrix(_name))
NAMESPACE.matmul = lambda a, b: a @ b  # type: ignore[attr-defined]
NAMESPACE.matrix_transpose = lambda a: a.T  # type: ignore[attr-defined]
NAMESPACE.sum, NAMESPACE.mean = _sum, _mean  # type: ignore[attr-defined]
NAMESPACE.concat = NAMESPACE.concatenate = _concat  # type: ignore[attr-defined]


def _new(zero: bool) -> Any:
    def function(shape: Shape, dtype: Any = None, device: Any = None) -> Traced:
        if len(shape) != 2:
            raise Untraceable(f"a new array of shape {tuple(shape)}")
        return Traced(device, None, tuple(shape), zero)

    return function


def _eye(n: int, dtype: Any = None, device: Any = None) -> Traced:
    return Traced(device, device.node("eye", (), None, (n, n)))


NAMESPACE.result_type = lambda *arrays: arrays[0].dtype  # type: ignore[attr-defined]
NAMESPACE.empty, NAMESPACE.zeros, NAMESPACE.eye = _new(False), _new(True), _eye  # type: ignore[attr-defined]

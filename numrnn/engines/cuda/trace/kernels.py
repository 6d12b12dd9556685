"""What a step launches: the kernel of a group as CUDA C++; how groups, products and sums run, by CuPy or a library."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from numrnn.backend import Array, array_namespace, astype, zeros
from numrnn.checks import dtype_name
from numrnn.engines.cuda.kernels import OPTIONS, SCALARS
from numrnn.engines.cuda.trace.epilogue import Epilogue
from numrnn.engines.cuda.trace.graph import CONDITIONS, ELEMENTWISE, Node
from numrnn.engines.cuda.trace.plan import Group
from numrnn.engines.cuda.trace.product import THREADS as TILE_THREADS
from numrnn.engines.cuda.trace.product import (
    Choice,
    CupyProducts,
    Tile,
    choose_tile,
    product_source,
    shared_bytes,
    with_strides,
)

THREADS = 256  # of a block of a group's kernel


def group_source(group: Group, conditions: tuple[bool, ...], dtype: str) -> tuple[str, str]:
    """Return name and text of the kernel of a group.

    A thread computes one element of each output. Arguments: rows and columns; for each input a pointer and its strides,
    in elements, from row to row and from column to column; for each output a pointer and the stride of rows.

    Parameters
    ----------
    group : Group
    conditions : tuple of bool
        Which inputs are arrays of bool.
    dtype : str
        "float32" or "float64".
    """
    parameters, body = _elements(group, group.inputs, conditions, dtype, {})
    text = f"""(int rows, int columns, {parameters}) {{
    const long long index = blockIdx.x * {THREADS}ll + threadIdx.x;
    if (index >= static_cast<long long>(rows) * columns) return;
    const long long i = index / columns;
    const int j = index % columns;
    {body}
}}
"""
    return _named("group", text)


def epilogue_source(epilogue: Epilogue, conditions: tuple[bool, ...], dtype: str, tile: Tile) -> tuple[str, str]:
    """Return name and text of the kernel of products and a group, without product.cu, which has to precede it.

    Arguments: rows, units and the inner extent; the left and the right operands, each a pointer and its strides from
    row to row and from column to column; those of `group_source` but for rows and columns.

    Parameters
    ----------
    epilogue : Epilogue
    conditions : tuple of bool
        Which of its inputs are arrays of bool.
    dtype : str
        "float32" or "float64".
    tile : Tile
    """
    scalar, lefts, parts = SCALARS[dtype], range(len(epilogue.lefts)), range(len(epilogue.parts))
    sums = {part.node: f"sum[{p}]" for p, part in enumerate(epilogue.parts)}
    parameters, body = _elements(epilogue.group, epilogue.inputs, conditions, dtype, sums)
    operands = [f"const {scalar}* a{p}, long long a{p}_row, long long a{p}_inner" for p in lefts]
    operands += [f"const {scalar}* b{p}, long long b{p}_inner, long long b{p}_column" for p in parts]
    numbers = f"{scalar}, {tile.rows}, {tile.columns}, {tile.depth}"
    text = f"""(int rows, int units, int inner, {", ".join(operands)}, {parameters}) {{
    const Operand<{scalar}> left[] = {{{", ".join(f"{{a{p}, a{p}_row, a{p}_inner}}" for p in lefts)}}};
    const Operand<{scalar}> right[] = {{{", ".join(f"{{b{p}, b{p}_column, b{p}_inner}}" for p in parts)}}};
    products<{numbers}>(rows, units, inner, left, right, [&](long long i, int j, const {scalar}* sum) {{
    {body}
    }});
}}
"""
    # Left alone, the compiler wants room for two blocks on a multiprocessor, and in float64 spills a register for it.
    bounds = "THREADS, 1" if dtype == "float64" else "THREADS"
    return _named("products", text, f"__launch_bounds__({bounds}) ")


def _named(kind: str, text: str, bounds: str = "") -> tuple[str, str]:
    """Return a name for a kernel, the same for the same text from its parameters on, and its whole text."""
    own = f"numrnn_{kind}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return own, f'extern "C" __global__ void {bounds}{own}{text}'


def _elements(
    group: Group, inputs: Sequence[Node], conditions: Sequence[bool], dtype: str, known: Mapping[Node, str]
) -> tuple[str, str]:
    """Return parameters and text of what computes the element (i, j) of each output; `known` are values with a name."""
    scalar, suffix = SCALARS[dtype], "f" if dtype == "float32" else ""
    names, lines, parameters = dict(known), list[str](), list[str]()
    for i, (node, condition) in enumerate(zip(inputs, conditions, strict=True)):
        kind = "bool" if condition else scalar
        parameters.append(f"const {kind}* in{i}, long long row{i}, int column{i}")
        lines.append(f"const {kind} v{i} = in{i}[i * row{i} + j * column{i}];")
        names[node] = f"v{i}"

    def name(node: Node) -> str:
        if node.op == "scalar":
            return f"{scalar}({_number(node.value)})"
        if node not in names:
            operands = [name(one) for one in node.inputs]
            kind = "bool" if node.op in CONDITIONS else scalar
            own = names[node] = f"v{len(names)}"
            lines.append(f"const {kind} {own} = {ELEMENTWISE[node.op].format(*operands, f=suffix)};")
        return names[node]

    for k, (node, _, _) in enumerate(group.outputs):
        kind = "bool" if node.op in CONDITIONS else scalar
        parameters.append(f"{kind}* out{k}, long long out_row{k}")
        lines.append(f"out{k}[i * out_row{k} + j] = {name(node)};")
    return ", ".join(parameters), "\n    ".join(lines)


def _number(value: float) -> str:
    """Return a number as C++ text."""
    if value != value:
        return "0.0 / 0.0"
    return repr(value) if abs(value) != float("inf") else f"{'-' if value < 0 else ''}1.0 / 0.0"


class Executor(Protocol):
    """Runs what a step launches, on matrices; an output may be columns of a larger one.

    `fuses` says whether products and the group that reads them may be one launch.
    """

    fuses: bool

    def group(self, group: Group, inputs: list[Array], outputs: list[Array]) -> None:
        """Fill the outputs of a group."""

    def product(self, a: Array, b: Array, out: Array) -> None:
        """Fill out with a b."""

    def epilogue(
        self, epilogue: Epilogue, lefts: list[Array], rights: list[Array], inputs: list[Array], outputs: list[Array]
    ) -> None:
        """Fill the outputs of a group that reads products; there is one right operand for each part."""

    def total(self, a: Array, axis: int, out: Array) -> None:
        """Fill out, with or without the summed axis, with the sum of a over an axis."""


class ByLibrary:
    """Runs everything by functions of the array library: what the kernels compute, to rounding."""

    fuses = True

    def group(self, group: Group, inputs: list[Array], outputs: list[Array]) -> None:
        """Run one function for each operation; see `Executor`."""
        xp, values = array_namespace(outputs[0]), dict(zip(group.inputs, inputs, strict=True))

        def value(node: Node) -> Any:
            if node not in values:
                values[node] = apply(xp, node, [value(one) for one in node.inputs], outputs[0].dtype)
            return values[node]

        results = [value(node) for node, _, _ in group.outputs]  # all before one is written: it may be an input
        for out, result in zip(outputs, results, strict=True):
            out[...] = result

    def product(self, a: Array, b: Array, out: Array) -> None:
        """See `Executor`."""
        array_namespace(out).matmul(a, b, out=out)

    def epilogue(
        self, epilogue: Epilogue, lefts: list[Array], rights: list[Array], inputs: list[Array], outputs: list[Array]
    ) -> None:
        """See `Executor`."""
        values = dict(zip(epilogue.inputs, inputs, strict=True))
        for p, (part, right) in enumerate(zip(epilogue.parts, rights, strict=True)):
            values[part.node] = lefts[p % len(lefts)] @ right
        self.group(epilogue.group, [values[node] for node in epilogue.group.inputs], outputs)

    def total(self, a: Array, axis: int, out: Array) -> None:
        """See `Executor`."""
        out[...] = array_namespace(out).sum(a, axis=axis, keepdims=a.ndim == out.ndim)


def apply(xp: Any, node: Node, operands: list[Any], dtype: Any) -> Any:
    """Return the value of an elementwise operation or of a number."""
    if node.op == "scalar":
        return node.value
    result = getattr(xp, node.op)(*operands)
    return result if node.op in CONDITIONS else astype(result, dtype)


class CupyExecutor:
    """Launches kernels on the current stream; CuPy compiles them at first use and caches them on disk.

    Nothing but launches, once each kernel has run: so a step can be captured. Without `fuses`, products and the groups
    that read them are launches of their own, with the same sums in the same order.
    """

    def __init__(self, cupy: Any, fuses: bool = True, choose: Choice = choose_tile) -> None:
        self._cupy, self.product, self.fuses = cupy, CupyProducts(cupy, choose), fuses
        self._made: dict[Group | tuple[Epilogue, Tile], Any] = {}
        self._one: Any = None

    def group(self, group: Group, inputs: list[Array], outputs: list[Array]) -> None:
        """See `Executor`."""
        if group not in self._made:
            conditions = tuple(array.dtype.kind == "b" for array in inputs)
            self._made[group] = _compiled(self._cupy, *group_source(group, conditions, dtype_name(outputs[0])))
        rows, columns = outputs[0].shape
        values = np.int32(rows), np.int32(columns), *arguments(inputs, outputs)
        self._made[group]((-(-rows * columns // THREADS),), (THREADS,), values)

    def epilogue(
        self, epilogue: Epilogue, lefts: list[Array], rights: list[Array], inputs: list[Array], outputs: list[Array]
    ) -> None:
        """Launch the tile that the products would have alone, so that their sums have the same bits; see `Executor`."""
        (rows, units), (_, columns) = outputs[0].shape, epilogue.products[0].shape
        tile = self.product.tile(rows, columns, outputs[0].device)
        if (epilogue, tile) not in self._made:
            conditions = tuple(array.dtype.kind == "b" for array in inputs)
            name, text = epilogue_source(epilogue, conditions, dtype_name(outputs[0]), tile)
            self._made[epilogue, tile] = _compiled(self._cupy, name, f"{product_source()}\n{text}")
        numbers = np.int32(rows), np.int32(units), np.int32(lefts[0].shape[1])
        values = (*numbers, *with_strides([*lefts, *rights]), *arguments(inputs, outputs))
        blocks = tile.blocks(rows, units, len(rights))
        self._made[epilogue, tile]((blocks,), (TILE_THREADS,), values, shared_mem=shared_bytes(outputs[0].itemsize))

    def total(self, a: Array, axis: int, out: Array) -> None:
        """Launch a product with a one that has strides of zero; see `Executor`."""
        if self._one is None:
            self._one = zeros((1, 1), like=a) + 1
        rows, columns = a.shape
        if axis == 0:
            self.product(self._cupy.broadcast_to(self._one, (1, rows)), a, out.reshape(1, columns))
        else:
            self.product(a, self._cupy.broadcast_to(self._one, (columns, 1)), out.reshape(rows, 1))


def arguments(inputs: list[Array], outputs: list[Array]) -> tuple[Any, ...]:
    """Return the arguments of a group's kernel but for rows and columns."""
    values: list[Any] = []
    for array in inputs:
        extents = zip(array.shape, array.strides, strict=True)
        strides = [0 if extent == 1 else stride // array.itemsize for extent, stride in extents]
        row, column = [0] * (2 - len(strides)) + strides
        values += [array, np.int64(row), np.int32(column)]
    for array in outputs:
        values += [array, np.int64(array.strides[0] // array.itemsize)]
    return tuple(values)


@functools.cache
def _compiled(cupy: Any, name: str, text: str) -> Any:
    return cupy.RawModule(code=text, options=OPTIONS).get_function(name)

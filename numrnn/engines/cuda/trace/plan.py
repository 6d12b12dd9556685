"""What a traced function costs a loop over time: its nodes, divided by what they depend on.

    constant    on parameters only: computed once for a pass
    known       on what is known of all steps before the loop (the input; in the backward pass the states too): computed
                for all steps at once
    in the loop on the state that the loop carries, and needed for the next one: products, and elementwise work between
                them, of which all that has one shape is one group, one kernel
    afterwards  on the carried state, and not needed for the next one: gradients, for all steps at once

Groups and products of a step stand in levels: a product reads what the groups of the levels before have written. Loop
values that are needed afterwards are kept for all steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numrnn.engines.cuda.trace.graph import Function, Node, Outputs, Shape, Untraceable, record, texts_of

CARRIED = "carried"  # name of the leaf, and of the output, that a loop carries from step to step


@dataclass(frozen=True, eq=False)
class Group:
    """Elementwise nodes of one shape, computed by one kernel.

    Attributes
    ----------
    shape : (int, int)
    inputs : tuple of Node
        What it reads.
    outputs : tuple of (Node, Node, int)
        A node, the array to write it to (itself, or a join), and the first column there.
    """

    shape: Shape
    inputs: tuple[Node, ...]
    outputs: tuple[tuple[Node, Node, int], ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """A loop over time.

    Attributes
    ----------
    outputs : dict of str to Node
        By name; the one named `CARRIED` becomes the leaf of that name at the next step.
    steps : tuple of Group or Node
        What a step computes, in order: groups, products and sums over rows.
    known : tuple of Node
        Known nodes that the steps read.
    kept : frozenset of Node
        Loop values that are needed for all steps afterwards.
    varying : frozenset of str
        Names of the leaves that depend on time.
    """

    outputs: Outputs
    steps: tuple[Group | Node, ...]
    known: tuple[Node, ...]
    kept: frozenset[Node]
    varying: frozenset[str]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What the steps read that the loop does not compute: known nodes, constants and leaves."""
        return tuple(dict.fromkeys(node for one in self.steps for node in one.inputs if CARRIED not in node.reads))

    @property
    def products(self) -> int:
        """Products of a step."""
        return sum(isinstance(one, Node) and one.op == "matmul" for one in self.steps)

    @property
    def groups(self) -> list[Group]:
        """Groups of a step."""
        return [one for one in self.steps if isinstance(one, Group)]


def plan_of(function: Function, dtype: Any, varying: frozenset[str]) -> Plan:
    """Return the plan of a function whose arguments `varying` have another value at each step; see `record`.

    It is the same object for all functions that compute the same. So what was made for a plan, as a captured loop, is
    found again when the same cell is traced anew.

    Raises
    ------
    Untraceable
        If the function cannot be traced, or is not the same twice: then it depends on more than its arguments.
    """
    outputs = record(function, dtype)
    texts = texts_of(outputs)
    key = (*texts, str(dtype), varying)
    if key not in _plans:  # else it has been the same twice before
        if texts_of(record(function, dtype)) != texts:
            raise Untraceable("a step that is not the same at each call")
        _plans[key] = make_plan(outputs, varying)
        while len(_plans) > MOST_PLANS:
            _plans.pop(next(iter(_plans)), None)
    return _plans[key]


MOST_PLANS = 256  # some hundred nodes each
_plans: dict[Any, Plan] = {}


def make_plan(outputs: Outputs, varying: frozenset[str]) -> Plan:
    """Return the plan of a traced function whose leaves `varying` have another value at each step.

    Raises
    ------
    Untraceable
        If what the loop carries does not depend on what it carried before.
    """
    out = outputs[CARRIED]
    if CARRIED not in out.reads:
        raise Untraceable("a step whose result does not depend on its state")
    loop = Loop([node for node in in_order([out]) if CARRIED in node.reads])
    rest = [node for name, node in outputs.items() if name != CARRIED]
    kept = loop.read_by(rest)
    steps = tuple(loop.steps(kept | {out}))
    read = [node for one in steps for node in one.inputs if node not in loop.level]
    known = [node for node in dict.fromkeys(read) if node.reads & varying]
    return Plan(outputs, steps, tuple(known), frozenset(kept), varying)


def in_order(nodes: list[Node]) -> list[Node]:
    """Return the nodes and all that they depend on, each after its inputs."""
    found: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in found:
            for one in node.inputs:
                visit(one)
            found[node] = None

    for node in nodes:
        visit(node)
    return list(found)


def is_view(node: Node) -> bool:
    """Tell whether a node of the loop is another look at an array that exists."""
    return node.op in ("leaf", "index", "transpose")


def base_of(node: Node) -> Node:
    """Return the node whose array a node is, or is a view of."""
    while is_view(node) and node.inputs:
        (node,) = node.inputs
    return node


def first_column(node: Node, array: Node) -> int | None:
    """Return where the columns of a node that is `array`, or a view of all its rows, begin there; None if it is not."""
    if node is array:
        return 0
    of_array = node.op == "index" and node.inputs[0] is array and node.value[0] == slice(None)
    return node.value[1].start if of_array else None


class Loop:
    """The nodes of a step, each with its level: the number of kernels that it waits for."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes, self.level = nodes, dict[Node, int]()
        for node in nodes:
            waits = [self.level[one] + self._ends_before(one, node) for one in node.inputs if one in self.level]
            self.level[node] = max(waits, default=0) + self._is_launch(node)

    def _is_launch(self, node: Node) -> bool:
        """Tell whether a node is a launch of its own: a product, or a sum over rows."""
        return not (node.is_elementwise or is_view(node) or node.op == "join")

    def _ends_before(self, one: Node, reader: Node) -> bool:
        """Tell whether an input is computed by a kernel that has to end before its elementwise reader begins."""
        base = base_of(one)
        if not reader.is_elementwise or not (base.is_elementwise or base.op == "join"):
            return False
        return base is not one or one.op == "join" or one.shape != reader.shape

    def read_by(self, nodes: list[Node]) -> set[Node]:
        """Return the first nodes of the loop, views and the carried state apart, on every path down from some nodes."""
        found, seen, waiting = set[Node](), set[Node](), list(nodes)
        while waiting:
            node = waiting.pop()
            if node in self.level and not is_view(node):
                found.add(node)
            elif node not in seen:
                seen.add(node)
                waiting += node.inputs
        return found

    def _stored(self) -> set[Node]:
        """Return the elementwise nodes and joins that another kernel reads from an array."""
        found = set[Node]()
        for node in self.nodes:
            for one in node.inputs:
                same_kernel = node.is_elementwise and one.is_elementwise and self.level.get(one) == self.level[node]
                if one in self.level and not is_view(one) and not same_kernel and node.op != "join":
                    found.add(one)
        return found

    def steps(self, wanted: set[Node]) -> Iterator[Group | Node]:
        """Yield what a step computes: at each level first products and sums, then the groups."""
        stored = self._stored() | wanted
        written: dict[tuple[int, Shape], list[tuple[Node, Node, int]]] = {}
        for node in (one for one in self.nodes if one in stored):
            if node.is_elementwise:
                written.setdefault((self.level[node], node.shape), []).append((node, node, 0))
            elif node.op == "join":
                column = 0
                for part in node.inputs:
                    at = self.level.get(part, self.level[node])
                    written.setdefault((at, part.shape), []).append((part, node, column))
                    column += part.shape[-1]
        for number in range(max(self.level.values()) + 1):
            yield from (node for node in self.nodes if self.level[node] == number and self._is_launch(node))
            for (at, shape), outputs in written.items():
                if at == number:
                    yield Group(shape, self._inputs(outputs, number), tuple(outputs))

    def _inputs(self, outputs: list[tuple[Node, Node, int]], number: int) -> tuple[Node, ...]:
        """Return what a group reads: known and constant nodes, views, and what was computed at levels before."""
        found: dict[Node, None] = {}

        def visit(node: Node) -> None:
            if node.is_elementwise and self.level.get(node) == number:
                for one in node.inputs:
                    visit(one)
            elif node.op != "scalar":
                found[node] = None

        for node, _, _ in outputs:
            visit(node)
        return tuple(found)

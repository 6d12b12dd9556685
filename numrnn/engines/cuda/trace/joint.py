"""The last kernel of a step and the first of the next one, as one kernel.

A backward step of most cells is delta = (what is known) * g, a product with delta, and a sum of it and more, which is g
of the next step: two groups with a product between them. Nothing stands between the second group and the first one of
the next step, which needs the same element of g. So a loop runs

    first(1)   product(1) joint(1, 2)   product(2) joint(2, 3)   ...   product(T) last(T)

where joint(s, s + 1) is last(s) and first(s + 1).
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass

from numrnn.engines.cuda.trace.graph import Node
from numrnn.engines.cuda.trace.plan import CARRIED, MOST_PLANS, Group, Plan, base_of, first_column, is_view


@dataclass(frozen=True, eq=False)
class Joint:
    """Two groups as one.

    Attributes
    ----------
    group : Group
        Inputs: those of the last group of a step, then a leaf for each of `of_next`. Outputs: those of the last group,
        then those of the first one of the next step.
    of_next : tuple of Node
        What the first group of the next step reads from arrays.
    """

    group: Group
    of_next: tuple[Node, ...]


@functools.lru_cache(maxsize=MOST_PLANS)
def joint_of(plan: Plan) -> Joint | None:
    """Return the groups at the end and at the begin of a step as one, or None if they cannot be one kernel."""
    first, last, out = plan.steps[0], plan.steps[-1], plan.outputs[CARRIED]
    if not (isinstance(first, Group) and isinstance(last, Group)) or first is last or first.shape != last.shape:
        return None
    written = {to for _, to, _ in first.outputs if to not in plan.kept and to is not out}
    # A thread reads all its elements before it writes; those at other columns may be another thread's.
    if written & {base_of(node) for node in last.inputs if is_view(node) or node.op == "join"}:
        return None
    of_out = {column: node for node, to, column in last.outputs if to is out}
    values: dict[Node, Node] = {}  # of the inputs of the first group
    of_next: dict[Node, Node] = {}
    for node in first.inputs:
        base = base_of(node)
        column = first_column(node, base) if base.op == "leaf" and CARRIED in node.reads else None
        if column in of_out and node.shape == first.shape:
            values[node] = of_out[column]
        elif CARRIED in node.reads and (column is None or _overlaps(column, node.shape[-1], of_out, last.shape[-1])):
            return None
        else:
            values[node] = of_next[node] = Node("leaf", (), f"next {len(of_next)}", node.shape, node.reads)
    outputs = tuple((_copy(node, values), to, at) for node, to, at in first.outputs)
    group = Group(first.shape, (*last.inputs, *of_next.values()), (*last.outputs, *outputs))
    return Joint(group, tuple(of_next))


def _overlaps(column: int, width: int, others: Collection[int], width_of_others: int) -> bool:
    return any(column < other + width_of_others and other < column + width for other in others)


def _copy(node: Node, values: dict[Node, Node]) -> Node:
    """Return a node computed from other values of its inputs."""
    if node not in values:
        if node.op == "scalar":
            return node
        inputs = tuple(_copy(one, values) for one in node.inputs)
        values[node] = Node(node.op, inputs, node.value, node.shape, node.reads)
    return values[node]

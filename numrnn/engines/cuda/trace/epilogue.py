"""Products of a step and the kernel that reads them, as one kernel.

A group that follows a product u = h A^T, such as h_next = h + eps tanh(u + V x), needs of u what a thread of the
product kernel has: the same element. So that thread computes the element of the group, and u is never written:

    product, group        one kernel
    product, joint        one kernel; a joint is the last group of a step and the first of the next one (joint.py)

A group may read columns c, c + n, ... of a product at once, as an LSTM the four gates of a unit, or two products at
the same element, as a step of the Lipschitz RNN. Each is a part of the tile; see product.cu.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from numrnn.engines.cuda.trace.graph import Node
from numrnn.engines.cuda.trace.joint import Joint, joint_of
from numrnn.engines.cuda.trace.plan import MOST_PLANS, Group, Plan, base_of, first_column
from numrnn.engines.cuda.trace.product import MOST_PARTS


@dataclass(frozen=True, eq=False)
class Part:
    """Columns of a product that a group reads: `node`, an input of the group, is `product` from `column` on."""

    node: Node
    product: Node
    column: int


@dataclass(frozen=True, eq=False)
class Epilogue:
    """A group, and the products that its kernel computes.

    Attributes
    ----------
    group : Group
    parts : tuple of Part
        At most `MOST_PARTS`; the products have one shape and one inner extent.
    """

    group: Group
    parts: tuple[Part, ...]

    @property
    def products(self) -> tuple[Node, ...]:
        """The products, each once."""
        return tuple(dict.fromkeys(part.product for part in self.parts))

    @property
    def lefts(self) -> tuple[Node, ...]:
        """The left operands: one for all parts, or one for each of two."""
        return tuple(dict.fromkeys(product.inputs[0] for product in self.products))

    @property
    def inputs(self) -> tuple[Node, ...]:
        """What the group reads besides the products."""
        of_products = {part.node for part in self.parts}
        return tuple(node for node in self.group.inputs if node not in of_products)


Launch = Group | Node | Epilogue


@dataclass(frozen=True, eq=False)
class Launches:
    """What the steps of a plan launch.

    Attributes
    ----------
    steps : tuple of Group, Node or Epilogue
        The launches of a step, in order.
    joint : Joint or None
        The last group of a step and the first of the next one.
    joined : Group or Epilogue or None
        The joint, with the products of the last group as the last of the steps has them.
    alternating : frozenset of Node
        Arrays that have to be two, one for even and one for odd steps: the joint kernel writes that of the next step
        while other blocks still read that of this one as an operand of the product.
    """

    steps: tuple[Launch, ...]
    joint: Joint | None
    joined: Group | Epilogue | None
    alternating: frozenset[Node]


@functools.lru_cache(maxsize=2 * MOST_PLANS)
def launches_of(plan: Plan, fuses: bool) -> Launches:
    """Return what the steps of a plan launch, with products and the groups that read them as one if `fuses`."""
    steps = list[Launch](plan.steps)
    for group in plan.groups if fuses else ():
        epilogue = _epilogue_of(group, plan)
        if epilogue.parts:
            steps = [epilogue if one is group else one for one in steps if one not in epilogue.products]
    joint, last = joint_of(plan), steps[-1]
    if joint is None or not isinstance(last, Epilogue):
        return Launches(tuple(steps), joint, joint.group if joint else None, frozenset())
    operands = {base_of(node) for product in last.products for node in product.inputs}
    written = {to for _, to, _ in plan.groups[0].outputs if to not in plan.kept}
    return Launches(tuple(steps), joint, Epilogue(joint.group, last.parts), frozenset(operands & written))


def _epilogue_of(group: Group, plan: Plan) -> Epilogue:
    """Return a group with the products that its kernel can compute, or with none."""
    chosen = Epilogue(group, ())
    for product in plan.steps:
        if isinstance(product, Node) and product.op == "matmul" and product not in plan.kept:
            more = Epilogue(group, (*chosen.parts, *_parts_of(product, group, plan)))
            if len(more.parts) > len(chosen.parts) and _is_one_kernel(more):
                chosen = more
    return chosen


def _parts_of(product: Node, group: Group, plan: Plan) -> list[Part]:
    """Return what a group reads of a product, if nothing else reads it and a thread needs its own row and unit only."""
    reads = [(one, node) for one in plan.steps for node in one.inputs if base_of(node) is product]
    columns = [(node, first_column(node, product)) for _, node in reads]
    parts = [Part(node, product, column) for node, column in columns if column is not None]
    own = all(one is group and node.shape == group.shape for one, node in reads)
    return parts if own and len(parts) == len(reads) else []


def _is_one_kernel(epilogue: Epilogue) -> bool:
    """Tell whether product.cu has a tile for these parts."""
    parts, products, lefts = epilogue.parts, epilogue.products, epilogue.lefts
    alike = len(set(_extents(products))) == 1
    return alike and len(parts) <= MOST_PARTS and (len(lefts) == 1 or len(lefts) == len(parts) == 2)


def _extents(products: Iterable[Node]) -> list[tuple[int, ...]]:
    return [(*one.shape, one.inputs[0].shape[1]) for one in products]

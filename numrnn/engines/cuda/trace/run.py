"""Runs a plan over the steps of a segment: what is known at once, the loop, and what follows it at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from numrnn.backend import Array, array_namespace, empty, eye, zeros
from numrnn.engines.cuda.trace.epilogue import Epilogue, Launch, launches_of
from numrnn.engines.cuda.trace.graph import CONDITIONS, OF_MATRICES, Node
from numrnn.engines.cuda.trace.joint import Joint
from numrnn.engines.cuda.trace.kernels import Executor, apply
from numrnn.engines.cuda.trace.plan import CARRIED, Group, Plan, is_view

SUMS = ("add", "subtract", "negative", "transpose", "index", "join", *OF_MATRICES)  # of sums over time, term by term


class Run:
    """A plan with the arrays of a segment.

    Parameters
    ----------
    plan : Plan
    leaves : mapping of str to array
        The constant arguments, and the varying ones of all steps, (steps, ...).
    carried : array, shape (steps + 1, B, state_size)
        What the loop carries: the first one is given, the others are filled; in reverse the last one.
    steps : int
    reverse : bool
        Whether the steps run from the last to the first.
    executor : Executor
        Runs what a step launches.
    """

    def __init__(
        self, plan: Plan, leaves: Mapping[str, Array], carried: Array, steps: int, reverse: bool, executor: Executor
    ) -> None:
        self.plan, self.n_steps, self.reverse, self.executor = plan, steps, reverse, executor
        self.xp, self.carried = array_namespace(carried), carried
        self._launches = launches_of(plan, executor.fuses)
        self._leaves = leaves
        self._before, self._after = (carried[1:], carried[:-1]) if reverse else (carried[:-1], carried[1:])
        self._all: dict[Node, Any] = {}  # by node: all steps of a varying one, the value of a constant one
        # Arrays of loop values: all steps of those that are kept, else one, or two that take turns.
        self.own: dict[Node, Array] = {}

    def loop(self) -> None:
        """Run all steps, one after the other."""
        self.prepare()
        self.allocate()
        self.run_steps(self.n_steps)

    def prepare(self) -> None:
        """Compute what the steps read and is known before the loop."""
        for node in self.plan.inputs:
            self.all_steps(node)
        # What they were computed from is not held during the loop.
        held = {*self.plan.known, *(node for node in self._all if not self._varies(node))}
        self._all = {node: value for node, value in self._all.items() if node in held}

    def inputs(self) -> dict[Node, Array]:
        """Return what the steps read and the loop does not compute, after `prepare`."""
        return {node: self.all_steps(node) for node in self.plan.inputs}

    def over(self, inputs: Mapping[Node, Array]) -> Run:
        """Return a run of the same steps on these inputs, prepared, with a new array for what is carried."""
        run = Run(self.plan, {}, empty(self.carried.shape, self.carried), self.n_steps, self.reverse, self.executor)
        run._all.update(inputs)
        return run

    def allocate(self) -> None:
        """Make the arrays of what the loop computes."""
        plan, out = self.plan, self.plan.outputs[CARRIED]
        written = [target for group in plan.groups for _, target, _ in group.outputs]
        launched = [one for one in self._launches.steps if isinstance(one, Node)]
        for node in dict.fromkeys([*launched, *written]):
            if node is not out:
                steps = (self.n_steps,) if node in plan.kept else (2,) if node in self._launches.alternating else ()
                dtype = bool if node.op in CONDITIONS else self.carried.dtype
                self.own[node] = empty((*steps, *node.shape), self.carried, dtype)

    def run_steps(self, count: int) -> None:
        """Run the first steps, from the last one in reverse; joint.py has the order."""
        steps, joint, in_time = self._launches.steps, self._launches.joint, range(self.n_steps)
        times = (in_time[::-1] if self.reverse else in_time)[:count]
        for t, following in itertools.zip_longest(times, times[1:]):
            for one in steps[1:-1] if joint and t != times[0] else steps[:-1]:
                self._launch(one, t)
            if joint and following is not None:
                self._launch_joint(joint, t, following)
            else:
                self._launch(steps[-1], t)

    def _launch_joint(self, joint: Joint, t: int, following: int) -> None:
        last, first, joined = self.plan.groups[-1], self.plan.groups[0], self._launches.joined
        assert joined is not None
        own = len(joined.inputs) - len(joint.of_next)
        inputs = [self._at(node, t) for node in joined.inputs[:own]]
        inputs += [self._at(node, following) for node in joint.of_next]
        self._compute(joined, t, inputs, [*self._outputs(last, t), *self._outputs(first, following)])

    def _outputs(self, group: Group, t: int) -> list[Array]:
        return [self._at(to, t)[:, first : first + node.shape[-1]] for node, to, first in group.outputs]

    def _launch(self, one: Launch, t: int) -> None:
        """Compute a group of a step, with products or without, a product, or a sum over rows or columns of a matrix."""
        inputs = [self._at(node, t) for node in one.inputs]
        if not isinstance(one, Node):
            self._compute(one, t, inputs, self._outputs(one if isinstance(one, Group) else one.group, t))
        elif one.op == "matmul":
            self.executor.product(inputs[0], inputs[1], self._at(one, t))
        elif one.op == "sum":
            self.executor.total(inputs[0], one.value[0], self._at(one, t))
        else:
            self._at(one, t)[...] = self._value(one, inputs, 0)

    def _compute(self, one: Group | Epilogue, t: int, inputs: list[Array], outputs: list[Array]) -> None:
        """Compute a group; the products that it reads, if it has them, are those of step t."""
        if isinstance(one, Group):
            self.executor.group(one, inputs, outputs)
            return
        columns, lefts, rights = outputs[0].shape[1], [self._at(node, t) for node in one.lefts], []
        for part in one.parts:
            right = self._at(part.product.inputs[1], t)
            rights.append(right[:, part.column : part.column + columns])
        self.executor.epilogue(one, lefts, rights, inputs, outputs)

    def _at(self, node: Node, t: int) -> Any:
        """Return the array of a node at a step."""
        if node is self.plan.outputs[CARRIED]:
            return self._after[t]
        if node in self.own:
            if node in self.plan.kept:
                return self.own[node][t]
            return self.own[node][t % 2] if node in self._launches.alternating else self.own[node]
        if CARRIED not in node.reads:
            value = self.all_steps(node)
            return value[t] if self._varies(node) else value
        if node.op == "leaf":
            return self._before[t]
        assert is_view(node)
        return self._value(node, [self._at(node.inputs[0], t)], 0)

    def _varies(self, node: Node) -> bool:
        return bool(node.reads & (self.plan.varying | {CARRIED}))

    def all_steps(self, node: Node) -> Any:
        """Return a node for all steps, (steps, ...), or its value if it does not depend on time.

        A loop value must be one that is kept, or computed from those.
        """
        if node not in self._all:
            if node is self.plan.outputs[CARRIED]:
                return self._after
            if node in self.own and node in self.plan.kept:
                return self.own[node]
            if node.op == "leaf":
                return self._before if node.value == CARRIED else self._leaves[node.value]
            operands = [self.all_steps(one) for one in node.inputs]
            self._all[node] = self._value(node, operands, int(self._varies(node)))
        return self._all[node]

    def total(self, node: Node) -> Any:
        """Return the sum of a node over all steps; a product or a sum over the batch is one over batch and steps."""
        if not self._varies(node):
            return self.n_steps * self.all_steps(node)
        inputs = node.inputs
        moving = [self._varies(one) for one in inputs]
        if node.op == "matmul" and inputs[0].op == "transpose":
            left, right = (self._flat(one) for one in (inputs[0].inputs[0], inputs[1]))
            return left.T @ right
        if node.op == "sum" and node.value == (0, False):
            return self._flat(inputs[0]).sum(0)
        if node.op in SUMS:
            return self._value(node, [self.total(one) for one in inputs], 0)
        if (node.op in ("multiply", "matmul") and sum(moving) == 1) or (node.op == "divide" and not moving[1]):
            pairs = zip(inputs, moving, strict=True)
            return self._value(node, [self.total(one) if m else self.all_steps(one) for one, m in pairs], 0)
        return self.all_steps(node).sum(0)

    def _flat(self, node: Node) -> Array:
        """Return a node of all steps as a matrix, whose rows are those of the batch at every step."""
        value = self.all_steps(node)
        if not self._varies(node):
            value = self.xp.broadcast_to(value, (self.n_steps, *value.shape))
        return value.reshape(self.n_steps * node.shape[0], node.shape[1])

    def _value(self, node: Node, operands: list[Any], lead: int) -> Any:
        """Return the value of an operation; `lead` is 1 where operands that vary have a leading axis of steps."""
        xp, axes = self.xp, (slice(None),) * lead
        if node.is_elementwise or node.op == "scalar":
            pairs = zip(operands, node.inputs, strict=True)
            return apply(xp, node, [self._aligned(*pair, node, lead) for pair in pairs], self.carried.dtype)
        if node.op == "matmul":
            return self._product(node, operands[0], operands[1], lead)
        if node.op == "transpose":
            return xp.swapaxes(operands[0], -1, -2)
        if node.op == "index":
            return operands[0][(*axes, *node.value)]
        if node.op == "sum":
            axis, keepdims = node.value
            return xp.sum(operands[0], axis=axis + lead, keepdims=keepdims)
        if node.op == "join":
            shape = ((self.n_steps,) if lead else ()) + node.shape
            return xp.concatenate([xp.broadcast_to(o, (*shape[:-1], o.shape[-1])) for o in operands], axis=-1)
        if node.op == "eye":
            return eye(node.shape[0], self.carried)
        if node.op == "zeros":
            return zeros(node.shape, self.carried)
        return getattr(xp, node.op)(operands[0], k=node.value)

    def _aligned(self, operand: Any, of: Node, node: Node, lead: int) -> Any:
        """Return an operand with as many axes after that of the steps as the result has."""
        missing = len(node.shape) - len(of.shape)
        if lead and self._varies(of) and missing:
            return operand.reshape(operand.shape[0], *(1,) * missing, *operand.shape[1:])
        return operand

    def _product(self, node: Node, a: Any, b: Any, lead: int) -> Any:
        """Return a product of all steps: one of two matrices where the right one is constant."""
        if lead and not self._varies(node.inputs[1]):
            steps, rows, inner = a.shape
            return (a.reshape(steps * rows, inner) @ b).reshape(steps, rows, -1)
        return a @ b

"""The tape of a traced cell: any cell whose step and adjoint can be traced, with one kernel for each product of a step.

A step of the reference loop starts a kernel for every operation of the cell; here the kernel of a product computes all
up to the next product. The rest is computed for all steps at once: V x + b before the loop, and in the backward pass
all that depends on states and inputs only before it, the gradients of parameters and input after it.

These kernels have not run on a card; see families.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any

from numrnn.backend import Array, array_namespace, empty, on_device_of, zeros
from numrnn.cells.base import unchecked
from numrnn.checks import dtype_name
from numrnn.engines.cuda.kernels import SCALARS
from numrnn.engines.cuda.trace.arrays import Traced, operation
from numrnn.engines.cuda.trace.capture import run_loop
from numrnn.engines.cuda.trace.graph import Graph, Node, Outputs, Untraceable
from numrnn.engines.cuda.trace.kernels import ByLibrary, CupyExecutor, Executor
from numrnn.engines.cuda.trace.plan import CARRIED, Plan, plan_of
from numrnn.engines.cuda.trace.run import Run
from numrnn.problem import Problem
from numrnn.tape import Gradients, Tape

PARAMETER = "params."  # begins the names of leaves and outputs that are parameters

# The plans of a problem, or why there are none; for as long as the problem lives.
_known: weakref.WeakKeyDictionary[Problem, tuple[Plan, Plan] | str] = weakref.WeakKeyDictionary()


def untraceable_reason(problem: Problem) -> str | None:
    """Return why the cell of a problem cannot be traced, or None."""
    found = _plans(problem)
    return found if isinstance(found, str) else None


def _plans(problem: Problem) -> tuple[Plan, Plan] | str:
    """Return the plans of both passes, or why there are none."""
    if problem not in _known:
        try:
            if dtype_name(problem.h0) not in SCALARS:
                raise Untraceable(f"dtype {dtype_name(problem.h0)}")
            dtype = problem.h0.dtype
            forward = plan_of(lambda graph: _forward(problem, graph), dtype, frozenset({"x", "active"}))
            varying = frozenset({"x", "active", "h", "direct"})
            _known[problem] = forward, plan_of(lambda graph: _backward(problem, graph), dtype, varying)
        except Untraceable as error:
            _known[problem] = str(error)
    return _known[problem]


def _arguments(problem: Problem, graph: Graph) -> Any:
    """Return a function that makes an argument, the parameters, and x."""

    def argument(name: str, shape: tuple[int, ...]) -> Traced:
        return Traced(graph, graph.leaf(name, tuple(shape)))

    params = {name: argument(PARAMETER + name, value.shape) for name, value in problem.params.items()}
    return argument, params, argument("x", problem.x.shape[1:])


def _forward(problem: Problem, graph: Graph) -> Outputs:
    """Trace a step of `ReferenceTape.run`."""
    argument, params, x = _arguments(problem, graph)
    h = argument(CARRIED, problem.h0.shape)
    h_next = _checked("step", unchecked(problem.cell.step)(params, x, h), h.shape)
    if problem.active is not None:
        h_next = operation("where", argument("active", problem.active.shape[1:]), h_next, h)
    return {CARRIED: _computed(h_next)}


def _backward(problem: Problem, graph: Graph) -> Outputs:
    """Trace `ReferenceTape.step_back`, with the loss's direct derivatives."""
    argument, params, x = _arguments(problem, graph)
    h, g = argument("h", problem.h0.shape), argument(CARRIED, problem.h0.shape)
    h_t, g_t, runs = h, g, None
    if problem.active is not None:
        runs = argument("active", problem.active.shape[1:])
        x = operation("where", runs, x, argument("x0", x.shape))
        h_t = operation("where", runs, h, argument("h0", h.shape))
        g_t = operation("where", runs, g, 0)
    dparams, dx, dh = unchecked(problem.cell.step_vjp)(params, x, h_t, g_t)
    dh = _checked("dh of step_vjp", dh, h.shape)
    before = dh if runs is None else operation("where", runs, dh, g)
    before = before + argument("direct", problem.h0.shape)
    shapes = {name: tuple(shape) for name, shape in problem.cell.parameter_shapes.items()}
    found = {PARAMETER + name: _checked(name, dparams[name], shape).filled() for name, shape in shapes.items()}
    return {CARRIED: _computed(before), "x": _checked("dx", dx, x.shape).filled(), **found}


def _checked(name: str, array: Any, shape: tuple[int, ...]) -> Traced:
    if not isinstance(array, Traced) or array.shape != tuple(shape):
        raise Untraceable(f"{name} that is {getattr(array, 'shape', type(array).__name__)} and not of shape {shape}")
    return array


def _computed(array: Traced) -> Node:
    """Return the node of an array, which a kernel has to write: not that of a product or an argument."""
    node = array.filled()
    return node if node.is_elementwise or node.op == "join" else operation("multiply", 1, array).filled()


class TracedTape(Tape):
    """The tape of a traced cell: the states, all or every k-th."""

    def __init__(self, problem: Problem, executor: Executor | None = None) -> None:
        super().__init__(problem, problem.every or problem.n_steps)
        found = _plans(problem)
        assert not isinstance(found, str), found
        self._forward, self._backward = found
        xp = array_namespace(problem.x)
        self._executor: Executor = executor or (CupyExecutor(xp) if xp.__name__ == "cupy" else ByLibrary())
        self._checkpoints = [problem.h0]

    def run(self) -> None:
        """Run the forward pass."""
        problem = self.problem
        with on_device_of(problem.x):
            for start in self.starts():
                states = self._run(start)
                self._checkpoints.append(states[-1])
                if problem.every is None:
                    self._states = states
                elif states.shape[0] > 2:
                    self._checkpoints[-1] = states[-1].copy()  # a view would keep all states of the segment

    def _run(self, start: int) -> Array:
        """Return the states of a segment from its kept state."""
        steps = self._range(start)
        states = empty((steps.stop - start + 1, *self.problem.h0.shape), like=self.problem.h0)
        states[0] = self._checkpoints[start // self.every]
        run_loop(Run(self._forward, self._leaves(steps), states, steps.stop - start, False, self._executor))
        return states

    def _range(self, start: int) -> slice:
        return slice(start, min(start + self.every, self.problem.n_steps))

    def _leaves(self, steps: slice) -> dict[str, Any]:
        problem = self.problem
        params = {PARAMETER + name: value for name, value in problem.params.items()}
        active = None if problem.active is None else problem.active[steps]
        return {**params, "x": problem.x[steps], "active": active, "x0": problem.x[0], "h0": problem.h0}

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from its kept state."""
        if self._states is not None:
            return self._states
        with on_device_of(self.problem.x):
            return self._run(start)

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self._checkpoints[-1]

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        problem = self.problem
        with on_device_of(problem.x):
            if direct is None:
                direct = array_namespace(g).broadcast_to(zeros((1, 1, 1), g), (problem.n_steps, *g.shape))
            dx = empty(problem.x.shape, like=g) if "x" in wrt else None
            all_g = empty((problem.n_steps + 1, *g.shape), like=g) if "states" in wrt else None
            totals: dict[str, Array] = {}
            for start in reversed(self.starts()):
                steps = self._range(start)
                count, states = steps.stop - start, self.segment(start)
                carried = empty((count + 1, *g.shape), like=g) if all_g is None else all_g[start : steps.stop + 1]
                carried[-1] = g
                leaves = {**self._leaves(steps), "h": states[:-1], "direct": direct[steps]}
                run = Run(self._backward, leaves, carried, count, True, self._executor)
                run_loop(run)
                g = carried[0]
                if dx is not None:
                    dx[steps] = run.all_steps(self._backward.outputs["x"])
                for name in problem.params if "params" in wrt else ():
                    part = array_namespace(g).ascontiguousarray(run.total(self._backward.outputs[PARAMETER + name]))
                    totals[name] = totals[name] + part if name in totals else part
            params = totals if "params" in wrt else None
            return Gradients(params, dx, g.copy() if "h0" in wrt else None, all_g)

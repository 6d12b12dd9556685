r"""A stack of cells through time: one layer after the other over a whole segment, each with its own engine.

The simple loop runs all layers through a step, then the next step. No layer depends on those above it, so a layer may
run through all its steps before the one above begins: the states are the same, and a fused engine supports a layer as
it supports a single cell. In the backward pass, from the top layer to the bottom,

    dL/dh^l_t, the direct derivative,  +=  dL/dx_t of the layer above, for t = 1..T                       (B33)

and then each layer is propagated separately.

Derivation: docs/derivation.md, section 10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from numrnn.backend import Array, array_namespace, empty, zeros
from numrnn.cells.stack import Stack, add_to_hidden
from numrnn.problem import Problem
from numrnn.tape import Gradients, Tape

# Steps: with recompute_every a segment is one pass of every layer, too short to be worth its fixed cost below this.
SHORTEST_SEGMENT = 64


class LayeredTape(Tape):
    """The tape of a stack: the tapes of its layers; with `recompute_every`, the state at the start of each segment.

    Parameters
    ----------
    problem : Problem
        The forward pass to run; its cell has the step of `Stack`.
    stack : Stack
        This cell.
    make_tape : callable
        make_tape(problem) returns a tape, not run yet, for the problem of one layer.
    """

    def __init__(self, problem: Problem, stack: Stack, make_tape: Callable[[Problem], Tape]) -> None:
        every = problem.n_steps if problem.every is None else max(problem.every, SHORTEST_SEGMENT)
        super().__init__(problem, min(every, problem.n_steps))
        self._stack, self._make_tape = stack, make_tape
        self._kept: list[Array] = []  # the states at the multiples of `every`, and h_T
        self._layers: list[Tape] | None = None  # of the one segment, if all states are kept

    def run(self) -> None:
        """Run the forward pass."""
        self._kept = [self.problem.h0]
        for start in self.starts():
            layers = self._run(start)
            self._kept.append(self._stack.join([tape.final_state for tape in layers]))
            if self.problem.every is None:
                self._layers, self._states = layers, self._joined(layers)

    def _run(self, start: int) -> list[Tape]:
        """Return the tapes of the layers, from the bottom, over the segment from `start`."""
        problem, stack, steps = self.problem, self._stack, self._steps(start)
        x, active = problem.x[steps, ...], None if problem.active is None else problem.active[steps, ...]
        first = stack.split(self._kept[start // self.every])
        tapes = []
        for cell, params, h0 in zip(stack.cells, stack.layer_params(problem.params), first, strict=True):
            tape = self._make_tape(Problem(cell, params, x, h0, active, None))
            tape.run()
            tapes.append(tape)
            x = tape.states[1:, :, : cell.hidden_size]
            if active is not None:  # as for every problem: a state that a row keeps may be infinite
                x = array_namespace(x).where(active, x, 0)
        return tapes

    def _steps(self, start: int) -> slice:
        """Return the steps of the segment from `start`."""
        return slice(start, min(start + self.every, self.problem.n_steps))

    def _joined(self, layers: list[Tape]) -> Array:
        return self._stack.join([tape.states for tape in layers])

    @property
    def final_state(self) -> Array:
        """h_T."""
        return self._kept[-1]

    def segment(self, start: int) -> Array:
        """Return the states of one segment, recomputed from its first if not all are kept."""
        return self._joined(self._run(start)) if self._states is None else self._states

    def propagate(self, g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients; see `Tape.propagate`."""
        n_steps, dparams = self.problem.n_steps, None
        dx = empty(self.problem.x.shape, like=g) if "x" in wrt else None
        all_g = empty((n_steps + 1, *g.shape), like=g) if "states" in wrt else None
        if all_g is not None:
            all_g[-1, ...] = g
        for start in reversed(self.starts()):
            layers = self._run(start) if self._layers is None else self._layers
            steps = self._steps(start)
            own = None if direct is None else direct[start : steps.stop + 1, ...]
            part = self._propagate(layers, g, own, wrt)
            assert part.h0 is not None
            g = part.h0
            if part.params is not None:
                dparams = part.params if dparams is None else {k: v + part.params[k] for k, v in dparams.items()}
            if dx is not None:
                dx[steps, ...] = part.x
            if all_g is not None and part.states is not None:
                all_g[steps, ...] = part.states[:-1, ...]
        return Gradients(dparams, dx, g if "h0" in wrt else None, all_g)

    def _propagate(self, layers: list[Tape], g: Array, direct: Array | None, wrt: Collection[str]) -> Gradients:
        """Return the gradients of one segment, from dL/dh at its end, always including that of its first state."""
        stack, read = self._stack, None  # dL/dx of the layer above, (steps, B, units of this layer)
        ends = stack.split(g)
        own = [None for _ in layers] if direct is None else stack.split(direct)
        dparams: list[Any] = []
        d_first: list[Array] = []
        all_g: list[Array] = []
        for i in reversed(range(len(layers))):
            end, given = ends[i], own[i]
            if read is not None:
                end, given = add_to_hidden(end, read[-1, ...]), _with_reading(given, read, end)  # (B33)
            wanted = {"h0", *({"params", "states"} & set(wrt)), *(["x"] if i or "x" in wrt else [])}
            grads = layers[i].propagate(end, given, wanted)
            dparams.insert(0, grads.params)
            d_first.insert(0, grads.h0)
            if grads.states is not None:
                # h^l_t is a part of the state of all layers at t: the layer above read it in the step before that
                # state, so this reading is not part of the derivative with respect to the state.
                all_g.insert(0, grads.states if read is None else _without_reading(grads.states, read))
            read = grads.x
        params = stack.named(dparams) if "params" in wrt else None
        return Gradients(params, read, stack.join(d_first), stack.join(all_g) if all_g else None)


def _with_reading(direct: Array | None, read: Array, like: Array) -> Array:
    """Return the loss's direct derivatives (steps + 1, B, state_size) plus those through the layer above."""
    total = zeros((read.shape[0] + 1, *like.shape), like=like) if direct is None else direct
    total[1:, :, : read.shape[2]] += read
    return total


def _without_reading(all_g: Array, read: Array) -> Array:
    """Return dL/dh (steps + 1, B, state_size) of a layer without the part through the layer above's same step."""
    all_g[1:, :, : read.shape[2]] -= read
    return all_g

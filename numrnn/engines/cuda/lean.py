"""The layouts of lean.cu, and what its kernels compute besides: V x + b for few inputs, gradients of the parameters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np

from numrnn.backend import Array, empty
from numrnn.engines.cuda.euler import EulerRecurrence, Outputs
from numrnn.engines.cuda.kernels import AHEAD, COUNTERS_BYTES, INPUT_WIDTHS, PACK_BYTES, Layout, gates_of
from numrnn.problem import Problem

NULL = np.uint64(0)


def input_width(m: int) -> int:
    """Return M of inputs.cuh for m inputs, or 0 if V x + b is computed before the kernel."""
    return next((width for width in INPUT_WIDTHS if m <= width), 0)


class LeanLayout(Layout):
    """The same for the kernels of lean.cu: other names, and inputs only for threads that finish sums of their own."""

    first_capability: ClassVar[int] = 75
    by_messages: ClassVar[bool] = True
    most_held: ClassVar[int] = 40
    most_rows: ClassVar[int] = 4

    def name(self, kernel: str, variant: int) -> str:
        """Return the C++ name of an instantiation; `variant` is a number of enum Cell."""
        return f"lean_{super().name(kernel, variant)[:-1]}, {self.inputs}>"

    @property
    def adds_dA(self) -> bool:
        """Whether the backward kernel adds up dL/dA: ADDS_dA of gradients.cuh."""
        size = self.packs * np.dtype(self.dtype).itemsize
        return self.cluster == 1 and size <= 64 and size * self.rows <= 128

    def shared_bytes(self, kernel: str, variant: int) -> int:
        """Return the shared memory of a block: weights beyond the registers, vectors, counters, prefetched inputs."""
        size, gates = np.dtype(self.dtype).itemsize, gates_of(variant)
        rest = (self.packs - self.held) * self.threads * PACK_BYTES
        elements = self.rows * self.units // self.cluster
        kept = max(1, self.rows * self.outputs // self.lanes)
        x = self.inputs * elements // kept  # each thread reads it for all its elements
        # Forward x or V x + b; backward x, the activations, the loss's direct derivatives, and h for dL/dA.
        if kernel == "forward":
            vectors, prefetched = 2, x or gates * elements
        else:
            vectors, prefetched = 2 + 2 * self.adds_dA, x + (gates + 1 + self.adds_dA) * elements
        return rest + size * (vectors * self.rows * self.units + AHEAD["lean"] * prefetched) + COUNTERS_BYTES


class LeanRecurrence(EulerRecurrence):
    """The cells of `EulerRecurrence`, by lean.cu."""

    layout: LeanLayout

    def __init__(self, problem: Problem, layout: LeanLayout, storage: int) -> None:
        super().__init__(problem, layout, storage)
        self.projects = layout.inputs > 0
        self.multiplies = not (self.projects and layout.adds_dA)

    def outputs(self, acts: Array, x: Array, wrt: Collection[str]) -> Outputs:
        """See `Recurrence.outputs`: only what the gradients `wrt` need, and what the kernel does not add up itself."""
        if not (self.projects or self.layout.adds_dA):
            return super().outputs(acts, x, wrt)
        batch, n = acts.shape[1], self._cell.hidden_size
        params = "params" in wrt
        sums = params and not self.layout.adds_dA
        deltas = "x" in wrt or (params and not self.projects) or (sums and self.gates == 1)
        made = {"deltas": acts.shape} if deltas else {}
        if sums and self.gates == 2:
            made["sums"] = *acts.shape[:2], n
        if params and self.layout.adds_dA:
            made["dA"] = self.layout.blocks(batch), n, n
        if params and self.projects:
            made["dV_b"] = batch, self.gates * n * (x.shape[2] + 1)
        arrays = {name: empty(shape, like=acts) for name, shape in made.items()}
        if self.gates == 1 and deltas:
            arrays["sums"] = arrays["deltas"]
        return Outputs(*(arrays.get(name) for name in Outputs._fields))

    def forward_arguments(self, V: Array, b: Array, x: Array, states: Array, acts: Array) -> tuple[Any, ...]:
        """See `Recurrence.forward_arguments`."""
        read = (V, b, x) if self.projects else (NULL, NULL, NULL)
        return *read, np.int32(V.shape[1]), states, acts

    def backward_arguments(self, states: Array, acts: Array, x: Array, direct: Any, to: Outputs) -> tuple[Any, ...]:
        """See `Recurrence.backward_arguments`."""
        x_read = x if self.projects else NULL
        return x_read, np.int32(x.shape[2]), states, acts, direct, *(NULL if one is None else one for one in to)

"""What the tape asks of a family of kernels, and the answers of euler.cu: the steps of the Euler cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from numrnn.backend import Array, Params, array_namespace, empty
from numrnn.cells.euler import EulerCell
from numrnn.engines.cuda.kernels import ELMAN, GATED, UNGATED, Layout, gates_of
from numrnn.problem import Problem

FULL, TRIANGULAR, UNSTRUCTURED = range(3)  # enum Storage of product.cuh


class Outputs(NamedTuple):
    """What a backward kernel writes besides g; None for what it does not write.

    Attributes
    ----------
    deltas : array, shape (steps, B, gates n)
        Cotangents of V x + b.
    sums : array, shape (steps, B, n)
        Cotangents of W h: `deltas` itself if they are the same.
    dA : array, shape (blocks, n, n)
        The gradient of A, of the rows of each block.
    dV_b : array, shape (B, gates n (m + 1))
        The gradients of V (gates n, m) and b, one after the other, of each row of the batch.
    """

    deltas: Array | None
    sums: Array | None
    dA: Array | None = None
    dV_b: Array | None = None


class Recurrence(ABC):
    """What the tape asks of a family of kernels for a problem.

    Attributes
    ----------
    gates : int
        Pre-activations per unit; `acts` and `deltas` of a step have (B, gates n) numbers.
    projects : bool
        Whether the kernels compute V x + b, and the gradients of V and b.
    multiplies : bool
        Whether cuBLAS computes a part of a pass for the gradients of the parameters.
    layout : Layout or LSTMLayout
    """

    gates: int
    projects: bool = False
    multiplies: bool = True
    layout: Any

    @abstractmethod
    def launch(self, kernel: str, batch: int) -> tuple[str, int, int, int]:
        """Return name, blocks, threads and bytes of shared memory of a launch of "forward" or "backward"."""

    @abstractmethod
    def weights(self, params: Params, dtype: Any) -> tuple[Array, Array, Array]:
        """Return W as the kernels read it, V (gates n, m) and b (gates n), whose rows are in the order of acts."""

    @abstractmethod
    def scalars(self) -> tuple[np.generic, ...]:
        """Return what the kernels take after W."""

    @abstractmethod
    def hidden(self, states: Array) -> Array:
        """Return h of states."""

    @abstractmethod
    def outputs(self, acts: Array, x: Array, wrt: Collection[str]) -> Outputs:
        """Return the arrays that the backward kernel fills for a segment, for the gradients `wrt`."""

    def forward_arguments(self, V: Array, b: Array, x: Array, states: Array, acts: Array) -> tuple[Any, ...]:
        """Return what the forward kernel takes after the lengths."""
        return states, acts

    @abstractmethod
    def backward_arguments(self, states: Array, acts: Array, x: Array, direct: Any, to: Outputs) -> tuple[Any, ...]:
        """Return what the backward kernel takes between the lengths and g."""

    @abstractmethod
    def gradients(self, dA: Array, dV: Array, db: Array) -> dict[str, Array]:
        """Return the gradients of the parameters, from those of A, V and b; dV and db may have any strides."""


class EulerRecurrence(Recurrence):
    """An Euler cell, or the Elman network, whose step is tanh(W h + V x + b): W unstructured, eps = 1, gamma = 0."""

    def __init__(self, problem: Problem, layout: Layout, storage: int) -> None:
        self._cell, self.layout, self._storage = problem.cell, layout, storage
        self._variant = variant_of(problem)
        self.gates = gates_of(self._variant)

    def launch(self, kernel: str, batch: int) -> tuple[str, int, int, int]:
        """See `Recurrence.launch`."""
        layout: Layout = self.layout
        shared = layout.shared_bytes(kernel, self._variant)
        return layout.name(kernel, self._variant), layout.blocks(batch), layout.threads, shared

    def weights(self, params: Params, dtype: Any) -> tuple[Array, Array, Array]:
        """See `Recurrence.weights`."""
        xp = array_namespace(params["W"])
        V, b = (_joined(xp, params, names[: self.gates]) for names in (("V", "V_z"), ("b", "b_z")))
        W, V, b = (xp.ascontiguousarray(array, dtype) for array in (params["W"], V, b))
        return W, V, b

    def scalars(self) -> tuple[np.generic, ...]:
        """Storage of W, eps, gamma."""
        scalar, cell = np.dtype(self.layout.dtype).type, self._cell
        numbers = (cell.step_size, cell.matrix.diffusion) if isinstance(cell, EulerCell) else (1, 0)
        return np.int32(self._storage), *map(scalar, numbers)

    def hidden(self, states: Array) -> Array:
        """See `Recurrence.hidden`."""
        return states

    def outputs(self, acts: Array, x: Array, wrt: Collection[str]) -> Outputs:
        """See `Recurrence.outputs`; a gated cell needs the sum of delta and delta_z."""
        deltas = empty(acts.shape, like=acts)
        of_units = (*acts.shape[:2], self._cell.hidden_size)
        return Outputs(deltas, empty(of_units, like=acts) if self.gates == 2 else deltas)

    def backward_arguments(self, states: Array, acts: Array, x: Array, direct: Any, to: Outputs) -> tuple[Any, ...]:
        """See `Recurrence.backward_arguments`."""
        return acts, direct, to.deltas, to.sums

    def gradients(self, dA: Array, dV: Array, db: Array) -> dict[str, Array]:
        """See `Recurrence.gradients`; those of two gates are views of one array."""
        n, cell, xp = self._cell.hidden_size, self._cell, array_namespace(dA)
        params = {"W": cell.matrix.adjoint(dA) if isinstance(cell, EulerCell) else dA}
        dV, db = xp.ascontiguousarray(dV), xp.ascontiguousarray(db)
        for gate, suffix in enumerate(("", "_z")[: self.gates]):
            rows = slice(gate * n, (gate + 1) * n)
            params |= {f"V{suffix}": dV[rows], f"b{suffix}": db[rows]}
        return params


def variant_of(problem: Problem) -> int:
    """Return the number of enum Cell for an Euler cell or the Elman network."""
    if not isinstance(problem.cell, EulerCell):
        return ELMAN
    return GATED if "V_z" in problem.params else UNGATED


def _joined(xp: Any, params: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """Return the parameters stacked vertically; a single one unchanged."""
    return params[names[0]] if len(names) == 1 else xp.concatenate([params[name] for name in names])

"""What the kernels of euler.cu and lean.cu compute: the steps of the Euler cells, and that of the Elman network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from numrnn.backend import Array, Params, array_namespace, astype, empty
from numrnn.cells.euler import EulerCell
from numrnn.engines.cuda.kernels import ELMAN, GATED, UNGATED, Layout, gates_of
from numrnn.problem import Problem

FULL, TRIANGULAR, UNSTRUCTURED = range(3)  # enum Storage of product.cuh


class Recurrence(ABC):
    """What the tape asks of a family of kernels for a problem.

    Attributes
    ----------
    gates : int
        Pre-activations per unit; `acts` and `deltas` of a step have (B, gates n) numbers.
    layout : Layout or LSTMLayout
    """

    gates: int
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
    def sums(self, deltas: Array) -> Array:
        """Return the array for the cotangents of W h: `deltas` itself if they are the same."""

    @abstractmethod
    def backward_arrays(self, states: Array, acts: Array, direct: Any, deltas: Array, sums: Array) -> tuple[Any, ...]:
        """Return the arrays that the backward kernel takes before g."""

    @abstractmethod
    def gradients(self, dA: Array, dV_b: Array) -> dict[str, Array]:
        """Return the gradients of the parameters, from those of W h and of V x + b."""


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
        V = astype(_joined(xp, params, ("V", "V_z")[: self.gates]), dtype)
        b = astype(_joined(xp, params, ("b", "b_z")[: self.gates]), dtype)
        return xp.ascontiguousarray(params["W"], dtype), V, b

    def scalars(self) -> tuple[np.generic, ...]:
        """Storage of W, eps, gamma."""
        scalar, cell = np.dtype(self.layout.dtype).type, self._cell
        numbers = (cell.step_size, cell.matrix.diffusion) if isinstance(cell, EulerCell) else (1, 0)
        return np.int32(self._storage), *map(scalar, numbers)

    def hidden(self, states: Array) -> Array:
        """See `Recurrence.hidden`."""
        return states

    def sums(self, deltas: Array) -> Array:
        """See `Recurrence.sums`; a gated cell needs the sum of delta and delta_z."""
        gated = self.gates == 2
        return empty((*deltas.shape[:2], deltas.shape[2] // 2), like=deltas) if gated else deltas

    def backward_arrays(self, states: Array, acts: Array, direct: Any, deltas: Array, sums: Array) -> tuple[Any, ...]:
        """See `Recurrence.backward_arrays`."""
        return acts, direct, deltas, sums

    def gradients(self, dA: Array, dV_b: Array) -> dict[str, Array]:
        """See `Recurrence.gradients`."""
        n, cell = self._cell.hidden_size, self._cell
        params = {"W": cell.matrix.adjoint(dA) if isinstance(cell, EulerCell) else dA}
        for gate, (V, b) in enumerate((("V", "b"), ("V_z", "b_z"))[: self.gates]):
            params |= split(dV_b[gate * n : (gate + 1) * n], V, b)
        return params


def variant_of(problem: Problem) -> int:
    """Return the number of enum Cell for an Euler cell or the Elman network."""
    if not isinstance(problem.cell, EulerCell):
        return ELMAN
    return GATED if "V_z" in problem.params else UNGATED


def split(dV_b: Array, V: str = "V", b: str = "b") -> dict[str, Array]:
    """Return the gradients of V and b, from [dV | db]."""
    return {V: array_namespace(dV_b).ascontiguousarray(dV_b[:, :-1]), b: dV_b[:, -1].copy()}


def _joined(xp: Any, params: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """Return the parameters stacked vertically; a single one unchanged."""
    return params[names[0]] if len(names) == 1 else xp.concatenate([params[name] for name in names])

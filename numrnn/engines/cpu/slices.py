"""One slice of the batch through time: the part of the CPU engine that is common to all cells.

A slice runs its rows through all steps, one chunk of steps at a time. Work without a recurrence is done here for a
whole chunk; the steps themselves, and their adjoints, are in steps.py, one class per kind of cell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from numrnn.backend import Array
from numrnn.cells.base import Cell
from numrnn.engines.cpu import workspace
from numrnn.engines.cpu.products import multiply_transposed, rows_per_product
from numrnn.problem import Problem

CHUNK_BYTES = 2**18  # states of a chunk: three such arrays fit in the second-level cache of a core (1 MiB)
SHORTEST_CHUNK, LONGEST_CHUNK = 4, 64  # steps; longer chunks save nothing more


def steps_per_chunk(rows: int, n: int, dtype: Any) -> int:
    """Return the number of steps per chunk: a power of two, as many as fit in the cache."""
    steps = LONGEST_CHUNK
    while steps > SHORTEST_CHUNK and steps * rows * n * np.dtype(dtype).itemsize > CHUNK_BYTES:
        steps //= 2
    return steps


@dataclass(frozen=True, eq=False)
class Constants:
    """What every slice reads: the parameters in the form that the loops use."""

    scale: float  # h = scale * s, q = scale * g
    A_T: np.ndarray  # (n, n), or (4, n, n): multiplies s from the right in a step
    A: np.ndarray  # of the same shape: multiplies a delta in the adjoint of a step
    V_b: list[np.ndarray]  # one (m + 1, n) per pre-activation, for [x | 1] @ V_b
    V: list[np.ndarray]  # one (n, m) per pre-activation, for delta @ V
    chunk: int = SHORTEST_CHUNK  # steps per chunk


class BackwardBuffers:
    """Inputs and outputs of a slice's backward pass; None if not requested."""

    def __init__(self, rows: slice, direct: Any, dx: Any, all_g: Any, d_params: list[np.ndarray] | None) -> None:
        self.direct = None if direct is None else direct[:, rows]
        self.dx = None if dx is None else dx[:, rows]
        self.all_g = None if all_g is None else all_g[:, rows]
        self.d_params = d_params
        self.at_every_step = direct is not None or all_g is not None
        self._products = [np.empty_like(total) for total in d_params or ()]

    def add(self, deltas: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> None:
        """Add the products delta^T row of a chunk; deltas are (steps x b, n), rows are h or [x | 1]."""
        for total, product, delta, row in zip(self.d_params or (), self._products, deltas, rows, strict=True):
            multiply_transposed(delta, row, product)  # (B5) (B4), (B14) (B12) (B13), (B18), (B25), (B37) (B40)
            total += product  # (B27)


class Slice(ABC):
    """Rows of the batch, and the scratch memory that a thread needs to run them through time.

    All arrays passed to its methods hold these rows only. A state has one part, or two for the LSTM, [h | c].
    """

    pre_activations: ClassVar[int]  # arrays V x + b per step, and as many deltas
    activations: ClassVar[int]  # arrays per step that the adjoint needs besides the states
    slope_count: ClassVar[int] = 0  # slopes per step, if more than activations
    delta_count: ClassVar[int] = 0  # deltas per step, if more than pre-activations
    scratch: ClassVar[int] = 2  # arrays (b, n) of scratch memory for a step

    def __init__(
        self, constants: Constants, x: np.ndarray, active: np.ndarray | None, n: int, parts: int, rows: slice
    ) -> None:
        self.constants, self.rows, self.n, self.parts = constants, rows, n, parts
        chunk = self.chunk = constants.chunk
        self.x = x[:, rows]
        self._active = None if active is None else active[:, rows]
        self.b, self.m = rows.stop - rows.start, x.shape[2]
        dtype, b = constants.A.dtype, self.b
        # The arrays of a step are (b, n), or (blocks, b / blocks, n) if the BLAS multiplies blocks of rows faster.
        block = rows_per_product(b, n)
        self.shape = (b, n) if block == b else (b // block, block, n)
        self.product: Any = np.dot if block == b else np.matmul
        # Two names for the same memory, since a slice runs either forward or backward: one name per content.
        self.s = self.sums = workspace.take((self.parts, chunk + 1, b, n), dtype)  # scaled states | sums of deltas
        self.deltas = workspace.take((max(self.pre_activations, self.delta_count), chunk, b, n), dtype)
        self.u = self.deltas[: self.pre_activations]  # V x + b | deltas
        arrays = max(1, self.activations, self.slope_count)
        self.acts = self.slopes = workspace.take((chunk, arrays, b, n), dtype)  # activations without a tape | slopes
        self.q = workspace.take((self.parts, b, n), dtype)
        self.h = workspace.take((chunk, b, n), dtype)
        self.x_1 = workspace.take((chunk, b, self.m + 1), dtype)  # [x | 1]
        self.x_1[..., -1] = 1
        self.tmp = self.in_blocks(workspace.take((self.scratch, b, n), dtype))
        # Views of single steps, created once per call: Python code in the loops delays the other threads.
        self.s_steps = self.sum_steps = [list(self.in_blocks(part)) for part in self.s]
        self.u_steps = self.delta_steps = self.by_step(self.u)
        if self.delta_count:
            self.delta_steps = self.by_step(self.deltas)
        self.slope_steps = self.by_step(self.slopes.swapaxes(0, 1))
        self.q_parts = list(self.in_blocks(self.q))

    @classmethod
    def for_cell(cls, cell: Cell) -> type[Slice]:
        """Return the class for a cell: this one, unless the cell's arguments decide."""
        return cls

    @staticmethod
    @abstractmethod
    def prepare(problem: Problem) -> Constants:
        """Return the constants of a problem."""

    @staticmethod
    @abstractmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the gradients by name from the products that `add_products` added."""

    @abstractmethod
    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run len(acts) steps from s[:, 0]; fill s[:, 1:] and acts (count, activations, b, n)."""

    @abstractmethod
    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` for a chunk, from its activations and its states (count + 1, b, state_size)."""

    @abstractmethod
    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate q back over the steps of a chunk and store their deltas in `deltas`.

        Call `add_direct_gradient` after each step if `out.at_every_step`.
        """

    @abstractmethod
    def add_products(self, deltas: list[np.ndarray], h: np.ndarray, x_1: np.ndarray, out: BackwardBuffers) -> None:
        """Add a chunk's part of the parameter gradients to `out`; deltas and h are (steps x b, n)."""

    def zero_totals(self) -> list[np.ndarray]:
        """Return zero totals for `add_products`: one dA per matrix, then one [dV | db] per pre-activation."""
        matrices = self.constants.A.size // self.n**2
        shapes = [(self.n, self.n)] * matrices + [(self.n, self.m + 1)] * self.pre_activations
        return [np.zeros(shape, self.q.dtype) for shape in shapes]

    def in_blocks(self, array: np.ndarray) -> np.ndarray:
        """Return a view of (..., b, n) or (..., b, 1) as (..., *self.shape)."""
        return array.reshape(*array.shape[:-2], *self.shape[:-1], array.shape[-1])

    def by_step(self, array: np.ndarray) -> list[np.ndarray]:
        """Return views of the single steps of (k, steps, b, n), (k, *self.shape) each, or self.shape where k is 1."""
        steps = self.in_blocks(array).swapaxes(0, 1)
        return list(steps[:, 0] if len(array) == 1 else steps)

    def for_each(self, matrices: np.ndarray) -> np.ndarray:
        """Return (k, n, n) shaped to multiply (k, *self.shape) one by one, or self.shape by each."""
        return matrices if len(self.shape) == 2 else matrices[:, None]

    def columns(self, part: int) -> slice:
        """Return the columns of a part of the state."""
        return slice(part * self.n, (part + 1) * self.n)

    def active(self, first: int, count: int) -> np.ndarray | None:
        """Return a bool array, (count, b, 1) in blocks: True where a row's sequence has not ended; None if none has."""
        if self._active is None or self._active[first : first + count].all():
            return None
        return self.in_blocks(self._active[first : first + count])

    def forward(self, start: int, stop: int, s: np.ndarray, states: Any = None, acts: Any = None) -> None:
        """Run s, (b, state_size), from step `start` to `stop`, in place.

        Unless they are None, fills states (stop - start + 1, b, state_size), except the first, and acts
        (stop - start, activations, b, n).
        """
        for part in range(self.parts):
            self.s[part, 0] = s[:, self.columns(part)]
        for first in range(start, stop, self.chunk):
            count, at = min(self.chunk, stop - first), first - start
            self._project(first, count)
            self.steps(
                self.acts[:count, : self.activations] if acts is None else acts[at : at + count],
                self.active(first, count),
            )
            for part in range(self.parts):
                done = self.s[part, 1 : count + 1]
                if states is not None:
                    np.multiply(done, self.constants.scale, out=states[at + 1 : at + count + 1, :, self.columns(part)])
                self.s[part, 0] = done[-1]
        for part in range(self.parts):
            s[:, self.columns(part)] = self.s[part, 0]

    def _project(self, first: int, count: int) -> None:
        """Fill u with V x + b of every pre-activation for the steps of a chunk."""
        self.x_1[:count, :, :-1] = self.x[first : first + count]
        flat = self.x_1[:count].reshape(-1, self.m + 1)
        for V_b, u in zip(self.constants.V_b, self.u, strict=True):
            np.dot(flat, V_b, out=u[:count].reshape(-1, self.n))

    def backward(
        self, start: int, stop: int, q: np.ndarray, states: np.ndarray, acts: np.ndarray, out: BackwardBuffers
    ) -> None:
        """Propagate q = scale dL/dh_stop back to `start`, in place; add these steps' gradients to `out`."""
        for part in range(self.parts):
            self.q[part] = q[:, self.columns(part)]
        for first in reversed(range(start, stop, self.chunk)):
            count, at = min(self.chunk, stop - first), first - start
            active, chunk = self.active(first, count), acts[at : at + count]
            self.fill_slopes(chunk, states[at : at + count + 1], active)
            self.steps_back(first, chunk, active, out)
            deltas = [delta[:count].reshape(-1, self.n) for delta in self.deltas]
            if out.d_params is not None:
                self.x_1[:count, :, :-1] = self.x[first : first + count]
                h = self._flat(states[at : at + count, :, : self.n], active)
                x_1 = self.x_1[:count].reshape(-1, self.m + 1)
                self.add_products(deltas, h, x_1, out)
            if out.dx is not None:
                of_u = zip(deltas[: self.pre_activations], self.constants.V, strict=True)
                dx = sum(delta @ V for delta, V in of_u)  # (B3) (B11) (B17) (B24) (B40)
                out.dx[first : first + count] = dx.reshape(count, self.b, self.m)
        for part in range(self.parts):
            q[:, self.columns(part)] = self.q[part]

    def _flat(self, h: np.ndarray, active: np.ndarray | None) -> np.ndarray:
        """Return a copy of (count, b, n) as (count x b, n), 0 where a row keeps its state.

        The copy is in the cache: products in tiles read it several times.
        """
        copy = self.h[: len(h)]
        copy[...] = h
        if active is not None:
            zero_ended(self.in_blocks(copy), active)
        return copy.reshape(-1, self.n)

    def add_direct_gradient(self, t: int, out: BackwardBuffers) -> None:
        """Add the loss's direct derivative with respect to h_t to q, and record dL/dh_t in all_g if requested."""
        scale = self.constants.scale
        for part, q in enumerate(self.q):
            if out.direct is not None:
                q += scale * out.direct[t, :, self.columns(part)]  # (B26)
            if out.all_g is not None:
                np.divide(q, scale, out=out.all_g[t, :, self.columns(part)])


def zero_ended(array: np.ndarray, active: np.ndarray) -> None:
    """Set the rows to zero whose sequences have ended.

    Such a row keeps its last state, which may be infinite, and what a step makes of that is not used. A product with
    zero in place of this would make it NaN.
    """
    np.copyto(array, 0, where=~active)


def transposed(V: Array, b: Array, dtype: Any) -> np.ndarray:
    """Return [V | b]^T, (m + 1, n), which multiplies [x | 1] from the right."""
    return np.vstack([V.T, b]).astype(dtype)


def weights_and_bias(dV_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dV and db, contiguous, from [dV | db]."""
    return np.ascontiguousarray(dV_b[:, :-1]), dV_b[:, -1].copy()

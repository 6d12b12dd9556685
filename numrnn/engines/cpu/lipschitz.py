r"""The steps of the Lipschitz RNN on the CPU engine and their adjoints, one class per method; steps.py has the others.

As for the Euler cells, s = h / eps and q = eps g, and both matrices include eps. One call computes two products of a
step:

    Euler's method   s_t = s_{t-1} + (A s_{t-1} + c),   c = tanh(W s_{t-1} + V x + b)
    midpoint rule    s_t = s_{t-1} + (A k + c),         k = s_{t-1} + (A s_{t-1} + c_h) / 2,   c = tanh(W k + V x + b)

(Then df = q and half the cotangent of k give (B34) and (B38) without another multiplication by eps.)
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from numrnn.cells.base import Cell
from numrnn.cells.lipschitz import LipschitzCell
from numrnn.engines.cpu import workspace
from numrnn.engines.cpu.products import aligned
from numrnn.engines.cpu.slices import BackwardBuffers, Constants, Slice, transposed, weights_and_bias, zero_ended
from numrnn.problem import Problem


class LipschitzSlice(Slice):
    """Euler's method. Its matrices are stacked as [W, A], its deltas are delta and q."""

    pre_activations: ClassVar[int] = 1
    activations: ClassVar[int] = 1  # c
    slope_count: ClassVar[int] = 1
    delta_count: ClassVar[int] = 2  # delta, q
    scratch: ClassVar[int] = 3

    @classmethod
    def for_cell(cls, cell: Cell) -> type[Slice]:
        """Return the class for the cell's method."""
        return MidpointSlice if _lipschitz(cell).method == "rk2" else LipschitzSlice

    @staticmethod
    def prepare(problem: Problem) -> Constants:
        """Return the constants with eps W and eps A, for states divided by eps."""
        cell, params, dtype = _lipschitz(problem.cell), problem.params, problem.h0.dtype
        eps = cell.step_size
        both = np.stack([cell.matrix_W.value(params["M_W"]), cell.matrix_A.value(params["M_A"])])
        W_A = (eps * both).astype(dtype)
        V_b = [transposed(params["V"], params["b"], dtype)]
        return Constants(eps, aligned(W_A.swapaxes(1, 2)), aligned(W_A), V_b, [params["V"].astype(dtype)])

    @staticmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the gradients of M_A, M_W, V and b from dW, dA and [dV | db]."""
        own, (dV, db) = _lipschitz(cell), weights_and_bias(totals[2])
        return {"M_A": own.matrix_A.adjoint(totals[1]), "M_W": own.matrix_W.adjoint(totals[0]), "V": dV, "b": db}

    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run the steps of a chunk; fill acts with c."""
        W_A_T, add, tanh = self.for_each(self.constants.A_T), np.add, np.tanh
        s, products, u = self.s_steps[0], self.tmp[:2], self.tmp[2]
        for t, c in enumerate(self.in_blocks(acts[:, 0])):
            np.matmul(s[t], W_A_T, products)
            add(products[0], self.u_steps[t], u)  # (F21)
            tanh(u, c)  # (F22)
            add(products[1], c, u)  # (F23)
            if active is not None:
                zero_ended(u, active[t])
            add(s[t], u, s[t + 1])  # (F25)

    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` with 1 - c^2."""
        slopes, c = self.slopes[: len(acts), : self.slope_count], acts[:, : self.slope_count]
        np.multiply(c, c, out=slopes)
        np.subtract(1, slopes, out=slopes)

    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate q back over a chunk; a row that keeps its state passes it on."""
        W_A, add, multiply = self.for_each(self.constants.A), np.add, np.multiply
        q, products = self.q_parts[0], self.tmp[:2]
        for t in reversed(range(len(acts))):
            deltas = self.delta_steps[t]
            np.copyto(deltas[1], q)  # (B34)
            multiply(self.slope_steps[t], q, deltas[0])  # (B35)
            if active is not None:
                zero_ended(deltas, active[t])
            np.matmul(deltas, W_A, products)
            add(q, products[0], q)
            add(q, products[1], q)  # (B36) (B37)
            if out.at_every_step:
                self.add_direct_gradient(first + t, out)

    def add_products(self, deltas: list[np.ndarray], h: np.ndarray, x_1: np.ndarray, out: BackwardBuffers) -> None:
        """Add to dW, dA and [dV | db]."""
        out.add([*deltas, deltas[0]], [h, h, x_1])


class MidpointSlice(LipschitzSlice):
    """The midpoint rule. Its deltas are the cotangent of V x + b, then delta and q of f(k), delta and q of f(h)."""

    activations: ClassVar[int] = 3  # c, c_h, k / eps
    slope_count: ClassVar[int] = 2
    delta_count: ClassVar[int] = 5

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.k = workspace.take(self.h.shape, self.h.dtype)  # midpoints of a chunk, for `add_products`

    def zero_totals(self) -> list[np.ndarray]:
        """Return zeros for dW and dA through k, the same through h, and [dV | db]."""
        dW, dA, dV_b = super().zero_totals()
        return [dW, dA, np.zeros_like(dW), np.zeros_like(dA), dV_b]

    @staticmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the gradients of M_A, M_W, V and b from the totals."""
        return LipschitzSlice.gradients(cell, [totals[0] + totals[2], totals[1] + totals[3], totals[4]])  # (B39)

    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run the steps of a chunk; fill acts with c, c_h and k / eps."""
        W_A_T, add, multiply, tanh = self.for_each(self.constants.A_T), np.add, np.multiply, np.tanh
        s, products, u = self.s_steps[0], self.tmp[:2], self.tmp[2]
        for t, (c, c_h, k) in enumerate(self.in_blocks(acts)):
            np.matmul(s[t], W_A_T, products)
            add(products[0], self.u_steps[t], u)
            tanh(u, c_h)
            add(products[1], c_h, u)
            multiply(u, 0.5, u)
            add(s[t], u, k)  # (F24)
            np.matmul(k, W_A_T, products)
            add(products[0], self.u_steps[t], u)  # (F21)
            tanh(u, c)  # (F22)
            add(products[1], c, u)  # (F23)
            if active is not None:
                zero_ended(u, active[t])
            add(s[t], u, s[t + 1])  # (F25)

    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` with 1 - c^2 and 1 - c_h^2; fill `k`, 0 where a row keeps its state."""
        super().fill_slopes(acts, states, active)
        k = np.multiply(acts[:, 2], self.constants.scale, out=self.k[: len(acts)])
        if active is not None:
            zero_ended(self.in_blocks(k), active)

    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate q back over a chunk; a row that keeps its state passes it on."""
        W_A, add, multiply = self.for_each(self.constants.A), np.add, np.multiply
        q, products, dk = self.q_parts[0], self.tmp[:2], self.tmp[2]
        for t in reversed(range(len(acts))):
            deltas, (slope, slope_h) = self.delta_steps[t], self.slope_steps[t][:2]
            np.copyto(deltas[2], q)  # (B34)
            multiply(slope, q, deltas[1])  # (B35)
            if active is not None:
                zero_ended(deltas[1:3], active[t])
            np.matmul(deltas[1:3], W_A, products)
            add(products[0], products[1], dk)  # (B36)
            add(q, dk, q)  # (B37)
            multiply(dk, 0.5, deltas[4])  # (B38)
            multiply(slope_h, deltas[4], deltas[3])
            if active is not None:
                zero_ended(deltas[3], active[t])
            np.matmul(deltas[3:5], W_A, products)
            add(q, products[0], q)
            add(q, products[1], q)
            add(deltas[1], deltas[3], deltas[0])  # (B39)
            if out.at_every_step:
                self.add_direct_gradient(first + t, out)

    def add_products(self, deltas: list[np.ndarray], h: np.ndarray, x_1: np.ndarray, out: BackwardBuffers) -> None:
        """Add to dW and dA through k, the same through h, and [dV | db]."""
        k = self.k.reshape(-1, self.n)[: len(h)]
        out.add([*deltas[1:], deltas[0]], [k, k, h, h, x_1])


def _lipschitz(cell: Cell) -> LipschitzCell:
    assert isinstance(cell, LipschitzCell)
    return cell

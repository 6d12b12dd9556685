r"""The steps of the CPU engine and their adjoints, one class per kind of cell.

The part common to all cells is in slices.py; __init__.py lists the differences from the reference. Tags are those of
docs/derivation.md.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from numrnn.cells.base import Cell
from numrnn.cells.euler import as_euler
from numrnn.engines.cpu.products import aligned
from numrnn.engines.cpu.slices import BackwardBuffers, Constants, Slice, transposed, weights_and_bias, zero_ended
from numrnn.problem import Problem


class EulerSlice(Slice):
    """Equation (12): s_t = s_{t-1} + c, s = h / eps."""

    pre_activations: ClassVar[int] = 1
    activations: ClassVar[int] = 1  # c

    @staticmethod
    def prepare(problem: Problem) -> Constants:
        """Return the constants with eps A, for states divided by eps."""
        cell, params, dtype = as_euler(problem.cell), problem.params, problem.h0.dtype
        A = (cell.step_size * cell.matrix.value(params["W"])).astype(dtype)
        V_b = [transposed(params["V"], params["b"], dtype)]
        return Constants(cell.step_size, aligned(A.T), aligned(A), V_b, [params["V"].astype(dtype)])

    @staticmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return dW, dV and db from dA and [dV | db]."""
        dV, db = weights_and_bias(totals[1])
        return {"W": as_euler(cell).matrix.adjoint(totals[0]), "V": dV, "b": db}

    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run the steps of a chunk; fill acts with c."""
        A_T, product, add, tanh = self.constants.A_T, self.product, np.add, np.tanh
        s, u = self.s_steps[0], self.tmp[0]  # only tanh writes to the tape, which is not in the cache
        for t, (c_t, s_t, s_next, u_t) in enumerate(
            zip(self.in_blocks(acts[:, 0]), s, s[1:], self.u_steps, strict=False)
        ):
            product(s_t, A_T, u)
            add(u, u_t, u)  # (F2)
            tanh(u, c_t)  # (F3)
            if active is not None:
                zero_ended(c_t, active[t])
            add(s_t, c_t, s_next)  # (F4)

    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` with 1 - c^2."""
        self._slopes_of(acts[:, 0])

    def _slopes_of(self, c: np.ndarray) -> None:
        slopes = self.slopes[: len(c), 0]
        np.multiply(c, c, out=slopes)
        np.subtract(1, slopes, out=slopes)

    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate q back over a chunk."""
        A, product, add, multiply = self.constants.A, self.product, np.add, np.multiply
        q, from_delta, slopes, deltas = self.q_parts[0], self.tmp[0], self.slope_steps, self.delta_steps
        for t in reversed(range(len(acts))):
            delta = deltas[t]
            multiply(slopes[t], q, delta)  # (B1)
            if active is not None:
                zero_ended(delta, active[t])
            product(delta, A, from_delta)
            add(q, from_delta, q)  # (B2)
            if out.at_every_step:
                self.add_direct_gradient(first + t, out)

    def add_products(self, deltas: list[np.ndarray], h: np.ndarray, x_1: np.ndarray, out: BackwardBuffers) -> None:
        """Add to dA and [dV | db]."""
        out.add([deltas[0], deltas[0]], [h, x_1])


class GatedEulerSlice(Slice):
    """Equation (13): s_t = s_{t-1} + (c + w c), s = 2 h / eps, w = tanh(u_z / 2), z = (1 + w) / 2."""

    pre_activations: ClassVar[int] = 2  # u and u_z / 2
    activations: ClassVar[int] = 2  # c and w
    scratch: ClassVar[int] = 4

    @staticmethod
    def prepare(problem: Problem) -> Constants:
        """Return the constants with (eps / 2) A, for states divided by eps / 2."""
        cell, params, dtype = as_euler(problem.cell), problem.params, problem.h0.dtype
        scale = cell.step_size / 2
        A = (scale * cell.matrix.value(params["W"])).astype(dtype)
        V_b = [
            transposed(params["V"], params["b"], dtype),
            0.5 * transposed(params["V_z"], params["b_z"], dtype),
        ]
        V = [params["V"].astype(dtype), params["V_z"].astype(dtype)]
        return Constants(scale, aligned(A.T), aligned(A), V_b, V)

    @staticmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the gradients of W, V, b, V_z and b_z from dA, [dV | db] and [dV_z | db_z]."""
        (dV, db), (dV_z, db_z) = weights_and_bias(totals[1]), weights_and_bias(totals[2])
        return {"W": as_euler(cell).matrix.adjoint(totals[0]), "V": dV, "b": db, "V_z": dV_z, "b_z": db_z}

    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run the steps of a chunk; fill acts with c and w."""
        A_T, product, add, multiply, tanh = self.constants.A_T, self.product, np.add, np.multiply, np.tanh
        recurrent, update, both = self.tmp[0], self.tmp[1], self.tmp[2:]
        # The factors of A h in u and in u_z / 2.
        shares = np.array([1, 0.5], recurrent.dtype).reshape(2, *(1 for _ in self.shape))
        s = self.s_steps[0]
        for t, (c_w, s_t, s_next, u_t) in enumerate(zip(self.in_blocks(acts), s, s[1:], self.u_steps, strict=False)):
            c_t, w_t = c_w
            product(s_t, A_T, recurrent)
            multiply(recurrent, shares, both)
            add(both, u_t, both)  # (F5) (F6)
            tanh(both, c_w)  # (F7)
            multiply(c_t, w_t, update)
            add(update, c_t, update)
            if active is not None:
                zero_ended(update, active[t])
            add(s_t, update, s_next)  # (F8)

    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` with (1 + w)(1 - c^2) and c (1 - w^2) / 2."""
        slopes = self.slopes[: len(acts)]
        c, w = acts[:, 0], acts[:, 1]
        np.multiply(acts, acts, out=slopes)
        np.subtract(1, slopes, out=slopes)
        slope, slope_z = slopes[:, 0], slopes[:, 1]
        slope_z *= 0.5
        slope_z *= c
        one_plus_w = np.add(w, 1, out=self.sums[0, : len(acts)])
        slope *= one_plus_w

    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate q back over a chunk; store the sums of both deltas in `sums`."""
        A, product, add, multiply = self.constants.A, self.product, np.add, np.multiply
        q, from_deltas, sums = self.q_parts[0], self.tmp[0], self.sum_steps[0]
        for t in reversed(range(len(acts))):
            deltas, both = self.delta_steps[t], sums[t]
            multiply(self.slope_steps[t], q, deltas)  # (B7) (B8)
            if active is not None:
                zero_ended(deltas, active[t])
            add(deltas[0], deltas[1], both)  # (B9)
            product(both, A, from_deltas)
            add(q, from_deltas, q)  # (B10)
            if out.at_every_step:
                self.add_direct_gradient(first + t, out)

    def add_products(self, deltas: list[np.ndarray], h: np.ndarray, x_1: np.ndarray, out: BackwardBuffers) -> None:
        """Add to dA, [dV | db] and [dV_z | db_z]."""
        both = self.sums[0].reshape(-1, self.n)[: len(h)]
        out.add([both, *deltas], [h, x_1, x_1])


class ElmanSlice(EulerSlice):
    """The Elman network: s_t = tanh(u), s = h; its activation is the next state itself."""

    activations: ClassVar[int] = 0

    @staticmethod
    def prepare(problem: Problem) -> Constants:
        """Return the constants with W in place of A."""
        params, dtype = problem.params, problem.h0.dtype
        W = params["W"].astype(dtype)
        V_b = [transposed(params["V"], params["b"], dtype)]
        return Constants(1.0, aligned(W.T), aligned(W), V_b, [params["V"].astype(dtype)])

    @staticmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return dW, dV and db from dW and [dV | db]."""
        dV, db = weights_and_bias(totals[1])
        return {"W": totals[0], "V": dV, "b": db}

    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run the steps of a chunk."""
        A_T, product, add, tanh, s = self.constants.A_T, self.product, np.add, np.tanh, self.s_steps[0]
        for t in range(len(acts)):
            product(s[t], A_T, s[t + 1])
            add(s[t + 1], self.u_steps[t], s[t + 1])  # (F10)
            tanh(s[t + 1], s[t + 1])  # (F11)
            if active is not None:
                np.copyto(s[t + 1], s[t], where=~active[t])

    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` with 1 - c^2."""
        self._slopes_of(states[1:])

    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate q back over a chunk; a row that keeps its state passes q on."""
        A, product, multiply = self.constants.A, self.product, np.multiply
        q, from_delta = self.q_parts[0], self.tmp[0]
        for t in reversed(range(len(acts))):
            delta = self.delta_steps[t]
            multiply(self.slope_steps[t], q, delta)  # (B16)
            if active is None:
                product(delta, A, q)  # (B17)
            else:
                zero_ended(delta, active[t])
                product(delta, A, from_delta)
                np.copyto(q, from_delta, where=active[t])
            if out.at_every_step:
                self.add_direct_gradient(first + t, out)


class LSTMSlice(Slice):
    """The LSTM, its gates in the order output, input, forget, candidate: three sigmoids, then a tanh.

    sigmoid(u) = (1 + tanh(u / 2)) / 2: the rows of the first three are halved, and one tanh serves all four.
    """

    pre_activations: ClassVar[int] = 4
    activations: ClassVar[int] = 4  # o, i, f, g
    slope_count: ClassVar[int] = 5
    scratch: ClassVar[int] = 5
    ORDER: ClassVar[tuple[int, ...]] = (3, 0, 1, 2)  # quarter of the parameters for each of these gates
    BACK: ClassVar[tuple[int, ...]] = (1, 2, 3, 0)  # position here of each quarter of the parameters

    @staticmethod
    def prepare(problem: Problem) -> Constants:
        """Return the constants with the four quarters of W, V and b in this order."""
        params, dtype, n = problem.params, problem.h0.dtype, problem.cell.hidden_size
        quarters = [slice(k * n, (k + 1) * n) for k in LSTMSlice.ORDER]
        W = np.stack([params["W"][rows] for rows in quarters]).astype(dtype)
        V = [params["V"][rows].astype(dtype) for rows in quarters]
        halves = np.array([0.5, 0.5, 0.5, 1], dtype)
        A_T = W.swapaxes(1, 2) * halves[:, None, None]
        V_b = [
            half * transposed(v, params["b"][rows], dtype) for half, v, rows in zip(halves, V, quarters, strict=True)
        ]
        return Constants(1.0, aligned(A_T), aligned(W), V_b, V)

    @staticmethod
    def gradients(cell: Cell, totals: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return dW, dV and db from four dW and four [dV | db]."""
        dW = np.concatenate([totals[k] for k in LSTMSlice.BACK])
        dV, db = weights_and_bias(np.concatenate([totals[4 + k] for k in LSTMSlice.BACK]))
        return {"W": dW, "V": dV, "b": db}

    def steps(self, acts: np.ndarray, active: np.ndarray | None) -> None:
        """Run the steps of a chunk; fill acts with o, i, f and g."""
        A_T, add, multiply, tanh, (h, c) = self.for_each(self.constants.A_T), np.add, np.multiply, np.tanh, self.s_steps
        u, tmp = self.tmp[:4], self.tmp[4]
        # sigmoid(u) = .5 + .5 tanh(u / 2) for the first three, 0 + 1 tanh(u) for the candidate
        shape = (4, *(1 for _ in self.shape))
        half, one = (np.array(values, u.dtype).reshape(shape) for values in ([0.5, 0.5, 0.5, 0], [0.5, 0.5, 0.5, 1]))
        for t, gates in enumerate(self.in_blocks(acts)):
            o, i, f, g = gates
            np.matmul(h[t], A_T, u)
            add(u, self.u_steps[t], u)  # (F12)
            tanh(u, u)
            multiply(u, one, u)
            add(u, half, gates)  # (F13)
            multiply(f, c[t], c[t + 1])
            multiply(i, g, tmp)
            add(c[t + 1], tmp, c[t + 1])  # (F14)
            tanh(c[t + 1], tmp)
            multiply(o, tmp, h[t + 1])  # (F15)
            if active is not None:
                np.copyto(c[t + 1], c[t], where=~active[t])
                np.copyto(h[t + 1], h[t], where=~active[t])

    def fill_slopes(self, acts: np.ndarray, states: np.ndarray, active: np.ndarray | None) -> None:
        """Fill `slopes` with dh/du_o, dc/du_i, dc/du_f, dc/du_g and dh/dc."""
        slopes, (o, i, g) = self.slopes[: len(acts)], (acts[:, k] for k in (0, 1, 3))
        tanh_c = np.tanh(states[1:, :, self.n :], out=self.sums[0, : len(acts)])
        np.multiply(acts, acts, out=slopes[:, :4])
        np.subtract(acts[:, :3], slopes[:, :3], out=slopes[:, :3])
        np.multiply(tanh_c, tanh_c, out=slopes[:, 4])
        np.subtract(1, slopes[:, 3:], out=slopes[:, 3:])
        slopes[:, 0] *= tanh_c
        slopes[:, 1] *= g
        slopes[:, 2] *= states[:-1, :, self.n :]
        slopes[:, 3] *= i
        slopes[:, 4] *= o

    def steps_back(self, first: int, acts: np.ndarray, active: np.ndarray | None, out: BackwardBuffers) -> None:
        """Propagate the cotangents of h and c back over a chunk; a row that keeps its state passes them on."""
        W, add, multiply, (q, q_c) = self.for_each(self.constants.A), np.add, np.multiply, self.q_parts
        products, tmp = self.tmp[:4], self.tmp[4]
        blocks, sums = self.in_blocks(acts), self.sum_steps[0]
        for t in reversed(range(len(acts))):
            deltas, slopes, from_deltas = self.delta_steps[t], self.slope_steps[t], sums[t]
            where = True if active is None else active[t]
            multiply(slopes[4], q, tmp)
            add(q_c, tmp, q_c, where=where)  # (B19)
            multiply(slopes[1:4], q_c, deltas[1:])  # (B20) (B21) (B22)
            multiply(slopes[0], q, deltas[0])  # (B23)
            if active is not None:
                zero_ended(deltas, active[t])
            np.matmul(deltas, W, products)
            add.reduce(products, 0, None, from_deltas)
            np.copyto(q, from_deltas, where=where)
            multiply(q_c, blocks[t, 2], q_c, where=where)  # (B24)
            if out.at_every_step:
                self.add_direct_gradient(first + t, out)

    def add_products(self, deltas: list[np.ndarray], h: np.ndarray, x_1: np.ndarray, out: BackwardBuffers) -> None:
        """Add to four dW and four [dV | db]."""
        out.add([*deltas, *deltas], [*[h] * 4, *[x_1] * 4])

"""Cells as users write them, with what those of the package lack, such as gates before a product."""

from __future__ import annotations

import numrnn
from numrnn.backend import array_namespace
from numrnn.cells.sigmoid import sigmoid


class GRU(numrnn.Cell):
    """h_next = h + z (c - h), c = tanh(W (r h) + V x + b), and r and z gates: a product of what a step computes."""

    name = "gru"

    @property
    def parameter_shapes(self):
        m, n = self.input_size, self.hidden_size
        return {"W_r": (2 * n, n), "W": (n, n), "V": (3 * n, m), "b": (3 * n,)}

    def _parts(self, params, x, h):
        n = self.hidden_size
        p = x @ params["V"].T + params["b"]
        gates = sigmoid(h @ params["W_r"].T + p[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        return r, z, array_namespace(h).tanh((r * h) @ params["W"].T + p[:, 2 * n :])

    def step(self, params, x, h):
        _, z, c = self._parts(params, x, h)
        return h + z * (c - h)

    def step_vjp(self, params, x, h, dh_next):
        xp = array_namespace(h)
        r, z, c = self._parts(params, x, h)
        dc = (1 - c * c) * z * dh_next
        dz = z * (1 - z) * (c - h) * dh_next
        d_rh = dc @ params["W"]
        dr = r * (1 - r) * h * d_rh
        d_gates = xp.concat([dr, dz], axis=1) if hasattr(xp, "concat") else xp.concatenate([dr, dz], axis=1)
        both = xp.concat([d_gates, dc], axis=1) if hasattr(xp, "concat") else xp.concatenate([d_gates, dc], axis=1)
        dh = (1 - z) * dh_next + r * d_rh + d_gates @ params["W_r"]
        grads = {"W_r": d_gates.T @ h, "W": dc.T @ (r * h), "V": both.T @ x, "b": xp.sum(both, axis=0)}
        return grads, both @ params["V"], dh


class Normalised(numrnn.Cell):
    """h_next = s u, u = 0.9 h + tanh(h W^T + x V^T + b), s = 1 / sqrt(mean(u^2) + 1) of each row; W = M/3 + I/10."""

    name = "normalised"

    @property
    def parameter_shapes(self):
        m, n = self.input_size, self.hidden_size
        return {"M": (n, n), "V": (n, m), "b": (n,)}

    def _parts(self, params, x, h):
        xp = array_namespace(h)
        W = params["M"] / 3 + 0.1 * numrnn.backend.eye(self.hidden_size, like=params["M"])
        c = xp.tanh(h @ W.T + x @ params["V"].T + params["b"])
        u = 0.9 * h + c
        return W, c, u, 1 / xp.sqrt(xp.mean(u * u, axis=1, keepdims=True) + 1)

    def step(self, params, x, h):
        _, _, u, s = self._parts(params, x, h)
        return s * u

    def step_vjp(self, params, x, h, dh_next):
        xp = array_namespace(h)
        W, c, u, s = self._parts(params, x, h)
        inner = xp.sum(dh_next * u, axis=1, keepdims=True)
        du = s * dh_next - (s * s * s) * inner / self.hidden_size * u
        delta = (1 - c * c) * du
        grads = {"M": (delta.T @ h) / 3, "V": delta.T @ x, "b": xp.sum(delta, axis=0)}
        return grads, delta @ params["V"], 0.9 * du + delta @ W


class Rectified(numrnn.Cell):
    """h_next = max(h A, 0) / 2 + x v, where v is one row: a leaky unit without a bias; the kink is at zero."""

    name = "rectified"

    @property
    def parameter_shapes(self):
        return {"W": (self.hidden_size, self.hidden_size), "V": (self.input_size, self.hidden_size)}

    def step(self, params, x, h):
        xp, u = array_namespace(h), h @ params["W"]
        return 0.5 * xp.where(u > 0, u, 0 * u) + x @ params["V"]

    def step_vjp(self, params, x, h, dh_next):
        xp, u = array_namespace(h), h @ params["W"]
        delta = xp.where(u > 0, 0.5 * dh_next, 0 * u)
        return {"W": h.T @ delta, "V": x.T @ dh_next}, dh_next @ params["V"].T, delta @ params["W"].T


class Rates(numrnn.Cell):
    """h_next = h / 2 + tanh(h) W^T + x V^T: what the product reads is made before it, in the forward pass too."""

    name = "rates"

    @property
    def parameter_shapes(self):
        return {"W": (self.hidden_size, self.hidden_size), "V": (self.hidden_size, self.input_size)}

    def step(self, params, x, h):
        return 0.5 * h + array_namespace(h).tanh(h) @ params["W"].T + x @ params["V"].T

    def step_vjp(self, params, x, h, dh_next):
        r = array_namespace(h).tanh(h)
        grads = {"W": dh_next.T @ r, "V": dh_next.T @ x}
        return grads, dh_next @ params["V"], 0.5 * dh_next + (1 - r * r) * (dh_next @ params["W"])


OWN = {"GRU": GRU(3, 4), "normalised": Normalised(3, 4), "rectified": Rectified(3, 4), "rates": Rates(3, 4)}

"""JAX: jit over lax.scan and its gradient. XLA flushes subnormal numbers to zero by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contenders.base import Contender
from benchmarks.workloads import Data
from numrnn import LSTMCell

Arrays = dict[str, jax.Array]


def antisymmetric_final(cell: Any, params: Arrays, h0: jax.Array, x: jax.Array) -> jax.Array:
    """Return the last state of equation (12) or (13), (B, n)."""
    eps, gamma = cell.step_size, cell.diffusion
    A_T = params["W"].T - params["W"] - gamma * jnp.eye(h0.shape[1])

    def step(h: jax.Array, u_t: jax.Array) -> tuple[jax.Array, None]:
        return h + eps * jnp.tanh(h @ A_T + u_t), None

    def gated_step(h: jax.Array, u: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        recurrent = h @ A_T
        return h + eps * jax.nn.sigmoid(recurrent + u[1]) * jnp.tanh(recurrent + u[0]), None

    u = x @ params["V"].T + params["b"]
    if "V_z" not in params:
        return jax.lax.scan(step, h0, u)[0]
    return jax.lax.scan(gated_step, h0, (u, x @ params["V_z"].T + params["b_z"]))[0]


def lstm_final(cell: Any, params: Arrays, h0: jax.Array, x: jax.Array) -> jax.Array:
    """Return the last state [h | c] of the LSTM, (B, 2 n)."""
    W_T = params["W"].T

    def step(state: tuple[jax.Array, jax.Array], u_t: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        h, c = state
        u_i, u_f, u_g, u_o = jnp.split(h @ W_T + u_t, 4, axis=1)
        c = jax.nn.sigmoid(u_f) * c + jax.nn.sigmoid(u_i) * jnp.tanh(u_g)
        return (jax.nn.sigmoid(u_o) * jnp.tanh(c), c), None

    h, c = jnp.split(h0, 2, axis=1)
    return jnp.concatenate(jax.lax.scan(step, (h, c), x @ params["V"].T + params["b"])[0], axis=1)


class Scan(Contender):
    """The cell as a scan, compiled together with its gradient; the input is projected before it, A built once."""

    note, takes = "jax.jit of lax.scan and its gradient, input projection hoisted", ("ungated", "gated", "lstm")

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        return {"jax": jax.__version__}

    def __init__(self, data: Data) -> None:
        final_state = lstm_final if isinstance(data.cell, LSTMCell) else antisymmetric_final

        def forward_backward(params: Arrays, h0: jax.Array, x: jax.Array, d_final: jax.Array) -> Any:
            h, vjp = jax.vjp(lambda p, h: final_state(data.cell, p, h, x), params, h0)
            return h, vjp(d_final)

        self.compiled = jax.jit(forward_backward)
        self.arguments = jax.block_until_ready(jax.device_put((data.params, data.h0, data.x, data.d_final)))

    def run(self) -> Any:
        """See `Contender.run`."""
        return jax.block_until_ready(self.compiled(*self.arguments))

    def numbers(self, result: Any) -> Mapping[str, np.ndarray]:
        """See `Contender.numbers`."""
        final, (gradients, h0) = result
        return {name: np.asarray(value) for name, value in {"final": final, "h0": h0, **gradients}.items()}

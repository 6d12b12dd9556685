"""JAX: jit over lax.scan and its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contenders.base import Contender
from benchmarks.workloads import Data


class Scan(Contender):
    """The cell as a scan, compiled together with its gradient; the input is projected before it, A built once."""

    note = "jax.jit of lax.scan and its gradient, input projection hoisted"

    @classmethod
    def versions(cls) -> dict[str, str]:
        """See `Contender.versions`."""
        return {"jax": jax.__version__}

    def __init__(self, data: Data) -> None:
        eps, gamma = data.cell.step_size, data.cell.diffusion
        identity = jnp.eye(data.h0.shape[1])

        def final_state(params: dict[str, jax.Array], h0: jax.Array, x: jax.Array) -> jax.Array:
            A_T = params["W"].T - params["W"] - gamma * identity

            def step(h: jax.Array, u_t: jax.Array) -> tuple[jax.Array, None]:
                return h + eps * jnp.tanh(h @ A_T + u_t), None

            def gated_step(h: jax.Array, u: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                recurrent = h @ A_T
                return h + eps * jax.nn.sigmoid(recurrent + u[1]) * jnp.tanh(recurrent + u[0]), None

            u = x @ params["V"].T + params["b"]
            if "V_z" not in params:
                return jax.lax.scan(step, h0, u)[0]
            return jax.lax.scan(gated_step, h0, (u, x @ params["V_z"].T + params["b_z"]))[0]

        def forward_backward(params: dict[str, jax.Array], h0: jax.Array, x: jax.Array, d_final: jax.Array) -> Any:
            h, vjp = jax.vjp(lambda p, h: final_state(p, h, x), params, h0)
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

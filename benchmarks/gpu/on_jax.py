"""JAX on a GPU. Products are asked for in full float32: by default it takes TF32."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the card is shared with the other contenders

import jax

from benchmarks.contenders import with_jax


class Scan(with_jax.Scan):
    """The scan of the CPU's comparison. JAX has no events of CUDA: calls in a row by the clock, one wait at the end."""

    note = f"{with_jax.Scan.note}; by the clock, not by events"

    @classmethod
    def set_threads(cls, threads: int) -> None:
        """See `Contender.set_threads`."""
        jax.config.update("jax_default_matmul_precision", "highest")
        if jax.default_backend() != "gpu":
            raise RuntimeError(f"jax computes on {jax.default_backend()}: it is installed without CUDA")

    def seconds(self, calls: int) -> float:
        """Return the mean seconds of `calls` calls in a row."""
        start, result = time.perf_counter(), None
        for _ in range(calls):
            result = self.launch()
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / calls

    def launch(self) -> Any:
        """Put one forward and one full backward pass in line."""
        return self.compiled(*self.arguments)

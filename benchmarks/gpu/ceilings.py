"""What the card can do at most, measured: bytes of a large copy, and flops of a large float32 product.

On random numbers: switching fewer bits takes less power, and a card at its limit of power computes faster on ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

COPY_BYTES = 2**30
SGEMM_SIZE = 8192
LAUNCHES = 3  # in a measurement, after one that is not timed
DRAWN = 2**20 + 7  # random numbers, repeated to fill an array: no rows of it are alike


@dataclass
class Ceilings:
    """The best rates seen so far.

    Attributes
    ----------
    copy : float
        GB/s, read and written bytes together.
    sgemm : float
        TFLOP/s of square float32 products, TF32 off.
    """

    copy: float = 0.0
    sgemm: float = 0.0

    def measure(self, cupy: Any, *, copy_bytes: int = COPY_BYTES, sgemm_size: int = SGEMM_SIZE) -> None:
        """Measure both again, and keep the better."""
        source = cupy.asarray(_random(0, (copy_bytes // 4,)))
        target = cupy.empty_like(source)
        seconds = _seconds(cupy, lambda: cupy.copyto(target, source))
        self.copy = max(self.copy, 2e-9 * copy_bytes / seconds)
        a, b = (cupy.asarray(_random(seed, (sgemm_size, sgemm_size))) for seed in (1, 2))
        out = cupy.empty_like(a)
        seconds = _seconds(cupy, lambda: cupy.matmul(a, b, out=out))
        self.sgemm = max(self.sgemm, 2e-12 * sgemm_size**3 / seconds)


def _random(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return normally distributed float32 numbers."""
    return np.resize(np.random.default_rng(seed).standard_normal(DRAWN, dtype=np.float32), shape)


def _seconds(cupy: Any, launch: Callable[[], Any]) -> float:
    launch()
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(LAUNCHES):
        launch()
    stop.record()
    stop.synchronize()
    return 1e-3 * cupy.cuda.get_elapsed_time(start, stop) / LAUNCHES

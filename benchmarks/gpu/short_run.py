"""A short run of the CUDA engine and of training, for compute-sanitizer: `python -m benchmarks.gpu.short_run`."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np

import numrnn
from numrnn.backend import backend_module, to_numpy
from numrnn.datasets import RowNoiseEncoder
from numrnn.training import Adam, Classifier, Trainer, TrainingConfig
from numrnn.typing import Engine

SIZES = ((5, 33), (9, 128), (3, 256))  # B and n: a ragged block, a full one, a cluster of two
STEPS = 12
TOLERANCE = 2e-5  # of the largest element, as in the tests of the engine


def main() -> int:
    """Run; return 1 where a number is wrong, or 2 where there is no GPU."""
    try:
        cupy = backend_module("cupy")
    except RuntimeError as error:
        print(f"no short run: {error}", file=sys.stderr)
        return 2
    cupy.cuda.set_allocator(None)  # an allocation of its own for every array, so that each bound is known
    rng, worst = np.random.default_rng(0), 0.0
    for name in ("antisymmetric", "gated"):
        for batch, n in SIZES:
            cell = numrnn.CELLS[name](3, n)
            params = cell.init_params(rng, backend="numpy")
            x = rng.standard_normal((STEPS, batch, 3), dtype=np.float32)
            d_final = rng.standard_normal((batch, n), dtype=np.float32)
            results: list[Any] = []
            ways: tuple[tuple[Any, Engine], ...] = (
                (cupy.asarray, "fused"),
                (lambda a: a.astype(np.float64), "reference"),
            )
            for to, engine in ways:
                own = {key: to(value) for key, value in params.items()}
                _, tape = numrnn.forward(cell, own, to(x), engine=engine)
                results.append(numrnn.backward(tape, d_final=to(d_final)).params)
            for key, wanted in results[1].items():
                worst = max(worst, float(np.abs(to_numpy(results[0][key]) - wanted).max() / np.abs(wanted).max()))
    train()
    print(f"worst error {worst:.2g}, allowed {TOLERANCE:.2g}")
    return 0 if worst <= TOLERANCE else 1


def train() -> None:
    """Make two updates on noise-padded images: every kernel of a training step."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (14, 5, 4), np.uint8), rng.integers(0, 3, 14)
    model = Classifier(numrnn.AntisymmetricCell(4, 33), 3)
    config = TrainingConfig(epochs=1, batch_size=7, clip=1.0, backend="cupy", validation_size=0)
    with tempfile.TemporaryDirectory() as out:
        encoder = RowNoiseEncoder((5, 4), length=9)
        Trainer(model, Adam(0.01), encoder, (images, labels), config, out, show_progress=False).run()


if __name__ == "__main__":
    sys.exit(main())

"""A short run of every layout of the CUDA engine, of traced cells and of training, for compute-sanitizer.

compute-sanitizer python -m benchmarks.gpu.short_run
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any
from unittest import mock

import numpy as np

import numrnn
from benchmarks.gpu.coverage import cases
from numrnn.backend import backend_module, to_numpy
from numrnn.cells.base import Cell
from numrnn.datasets import PixelEncoder, RowNoiseEncoder
from numrnn.engines.cuda.families import VARIABLE as UNPROVEN
from numrnn.engines.cuda.kernels import cupy_launcher
from numrnn.engines.cuda.trace import TracedTape
from numrnn.engines.cuda.trace.kernels import CupyExecutor, Executor
from numrnn.engines.cuda.trace.product import TILES, CupyProducts
from numrnn.problem import check_problem
from numrnn.tape import Tape
from numrnn.training import Adam, Classifier, Trainer, TrainingConfig
from numrnn.typing import Engine

STEPS = 6
PRODUCTS = (
    (3, 131, 129),
    (127, 70, 129),
    (511, 35, 127),
    (511, 19, 2047),
)  # rows, inner, columns: a tile each on an H100
TOLERANCES = {"float32": 2e-5, "float64": 1e-11}  # of the largest element, as in the tests of the engine


def main() -> int:
    """Run; return 1 where a number is wrong, or 2 where there is no GPU."""
    try:
        cupy = backend_module("cupy")
    except RuntimeError as error:
        print(f"no short run: {error}", file=sys.stderr)
        return 2
    cupy.cuda.set_allocator(None)  # an allocation of its own for every array, so that each bound is known
    launcher = cupy_launcher(cupy, cupy.cuda.Device().id)
    errors = []
    for seed, case in enumerate(cases(launcher.device, launcher.blocks_per_processor)):
        with case.chosen():
            found = error_of(cupy, case.make_cell(), case.dtype, case.batch, seed)
        errors.append(found / TOLERANCES[case.dtype])
    errors += [*traced_errors(cupy), *tile_errors(cupy), *product_errors(cupy)]
    train(numrnn.AntisymmetricCell(4, 33), RowNoiseEncoder((5, 4), length=9), epochs=1)
    with mock.patch.dict(os.environ, {UNPROVEN: "1"}):
        train(numrnn.AntisymmetricCell(1, 30), PixelEncoder((5, 4)), epochs=3)
    print(f"worst error {np.max(errors):.2g} of what is allowed, in {len(errors)} problems")
    return 0 if all(error <= 1 for error in errors) else 1  # a NaN is not


def error_of(cupy: Any, cell: Cell, name: str, batch: int, seed: int, executor: Executor | None = None) -> float:
    """Return the worst error of a problem with ragged lengths, relative to the largest element of each array.

    With an executor the cell is traced.
    """
    rng, dtype = np.random.default_rng(seed), np.dtype(name)
    params = cell.init_params(rng, backend="numpy", dtype=dtype)
    x = rng.standard_normal((STEPS, batch, cell.input_size)).astype(dtype)
    h0 = rng.standard_normal((batch, cell.state_size)).astype(dtype)
    d_states = rng.standard_normal((STEPS + 1, batch, cell.state_size)).astype(dtype)
    lengths = rng.integers(1, STEPS + 1, batch)
    results: list[Any] = []
    ways: tuple[tuple[Any, Engine], ...] = (
        (cupy.asarray, "fused"),
        (lambda a: a.astype(np.float64), "reference"),
    )
    for to, engine in ways:
        own = {key: to(value) for key, value in params.items()}
        if executor is not None and engine == "fused":
            traced = TracedTape(check_problem(cell, own, to(x), to(h0), lengths, None), executor)
            traced.run()
            tape: Tape = traced
        else:
            _, tape = numrnn.forward(cell, own, to(x), to(h0), lengths=lengths, engine=engine)
        grads = numrnn.backward(tape, to(d_states))
        results.append({"states": tape.states, **grads.params, "dx": grads.x, "dh0": grads.h0})
    got, wanted = results
    return max(float(np.abs(to_numpy(got[k]) - v).max() / np.abs(v).max()) for k, v in wanted.items())


def traced_errors(cupy: Any) -> list[float]:
    """Return the errors of traced cells, over what is allowed: of steps one by one, of a capture and of a replay."""
    cases = (numrnn.LipschitzCell(3, 40, method="rk2"), "float64"), (numrnn.LSTMCell(3, 150), "float32")
    return [error_of(cupy, cell, name, 3, seed) / TOLERANCES[name] for cell, name in cases for seed in range(3)]


def tile_errors(cupy: Any) -> list[float]:
    """Return the errors of products and what reads them as one kernel, over what is allowed, in every tile."""
    errors, cell = [], numrnn.LSTMCell(3, 21)
    for batch, tile in enumerate(TILES, 65):  # another batch is another loop to capture
        executor = CupyExecutor(cupy, choose=lambda *shape, tile=tile: tile)
        errors += [error_of(cupy, cell, name, batch, 0, executor) / TOLERANCES[name] for name in TOLERANCES]
    return errors


def product_errors(cupy: Any) -> list[float]:
    """Return the errors of the product kernel of traced cells, over what is allowed: every tile and its edges."""
    errors, rng = [], np.random.default_rng(0)
    for name in TOLERANCES:
        for rows, inner, columns in PRODUCTS:
            a, b = (rng.standard_normal(shape).astype(name) for shape in ((rows, inner), (columns, inner)))
            out = cupy.empty((rows, columns), name)
            CupyProducts(cupy)(cupy.asarray(a), cupy.asarray(b).T, out)
            allowed = inner * np.finfo(name).eps * (np.abs(a).astype(float) @ np.abs(b).astype(float).T)
            errors.append(float(np.max(np.abs(to_numpy(out) - a.astype(float) @ b.astype(float).T) / allowed)))
    return errors


def train(cell: Cell, encoder: Any, epochs: int) -> None:
    """Make two updates per epoch on small images: every kernel of a training step; the third and later are captured."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (14, 5, 4), np.uint8), rng.integers(0, 3, 14)
    config = TrainingConfig(epochs=epochs, batch_size=7, clip=1.0, backend="cupy", validation_size=0)
    with tempfile.TemporaryDirectory() as out:
        data, model = (images, labels), Classifier(cell, 3)
        Trainer(model, Adam(0.01), encoder, data, config, out, show_progress=False).run()


if __name__ == "__main__":
    sys.exit(main())

"""Fingerprints of the package's results and help texts, for checking that a change alters nothing.

    python -m tools.behaviour --write FILE      record the fingerprints of this checkout
    python -m tools.behaviour --against FILE report differences from the recorded ones; exit status 1 if there are any

The fingerprints are SHA-256 sums of the states and gradients of every cell, by both engines, in both precisions, with
and without lengths and recomputation; of the metrics of a training run of 200 updates; and of the --help of every
command.
Compare on one machine and in one environment: the bits depend on the processor and on NumPy's BLAS.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import numrnn
from numrnn.cells import CELLS
from numrnn.datasets import PixelEncoder, load_embedded_mnist, pixel_statistics
from numrnn.training import SGD, Classifier, Trainer, TrainingConfig

ROOT = Path(__file__).parents[1]
COMMANDS = [
    *(
        f"examples/{path.name}"
        for path in sorted((ROOT / "examples").glob("*.py"))
        if "argv" in path.read_text("utf-8")
    ),
    "-m benchmarks",
    "-m benchmarks.pairwise",
    "-m benchmarks.vanishing",
    "-m benchmarks --gpu",
    "-m gradcheck.mutants",
    "-m numrnn.info",
    "-m results",
]
T, B, M, N, UPDATES = 50, 6, 3, 20, 200  # small sizes, and a recomputed segment that does not divide T
# Large enough for several slices of rows, and for worker processes if there are several cores.
LARGE = 784, 128, 1, 128


def digest(*parts: Any) -> str:
    """Return the SHA-256 of arrays, with their shapes and dtypes, and of strings."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode())
        else:
            array = np.ascontiguousarray(part)
            total.update(f"{array.shape} {array.dtype.str}".encode())
            total.update(array.tobytes())
    return total.hexdigest()


def _every(k: int | None) -> dict[str, Any]:
    """Return the argument of `forward` that keeps every k-th state, under its name in this checkout."""
    name = (
        "recompute_every" if "recompute_every" in inspect.signature(numrnn.forward).parameters else "checkpoint_every"
    )
    return {name: k}


def pass_digest(name: str, sizes: tuple[int, int, int, int], dtype: Any, engine: str, cut: bool, k: int | None) -> str:
    """Return the digest of states and gradients of a cell; `cut` gives the rows different lengths."""
    steps, batch, m, n = sizes
    cell, rng = CELLS[name](m, n), np.random.default_rng(5)
    params = cell.init_params(rng, dtype=dtype)
    params["b"] = params["b"] + dtype(0.1)
    x = rng.standard_normal((steps, batch, m)).astype(dtype)
    h0 = rng.standard_normal((batch, cell.state_size)).astype(dtype)
    d_states = rng.standard_normal((steps + 1, batch, cell.state_size)).astype(dtype)
    lengths = rng.integers(1, steps + 1, batch) if cut else None
    states, tape = numrnn.forward(cell, params, x, h0, lengths=lengths, engine=engine, **_every(k))
    everything = numrnn.backward(tape, d_states, wrt=("params", "x", "h0", "states"))
    last = numrnn.backward(tape, d_final=d_states[-1])
    assert everything.params is not None
    assert last.params is not None
    named = [everything.params[key] for key in sorted(params)] + [last.params[key] for key in sorted(params)]
    return digest(np.asarray(states), *named, everything.x, everything.h0, everything.states, last.x, last.h0)


def passes() -> Iterator[tuple[str, str]]:
    """Yield a name and a digest for every cell, engine, precision, with and without lengths and recomputation."""
    kinds = itertools.product(CELLS, ("reference", "fused"), (np.float32, np.float64), (False, True), (None, 7))
    for name, engine, dtype, cut, k in kinds:
        label = f"{name}, {engine}, {np.dtype(dtype).name}, {'lengths, ' if cut else ''}every {k}"
        yield label, pass_digest(name, (T, B, M, N), dtype, engine, cut, k)
    for name in CELLS:
        yield f"{name}, large", pass_digest(name, LARGE, np.float32, "fused", False, None)


def training() -> str:
    """Return the digest of the metrics and of the final parameters of a short training run."""
    data = load_embedded_mnist()
    mean, std = pixel_statistics(data.train_images)
    encoder = PixelEncoder(data.image_shape, mean=mean, std=std)
    model = Classifier(numrnn.AntisymmetricCell(1, 16, step_size=0.03, diffusion=0.001), n_classes=10)
    config = TrainingConfig(batch_size=8, iterations=UPDATES, log_interval=10, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            SGD(0.1, momentum=0.9),
            encoder,
            (data.train_images, data.train_labels),
            config,
            folder,
            show_progress=False,
        )
        params = trainer.run().params
        text = (Path(folder) / "metrics.jsonl").read_text("utf-8")
        return digest(text, *(params[key] for key in sorted(params)))


def help_of(command: str) -> str:
    """Return the digest of a command's --help output and of its exit status."""
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command.split(), "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    return digest(done.stdout, str(done.returncode))


def fingerprints() -> dict[str, str]:
    """Return all digests by name."""
    found = dict(passes())
    found["training"] = training()
    return found | {f"help of {command}": help_of(command) for command in COMMANDS}


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.behaviour", description=(__doc__ or "").split("\n\n")[0])
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--write", type=Path, metavar="FILE", help="record the fingerprints of this checkout")
    group.add_argument("--against", type=Path, metavar="FILE", help="compare with the recorded ones")
    args = parser.parse_args(argv)
    found = fingerprints()
    if args.write:
        args.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} fingerprints in {args.write}")
        return 0
    noted = json.loads(args.against.read_text(encoding="utf-8"))
    different = [name for name in sorted(noted | found) if noted.get(name) != found.get(name)]
    for name in different:
        print(f"{name}: {'differs' if name in noted and name in found else 'is only in one of the two'}")
    print(f"{len(noted)} noted, {len(found)} found, {len(different)} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

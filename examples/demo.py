"""The AntisymmetricRNN beside an LSTM: the same images, the same time to train in.

    python examples/demo.py                 about 100 seconds of training each, on the embedded images
    python examples/demo.py --seconds 600   more

Both read 28 x 28 images pixel by pixel in 784 steps. Prints their test accuracies, and writes their runs and a picture
of how they learn into the folder given by --out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mnist
import numpy as np
from command_line import BACKEND_HELP, guarded, make_parser, read

from numrnn import plots
from numrnn.backend import backend_module, from_numpy
from numrnn.datasets import Dataset
from numrnn.training import read_json_lines

CELLS = ("antisymmetric", "lstm")
BATCH_SIZE = 64
TIMED_UPDATES = 3


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained; HELP says what each field means."""

    seconds: float = 100.0
    seed: int = 0
    backend: str = "numpy"
    out: str = "runs/demo"


HELP = {
    "seconds": "training time for each cell, > 0; how many updates that is, a few timed ones tell",
    "seed": "seed of both runs, >= 0",
    "backend": BACKEND_HELP,
    "out": "folder for results",
}


def seconds_per_update(config: mnist.Config, data: Dataset) -> float:
    """Return how long an update takes here: the fastest of a few, after one that is not counted."""
    trainer = mnist.make_trainer(config, data, show_progress=False)
    params = trainer.model.init_params(np.random.default_rng(0), weight_std=config.weight_std, backend=config.backend)
    x = from_numpy(trainer.encoder(data.train_images[: config.batch_size], np.random.default_rng(0)), config.backend)
    labels = from_numpy(data.train_labels[: config.batch_size].astype(np.int64), config.backend)
    seconds = []
    for _ in range(TIMED_UPDATES + 1):
        start = time.perf_counter()
        float(trainer.model.loss_and_gradient(params, x, labels)[0])  # a GPU answers before it is done
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def run(config: Config, *, quiet: bool = False) -> dict[str, float]:
    """Train each cell for the same time and return its test accuracy, 0 to 1."""
    backend_module(config.backend)
    accuracies, curves, pictures = {}, {}, []
    for name in CELLS:
        common = {"data": "embedded", "batch_size": BATCH_SIZE, "seed": config.seed, "backend": config.backend}
        common["out"] = f"{config.out}/{name}"
        data = mnist.load_data(mnist.make_config(name, **common))
        speed = seconds_per_update(mnist.make_config(name, **common, iterations=1), data)
        iterations = max(1, round(config.seconds / speed))
        if not quiet:
            print(f"\n{name}: {iterations} updates of {1000 * speed:.0f} ms")
        own = mnist.make_config(name, **common, iterations=iterations)
        result = mnist.run(own, overwrite=True, data=data, quiet=quiet)
        if result.test_accuracy is None:
            raise KeyboardInterrupt
        accuracies[name] = result.test_accuracy
        curves[name] = learning_over_time(result.training.history("training"), Path(own.out) / "timings.jsonl")
        pictures += result.pictures
    title = f"Sequential MNIST, 5,000 images: about {config.seconds:g} s of training each"
    pictures.insert(0, plots.compare_learning(curves, Path(config.out) / "demo.png", title=title))
    if not quiet:
        print(f"\ntest accuracy after about {config.seconds:g} s of training each")
        for name, accuracy in accuracies.items():
            print(f"  {name:<15}{100 * accuracy:6.2f} %")
        print("pictures: " + ", ".join(str(path) for path in pictures))
    return accuracies


def learning_over_time(training: Sequence[dict[str, float]], timings: Path) -> tuple[list[float], list[float]]:
    """Return seconds and training accuracies of one run."""
    seconds = {record["step"]: record["seconds"] for record in read_json_lines(timings)}
    return [seconds[record["step"]] for record in training], [record["accuracy"] for record in training]


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; return 0, 1 after an error, or 130 after Ctrl-C."""

    def work() -> None:
        parser = make_parser("demo.py", __doc__, Config, HELP)
        config = Config(**read(parser, argv, Config))
        if not config.seconds > 0:
            parser.error(f"--seconds must be > 0, got {config.seconds}")
        run(config)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())

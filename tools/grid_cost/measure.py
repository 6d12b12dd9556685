"""Seconds of an update of each row of Tables 1 and 2: on one core, as a worker of a sweep has it, and on a GPU."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from numrnn.datasets import Dataset
from numrnn.experiments.trials import EXPERIMENTS
from numrnn.training import read_json_lines
from results.runs import read_runs

WARM_UP = 3  # updates: the first ones build the engine's buffers
SHAPES = {"mnist": (28, 28), "cifar10": (3, 32, 32)}


@dataclass(frozen=True)
class OnACard:
    """What the logs of a row's run on a GPU say."""

    seconds_per_update: float
    machine: str
    folder: str


def seconds_per_update(preset: str, updates: int = 12) -> float:
    """Return the seconds of the shortest update with a preset's settings, on one core.

    The images are random, of the size of the real ones: the time of an update does not depend on them.
    """
    name = "cifar10" if preset.startswith("cifar10-") else "mnist"
    experiment = EXPERIMENTS[name]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(2048, *SHAPES[name]), dtype=np.uint8)
    labels = rng.integers(0, 10, size=len(images))
    data = Dataset(images, labels, images[:256], labels[:256], tuple("0123456789"))
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        total = WARM_UP + updates
        config = experiment.make_config(
            preset=preset,
            iterations=total,
            epochs=None,
            schedule="constant",
            validation_size=128,
            log_interval=1,
            out=folder,
        )
        trainer = experiment.make_trainer(config, data, show_progress=False)
        trainer.run()
        lines = read_json_lines(trainer.timings_path)
    ends = [0.0] + [line["seconds"] for line in lines]
    return float(np.diff(ends)[WARM_UP:].min())


def on_cards() -> dict[str, OnACard]:
    """Return what the first run on a GPU of each row says; rows without one are left out."""
    found: dict[str, OnACard] = {}
    for preset, runs in read_runs().items():
        for run in runs:
            if run.result and run.config["backend"] == "cupy":
                seconds = run.result["seconds"] / run.result["iterations"]
                where = run.folder.relative_to(Path(__file__).resolve().parents[2])
                found.setdefault(preset, OnACard(seconds, run.result["machine"], str(where)))
    return found

"""The trials of a sweep: the settings to try, the work on one trial, and the choice of those that continue.

Successive halving (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016): all trials get few updates, the best of them several times as many, and so on, rung by rung.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from numrnn.datasets import Dataset
from numrnn.experiments import cifar10, mnist
from numrnn.experiments.classification import Experiment
from numrnn.locks import locked
from numrnn.training import DivergenceError, latest_checkpoint, list_checkpoints, read_json_lines

EXPERIMENTS: dict[str, Experiment] = {"mnist": mnist.EXPERIMENT, "cifar10": cifar10.EXPERIMENT}
SEARCHED = ("optimizer", "weight_std", "step_size", "diffusion", "learning_rate")
RESULT_KEYS = ("trial", "rung", "step", "status", "validation_accuracy", *SEARCHED)  # of every line of a result
CHECKPOINTS_A_RUNG = 10  # a worker that dies loses at most a tenth of a rung


@dataclass(frozen=True)
class Space:
    """Values of the settings that are searched; Adam and AdamW have smaller learning rates.

    Defaults: the paper's grid, and Adam in addition to its two optimisers.
    """

    optimizers: tuple[str, ...] = ("sgd", "adagrad", "adam")
    weight_stds: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
    step_sizes: tuple[float, ...] = (0.01, 0.1, 1.0)
    diffusions: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    learning_rates: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
    adam_rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03)

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if not values:
                raise ValueError(f"{name} must hold one value at least")
            if name not in ("optimizers", "weight_stds") and not all(value > 0 for value in values):
                raise ValueError(f"{name} must all be > 0, got {values}")
        if min(self.weight_stds) < 0:
            raise ValueError(f"weight_stds must all be >= 0, got {self.weight_stds}")

    def rates(self, optimizer: str) -> tuple[float, ...]:
        """Return the learning rates of an optimiser."""
        return self.adam_rates if optimizer in ("adam", "adamw") else self.learning_rates

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination."""
        return [
            dict(zip(SEARCHED, (optimizer, *values), strict=True))
            for optimizer in self.optimizers
            for values in itertools.product(self.weight_stds, self.step_sizes, self.diffusions, self.rates(optimizer))
        ]

    def draw(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Return random settings between the smallest and the largest values, uniform in the logarithm.

        weight_std, whose smallest value is 0, is uniform. All are rounded to three digits, so that a table can show
        them.
        """
        rng = np.random.default_rng(seed)

        def log_uniform(values: Sequence[float]) -> float:
            return _rounded(np.exp(rng.uniform(np.log(min(values)), np.log(max(values)))))

        drawn = []
        for _ in range(count):
            optimizer = self.optimizers[rng.integers(len(self.optimizers))]
            sigma_w = _rounded(rng.uniform(min(self.weight_stds), max(self.weight_stds)))
            others = (log_uniform(v) for v in (self.step_sizes, self.diffusions, self.rates(optimizer)))
            drawn.append(dict(zip(SEARCHED, (optimizer, sigma_w, *others), strict=True)))
        return drawn


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


@dataclass(frozen=True)
class Trial:
    """One run of the sweep: the experiment, all arguments of its configuration, the images, and the rungs.

    `images` is the number of training images, None for all; `lengths` are the updates at each rung.
    """

    experiment: str
    settings: Mapping[str, Any]
    images: int | None
    lengths: tuple[int, ...]

    @property
    def name(self) -> str:
        """Identifier of this trial: a hash of everything that determines its course."""
        text = json.dumps([self.experiment, dict(self.settings), self.images, self.lengths], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def searched(self) -> dict[str, Any]:
        """The settings that the sweep varies."""
        return {key: self.settings[key] for key in SEARCHED}


def rung_lengths(iterations: int, rungs: int, reduction: int) -> list[int]:
    """Return the updates after which trials are compared, rising to `iterations` by a factor of `reduction` each.

    Raises
    ------
    ValueError
        If a number is out of range, or the first rung would have no update.
    """
    if iterations < 1 or rungs < 1 or reduction < 2:
        raise ValueError(
            f"iterations and rungs must be >= 1 and reduction >= 2, got {iterations}, {rungs} and {reduction}"
        )
    lengths = [iterations // reduction**k for k in reversed(range(rungs))]
    if lengths[0] < 1:
        raise ValueError(f"iterations must be >= {reduction ** (rungs - 1)} for {rungs} rungs, got {iterations}")
    return lengths


def survivors(results: Iterable[Mapping[str, Any]], reduction: int) -> list[str]:
    """Return the names of the best of one rung, best first: one in `reduction`, rounded up; never one that diverged."""
    finished = [result for result in results if result["status"] == "finished"]
    ranked = sorted(finished, key=lambda result: (-result["validation_accuracy"], result["trial"]))
    return [result["trial"] for result in ranked[: -(-len(ranked) // reduction)]]


def ranking(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last results of trials, best first: by rung, then by accuracy; those that diverged come last."""
    return sorted(results, key=lambda r: (r["status"] != "finished", -r["rung"], -r["validation_accuracy"]))


@functools.lru_cache(maxsize=1)
def _images(experiment: str, settings: str, images: int | None) -> Dataset:
    """Return the images of a trial, which the worker keeps for the next one."""
    family = EXPERIMENTS[experiment]
    data = family.load_data(family.make_config(**json.loads(settings)))
    kept = slice(images)
    return Dataset(
        data.train_images[kept], data.train_labels[kept], data.test_images, data.test_labels, data.class_names
    )


def train(trial: Trial, rung: int, out: str) -> dict[str, Any]:
    """Train one trial up to the end of a rung, in a worker, and return its line of results.

    If the folder of the trial holds a checkpoint, of the rung before or of a worker that died, training continues from
    it, else it starts from the beginning; with a schedule that depends on the length of the run, each rung does. If
    another worker is at work in the folder, this one waits for it. No test image is used.

    Parameters
    ----------
    trial : Trial
        What to train.
    rung : int
        Number of the rung, from 0.
    out : str
        Folder of the sweep.

    Returns
    -------
    dict
        JSON: trial, rung, step, status ("finished" or "diverged"), validation_accuracy, training_accuracy, since (the
        step from which this process continued), seconds, pid, and the settings.
    """
    family, updates, folder = EXPERIMENTS[trial.experiment], trial.lengths[rung], _folder(trial, rung, out)
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "iterations": updates,
        "epochs": None,
        "checkpoint_interval": max(1, updates // CHECKPOINTS_A_RUNG),
        "out": str(folder),
    }
    config = family.make_config(**{**trial.settings, **own})
    where = {key: trial.settings[key] for key in ("root", "data") if key in trial.settings}
    data = _images(trial.experiment, json.dumps(where), trial.images)
    trainer = family.make_trainer(config, data, show_progress=False)
    line: dict[str, Any] = {"kind": "result", "trial": trial.name, "rung": rung, "step": updates, **trial.searched}
    start = time.monotonic()
    status, accuracies = "finished", {"validation_accuracy": 0.0, "training_accuracy": 0.0}
    # A worker that the scheduler takes for dead, after a break of the network for instance, may still be at this trial.
    # BLAS: one worker per core; more threads would only block each other.
    with locked(folder, wait=True), threadpool_limits(1, user_api="blas"):
        before = latest_checkpoint(folder)
        try:
            # Without a checkpoint from the beginning: a sweep with more trials may continue one that was discarded.
            kept = bool(list_checkpoints(folder))
            result = trainer.run(resume=kept, overwrite=not kept)
            accuracies = {
                f"{kind}_accuracy": result.history(kind)[-1]["accuracy"] for kind in ("validation", "training")
            }
        except DivergenceError as error:
            status, line["step"] = "diverged", error.step
    return {
        **line,
        "status": status,
        **accuracies,
        "since": 0 if before is None else before.step,
        "seconds": round(time.monotonic() - start, 3),
        "pid": os.getpid(),
    }


def step_reached(trial: Trial, rung: int, out: str) -> int:
    """Return the update from which a trial would continue in a rung, 0 without a checkpoint."""
    before = latest_checkpoint(_folder(trial, rung, out))
    return 0 if before is None else before.step


def _folder(trial: Trial, rung: int, out: str) -> Path:
    tied = trial.settings["schedule"] != "constant" or trial.settings["average"] == "tail"
    return Path(out) / "trials" / (f"{trial.name}-{rung}" if tied else trial.name)


def discard_checkpoints(trial: Trial, out: str) -> None:
    """Delete the checkpoints of a trial that will not continue; its metrics stay."""
    for folder in (Path(out) / "trials").glob(f"{trial.name}*"):
        for path in list_checkpoints(folder):
            path.unlink(missing_ok=True)


def read_results(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the results of a file by trial and rung; failed trials are omitted, so that they are tried again.

    Raises
    ------
    ValueError
        If a line is not one of a sweep; the message names path and line.
    """
    records = read_json_lines(path) if path.exists() else []
    results = {}
    for number, record in enumerate(records, 1):
        needed = RESULT_KEYS if record.get("kind") == "result" else ("kind",)
        if missing := [key for key in needed if key not in record]:
            raise ValueError(f"{path}: line {number} must be a result of a sweep, but lacks {', '.join(missing)}")
        if record["kind"] == "result" and record["status"] != "failed":
            results[record["trial"], record["rung"]] = record
    return results
